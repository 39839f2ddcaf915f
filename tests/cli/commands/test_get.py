"""
``chatfiles get``: the file that it saves, the exit status, and the messages.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from typing import Any
from unittest import mock

from chatfiles.cli.errors import CliError
from chatfiles.cli.transfers import output_file, output_name, retries
from chatfiles.cli.transfers.local_place import Place
from chatfiles.posix import rename_noreplace
from tests.cli.cli_stub import TOKEN, WORKSPACE, StubCase, answer, counted, said

BODY = bytes(range(256)) * 4
CHUNKED = b"400\r\n" + BODY + b"\r\n0\r\n\r\n"


def chunked(body: bytes) -> bytes:
    return answer("200 OK", "Transfer-Encoding: chunked", body=body)


class RelativePathTests(StubCase):
    """A PATH that is not absolute."""

    def test_refused(self) -> None:
        """It is refused before anything is looked at here, such as a file of that name."""
        self.write("README.md", "mine")
        for words in ([], ["-r"], ["--archive", "zip"], ["-o", "-"]):
            result = self.get("README.md", *words)
            self.ended(result, 2, "PATH must be absolute: README.md", "like /workspace/report.pdf")
        self.assertEqual((self.asked, self.files()), ([], ["README.md"]))


class SavingTests(StubCase):
    """A complete response is saved as a file."""

    def test_named_like_the_path(self) -> None:
        """The file is named after PATH, never by the server; no other file is left."""
        header = 'Content-Disposition: attachment; filename="/etc/passwd"'
        self.play(counted(BODY, header))
        self.ended(self.get("/workspace/a/report.pdf"), 0)
        self.assertEqual(self.files(), ["report.pdf"])
        self.assertEqual(self.read("report.pdf"), BODY)

    def test_request(self) -> None:
        """
        The path is percent-encoded once, the token is sent as a bearer token, and no content coding
        is accepted.
        """
        self.play(counted(b""))
        self.ended(self.get("/workspace/a b+c%2F\udcffä&x=1#.txt", "-o", "x"), 0)
        asked = self.asked[0]
        self.assertEqual(
            asked.target,
            f"/workspaces/{WORKSPACE}/chat/download"
            "?path=/workspace/a%20b%2Bc%252F%FF%C3%A4%26x%3D1%23.txt",
        )
        self.assertEqual(asked.headers["Authorization"], f"Bearer {TOKEN}")
        self.assertEqual(asked.headers["Accept-Encoding"], "identity")
        self.assertIsNone(asked.headers["Range"])

    def test_chunked(self) -> None:
        """A chunked response with its last chunk is complete."""
        self.play(chunked(CHUNKED))
        self.ended(self.get("/workspace/f"), 0)
        self.assertEqual(self.read("f"), BODY)

    def test_empty(self) -> None:
        """An empty file is saved as an empty file."""
        self.play(counted(b""))
        self.ended(self.get("/workspace/f"), 0)
        self.assertEqual(self.read("f"), b"")

    def test_large(self) -> None:
        """The pieces of a large body are written in order."""
        body = os.urandom(3 * 1024 * 1024 + 17)
        self.play(counted(body))
        self.ended(self.get("/workspace/f"), 0)
        self.assertEqual(self.read("f"), body)

    def test_mode_follows_the_umask(self) -> None:
        """The file's permissions follow the umask, as those of any other new file do."""
        self.addCleanup(os.umask, os.umask(0o027))
        self.play(counted(BODY))
        self.ended(self.get("/workspace/f"), 0)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("f")).st_mode), 0o640)

    def test_temporary_file_is_private(self) -> None:
        """During the transfer the file has a temporary name, and only its owner can read it."""
        seen: list[tuple[str, int]] = []

        def look() -> None:
            for name in self.files():
                seen.append((name, stat.S_IMODE(os.stat(self.path(name)).st_mode)))

        self.play([counted(BODY, short=1), look, BODY[-1:]])
        self.ended(self.get("/workspace/f"), 0)
        [(name, mode)] = seen
        self.assertRegex(name, r"^\.f\..+\.part$")
        self.assertEqual(mode, 0o600)
        self.assertEqual(self.files(), ["f"])

    def test_into_directory(self) -> None:
        """``-o DIR`` and ``-o DIR/`` keep the file's name."""
        os.mkdir(self.path("d"))
        self.play(counted(b"1"), counted(b"2"))
        self.ended(self.get("/workspace/f", "-o", "d/"), 0)
        self.ended(self.get("/workspace/g", "-o", "d"), 0)
        self.assertEqual((self.read("d/f"), self.read("d/g")), (b"1", b"2"))

    def test_to_a_name(self) -> None:
        """``-o FILE`` chooses the file's name."""
        self.play(counted(b"1"))
        self.ended(self.get("/workspace/f", "-o", "other"), 0)
        self.assertEqual(self.files(), ["other"])

    def test_longest_name(self) -> None:
        """A name of 255 bytes is saved; its temporary name is not too long."""
        name = "ä" * 127 + "x"
        self.play(counted(b"1"))
        self.ended(self.get(f"/workspace/{name}"), 0)
        self.assertEqual(self.files(), [name])

    def test_control_characters_in_the_name(self) -> None:
        """
        Control characters in a name are replaced, so that a directory listing cannot steer a
        terminal.
        """
        self.play(counted(b"1"))
        self.ended(self.get("/workspace/a\x1b[2J\nb"), 0)
        self.assertEqual(self.files(), ["a_[2J_b"])

    def test_standard_output(self) -> None:
        """``-o -`` writes the content to standard output and nothing else."""
        self.play(counted(BODY))
        result = self.get("/workspace/f", "-o", "-")
        self.ended(result, 0)
        self.assertEqual(result.stdout_bytes, BODY)
        self.assertEqual(result.stderr, "")
        self.assertEqual(self.files(), [])

    def test_without_hard_links(self) -> None:
        """
        On a file system without hard links a file is saved, and an existing file is not replaced.
        """
        self.without_links()
        self.gets_and_replaces_nothing()
        self.patch(rename_noreplace, "_renameat2", None)
        self.gets_and_replaces_nothing()

    def gets_and_replaces_nothing(self) -> None:
        self.play(counted(b"1"))
        self.ended(self.get("/workspace/f"), 0)
        self.assertEqual(self.read("f"), b"1")
        self.play([counted(b"2", short=1), lambda: self.write("g", "mine"), b"2"])
        self.ended(self.get("/workspace/g"), 8, "g exists")
        self.assertEqual(self.read("g"), b"mine")
        self.assertEqual(self.files(), ["f", "g"])
        for name in self.files():
            os.unlink(self.path(name))

    def without_links(self) -> None:
        def link(*_: Any, **__: Any) -> None:
            raise OSError(errno.EPERM, "no links")

        self.patch(os, "link", link)

    def test_claimed_for_nothing(self) -> None:
        """
        If the final rename fails or is interrupted, no empty file is left under the final name.
        """
        self.without_links()
        self.patch(rename_noreplace, "_renameat2", None)
        replace = mock.Mock(side_effect=[OSError(errno.EIO, "disk on fire"), KeyboardInterrupt])
        self.patch(os, "replace", replace)
        self.play(counted(BODY), counted(BODY))
        for status, text in ((8, "cannot write f: disk on fire"), (130, "interrupted")):
            self.ended(self.get("/workspace/f"), status, text)
            self.assertEqual(self.files(), [])


class RefusedHereTests(StubCase):
    """Local files that must not be replaced or cannot be written: exit status 8."""

    def test_exists(self) -> None:
        """Without ``--force`` an existing file is not replaced, and no request is made."""
        self.write("f", "mine")
        self.ended(self.get("/workspace/f"), 8, "f exists", "hint: --force")
        self.assertEqual(self.read("f"), b"mine")
        self.assertEqual(self.asked, [])

    def test_appears_meanwhile(self) -> None:
        """A file that is created during the transfer is not replaced either."""
        self.play([counted(b"12", short=1), lambda: self.write("f", "mine"), b"2"])
        self.ended(self.get("/workspace/f"), 8, "f exists")
        self.assertEqual(self.files(), ["f"])
        self.assertEqual(self.read("f"), b"mine")

    def test_force(self) -> None:
        """``--force`` replaces the file and keeps its permissions."""
        self.write("f", "mine", 0o640)
        self.addCleanup(os.umask, os.umask(0))
        self.play(counted(BODY))
        self.ended(self.get("/workspace/f", "--force"), 0)
        self.assertEqual(self.read("f"), BODY)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("f")).st_mode), 0o640)

    def test_force_keeps_the_old_one_until_the_new_one_is_whole(self) -> None:
        """If the transfer is interrupted, the existing file is kept."""
        self.write("f", "mine")
        self.play(counted(BODY, short=1))
        self.ended(self.get("/workspace/f", "--force", "--retries", "0"), 7)
        self.assertEqual(self.read("f"), b"mine")
        self.assertEqual(self.files(), ["f"])

    def test_not_a_regular_file(self) -> None:
        """Symlinks, pipes and devices are never replaced, even with ``--force``."""
        os.symlink("elsewhere", self.path("s"))
        os.mkfifo(self.path("p"))
        for target in ("s", "p", "/dev/null"):
            result = self.get("/workspace/f", "--force", "-o", target)
            self.ended(result, 8, "not a regular file")
        self.assertEqual(self.asked, [])

    def test_no_directory(self) -> None:
        """A missing directory is reported, not created."""
        result = self.get("/workspace/f", "-o", "no/such/")
        self.ended(result, 8, "cannot write no/such/f: No such file or directory")

    def test_disk_full(self) -> None:
        """A full disk is reported as such, and no file is left."""

        def fsync(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(os, "fsync", fsync)
        self.play(counted(BODY))
        self.ended(self.get("/workspace/f"), 8, "No space left on device", "free some space")
        self.assertEqual(self.files(), [])

    def test_no_name(self) -> None:
        """
        A path that does not end in a file name is that of a directory, whatever ``-o`` says; ``-o``
        must not be empty.
        """
        for path in ("/workspace/", "/workspace/..", "/workspace/."):
            self.ended(
                self.get(path), 2, "PATH does not end in the name of a file", "--archive zip"
            )
            for output in ("x", "-"):
                self.ended(self.get(path, "-o", output), 2, "PATH does not end", "--archive zip")
        self.ended(self.get("/workspace/f", "-o", ""), 2, "chatfiles: -o must not be empty\nhint: ")
        self.assertEqual(self.asked, [])


class NotWholeTests(StubCase):
    """Responses that are not provably complete: exit status 7, and no file is left."""

    def broken(self, wire: bytes, *texts: str) -> None:
        self.play(wire)
        self.ended(self.get("/workspace/f", "--retries", "0"), 7, *texts)
        self.assertEqual(self.files(), [])

    def test_cut(self) -> None:
        """A body that is one byte short is incomplete."""
        self.broken(counted(BODY, short=1), "interrupted after 1023 of 1024 bytes", "hint: ")

    def test_chunked_cut(self) -> None:
        """A chunked body that is interrupted anywhere before its end is incomplete."""
        for end in (0, 1, 2, 500, -1, -2, -3, -5, -6, -7):
            self.broken(chunked(CHUNKED[:end]), "was interrupted")

    def test_chunk_size_cut_behind_a_zero(self) -> None:
        """The leading zero of a padded chunk size is not taken for the last chunk."""
        self.broken(chunked(b"004\r\nabcd\r\n0"), "was interrupted")
        self.broken(chunked(b"004\r\nabcd\r\n0\r\n"), "was interrupted")

    def test_malformed_chunks(self) -> None:
        """
        Chunk sizes other than hexadecimal digits, and chunks longer than their size, are refused.
        """
        for size in (b"-5", b"0x5", b"5_0", b"", b"g", b"+5", b"1" * 5000):
            self.broken(chunked(size + b"\r\nabcde\r\n0\r\n\r\n"), "cannot be trusted")
        self.broken(chunked(b"4\r\nabcde\r\n0\r\n\r\n"), "a chunk is longer than it says")

    def test_no_length(self) -> None:
        """
        A body that ends when the connection closes is refused: its end is indistinguishable from an
        interruption.
        """
        self.broken(answer("200 OK", "Connection: close", body=BODY), "it has no length")

    def test_ambiguous_framing(self) -> None:
        """
        Responses with two framings, two lengths or a malformed length are refused: where the body
        ends is ambiguous.
        """
        for headers in (
            ["Content-Length: 4", "Transfer-Encoding: chunked"],
            ["Transfer-Encoding: gzip, chunked"],
            ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
            ["Content-Length: 4", "Content-Length: 5"],
            ["Content-Length: +4"],
            ["Content-Length: 1_0"],
            ["Content-Length: -1"],
            ["Content-Length: 4, 4"],
        ):
            self.broken(answer("200 OK", *headers, body=b"4\r\nabcd\r\n0\r\n\r\n"), "trusted")

    def test_encoded(self) -> None:
        """A response with a content coding is refused: its body is not the file's content."""
        self.broken(counted(BODY, "Content-Encoding: gzip"), "it is encoded")

    def test_redirect(self) -> None:
        """A redirect is not followed, because the token is not sent elsewhere."""
        self.broken(
            answer("302 Found", f"Location: {self.url}/x\x1b", "Content-Length: 0"),
            f"redirects to {self.url}/x\\x1b",
            "--platform",
        )
        self.assertEqual(len(self.asked), 1)

    def test_other_success(self) -> None:
        """A part that was not requested, or a response without content, is refused."""
        self.broken(counted(BODY, "Content-Range: bytes 0-1023/4096", status="206 Partial"), "206")
        self.broken(answer("204 No Content"), "204")

    def test_not_http(self) -> None:
        """A server that does not speak HTTP is reported as such."""
        self.broken(b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP")

    def test_stalled(self) -> None:
        """
        A transfer that makes no progress is aborted after the timeout, and reported as stalled.
        """
        told = threading.Event()
        self.addCleanup(told.set)
        self.play([counted(BODY, short=24), told.wait])
        result = self.get("/workspace/f", "--timeout", "0.05", "--retries", "0")
        self.ended(result, 7, "the transfer stalled after 1000 of 1024 bytes")
        self.assertEqual(self.files(), [])

    def test_interrupted(self) -> None:
        """Ctrl-C removes the temporary file; the exit status is 130."""

        def interrupt(*_: Any) -> None:
            raise KeyboardInterrupt

        self.patch(output_file.FileSink, "write", interrupt)
        self.play(counted(BODY))
        self.ended(self.get("/workspace/f"), 130, "chatfiles: interrupted")
        self.assertEqual(self.files(), [])


class RetryTests(StubCase):
    """``--retries``: a download resumes only with the same version of the file."""

    ETAG = 'ETag: "v1"'

    def setUp(self) -> None:
        super().setUp()
        self.pauses: list[float] = []
        self.patch(time, "sleep", self.pauses.append)

    def rest(self, first: int, etag: str = ETAG, total: int = 1024) -> bytes:
        range_header = f"Content-Range: bytes {first}-1023/{total}"
        return counted(BODY[first:], etag, range_header, status="206 Partial Content")

    def test_goes_on(self) -> None:
        """The rest of the same version is requested and appended."""
        self.play(counted(BODY, self.ETAG, short=1000), self.rest(24))
        result = self.get("/workspace/f", "--retries", "1")
        self.ended(result, 0)
        self.assertRegex(result.stderr, r"\A.* was interrupted .*; trying again in 1 s\n\Z")
        self.assertEqual(self.read("f"), BODY)
        self.assertEqual(self.asked[1].headers["Range"], "bytes=24-")
        self.assertEqual(self.asked[1].headers["If-Range"], '"v1"')

    def test_quiet(self) -> None:
        """``-q`` does not report retries."""
        self.play(counted(BODY, self.ETAG, short=1000), self.rest(24))
        self.assertEqual(self.get("/workspace/f", "-q").stderr, "")

    def test_number(self) -> None:
        """A number that is none is named as such."""
        self.ended(self.get("/workspace/f", "--retries", "x"), 2, "'x' is not a valid whole number")

    def test_by_default(self) -> None:
        """
        By default an interrupted transfer is resumed; it ends after three attempts without
        progress.
        """
        self.play(counted(BODY, self.ETAG, short=1000), self.rest(24))
        self.ended(self.get("/workspace/f"), 0)
        self.assertEqual((self.read("f"), self.pauses), (BODY, [1]))
        self.play(counted(BODY, self.ETAG, short=1000), *[self.rest(24)[:-1000]] * 3)
        self.ended(self.get("/workspace/g"), 7, "was interrupted")
        self.assertEqual(self.pauses[1:], [1, 2, 4])

    def test_rest_of_another_length(self) -> None:
        """A chunked part that is shorter or longer than its Content-Range is refused."""
        for sent in (BODY[24:1000], BODY[24:] + b"more"):
            rest = answer(
                "206 Partial Content",
                self.ETAG,
                "Content-Range: bytes 24-1023/1024",
                "Transfer-Encoding: chunked",
                body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(sent), sent),
            )
            self.play(counted(BODY, self.ETAG, short=1000), rest)
            self.ended(self.get("/workspace/f"), 7, "not as long as its range")
            self.assertEqual(self.files(), [])

    def test_nothing_at_first(self) -> None:
        """
        A failure before any successful response is not retried, so a mistyped address is reported
        at once; later the same failure is retried.
        """
        busy = said("503 Service Unavailable", {"error": "x"})
        self.play(busy)
        self.ended(self.get("/workspace/f"), 6)
        self.assertEqual((len(self.asked), self.pauses), (1, []))
        self.play(counted(BODY, self.ETAG, short=1024), busy, busy, counted(BODY))
        self.ended(self.get("/workspace/f"), 0)
        self.assertEqual((self.read("f"), self.pauses), (BODY, [1, 2, 4]))

    def test_progress_counts(self) -> None:
        """
        Each attempt that makes progress resets the count of retries, so a large file arrives
        despite many interruptions.
        """
        cuts = [counted(BODY, self.ETAG, short=1000)]
        for first in range(24, 1024, 100):
            cuts.append(self.rest(first)[: first + 100 - 1024 or None])
        self.play(*cuts)
        self.ended(self.get("/workspace/f", "--retries", "1"), 0)
        self.assertEqual(self.read("f"), BODY)
        self.assertEqual(self.pauses, [1] * 10)

    def test_no_progress_by_beginning_anew(self) -> None:
        """A download of a file that keeps changing ends after ``--retries`` retries."""
        self.play(*[counted(BODY, f'ETag: "v{n}"', short=n) for n in range(9, 0, -1)])
        self.ended(self.get("/workspace/f", "--retries", "2"), 7, "was interrupted")
        self.assertEqual(len(self.asked), 3)
        self.assertEqual(self.files(), ["f.part"])

    def test_goes_on_to_standard_output(self) -> None:
        """A download to standard output, where nothing can be taken back, is resumed too."""
        self.play(counted(BODY, self.ETAG, short=1000), self.rest(24))
        result = self.get("/workspace/f", "--retries", "1", "-o", "-")
        self.ended(result, 0)
        self.assertEqual(result.stdout_bytes, BODY)

    def test_changed_meanwhile(self) -> None:
        """Another version is downloaded from its beginning; nothing of the old one is kept."""
        self.play(counted(BODY, self.ETAG, short=1), counted(b"new", 'ETag: "v2"'))
        self.ended(self.get("/workspace/f", "--retries", "1"), 0)
        self.assertEqual(self.read("f"), b"new")

    def test_changed_meanwhile_on_standard_output(self) -> None:
        """
        If the file has changed, a download to standard output fails: two versions are never joined.
        """
        self.play(counted(BODY, self.ETAG, short=1), counted(b"new", 'ETag: "v2"'))
        result = self.get("/workspace/f", "--retries", "1", "-o", "-")
        self.ended(result, 7, "the file has changed")
        self.assertEqual(result.stdout_bytes, BODY[:-1])

    def test_weak_validator(self) -> None:
        """A download with a weak ETag is restarted: it does not identify bytes."""
        self.play(counted(BODY, 'ETag: W/"v1"', short=1), counted(BODY))
        self.ended(self.get("/workspace/f", "--retries", "1"), 0)
        self.assertEqual(self.read("f"), BODY)
        self.assertIsNone(self.asked[1].headers["Range"])

    def test_wrong_part(self) -> None:
        """A part of another version, offset or length is not appended."""
        for part in (
            self.rest(24, 'ETag: "v2"'),
            self.rest(25),
            self.rest(24, total=2048),
            counted(BODY[24:], self.ETAG, status="206 Partial Content"),
            answer(
                "206 Partial Content",
                self.ETAG,
                "Content-Range: bytes 24-27/1024",
                "Transfer-Encoding: chunked",
                body=b"4\r\nabcd\r\n0\r\n\r\n",
            ),
            counted(
                BODY[25:], self.ETAG, "Content-Range: bytes 24-1023/1024", status="206 Partial"
            ),
        ):
            self.play(counted(BODY, self.ETAG, short=1000), part)
            self.ended(self.get("/workspace/f", "--retries", "1"), 7, "cannot be trusted")
            self.assertEqual(self.files(), [])

    def test_gives_up(self) -> None:
        """After the last attempt its failure is reported."""
        self.play(*[counted(BODY, self.ETAG, short=1000)], *[self.rest(24)[:-1000]] * 2)
        self.ended(self.get("/workspace/f", "--retries", "2"), 7, "was interrupted")
        self.assertEqual(len(self.asked), 3)
        self.assertEqual(self.pauses, [1, 2])

    def test_unavailable(self) -> None:
        """A 503 is retried after its ``Retry-After``; a 404 is not retried."""
        self.play(said("503 Service Unavailable", {"error": "x"}, "Retry-After: 7"), counted(BODY))
        self.ended(self.get("/workspace/f", "--retries", "1"), 0)
        self.assertEqual(self.pauses, [7])
        self.play(said("404 Not Found", {"error": "file not found"}))
        self.ended(self.get("/workspace/g", "--retries", "9"), 3)
        self.assertEqual(self.pauses, [7])

    def test_what_does_not_pass(self) -> None:
        """
        An error that an operator has to correct is not retried; one that passes with the next
        heartbeat is.
        """
        wrong = {"error": "x", "code": "workspace_url_not_allowed"}
        self.play(said("502 Bad Gateway", wrong))
        self.ended(self.get("/workspace/f", "--retries", "9"), 6)
        self.assertEqual(self.pauses, [])
        passing = {"error": "x", "code": "workspace_refused_credentials"}
        self.play(said("502 Bad Gateway", passing), counted(BODY))
        self.ended(self.get("/workspace/f", "--retries", "9"), 0)
        self.assertEqual(self.pauses, [1])

    def test_name(self) -> None:
        """The look-up of a workspace's name is retried, too, if ``--retries`` is given."""
        down = said("503 Service Unavailable", {"error": "x"})
        own = said("200 OK", {"workspace": {"id": WORKSPACE, "name": "demo"}})
        words = ["get", "--token-file", "token", "demo", "/workspace/f", "-f"]
        # The second body is no archive: that is an error of its own.
        for more, status in ([], 0), (["--archive", "zip", "-o", "-"], 7):
            before = len(self.asked)
            self.play(down, down, own, counted(BODY))
            result = self.invoke(*words, *more, "--retries", "2")
            self.ended(result, status, "x (HTTP 503); trying again in 1 s", "trying again in 2 s")
            targets = [asked.target for asked in self.asked[before:]]
            self.assertEqual(targets[:3], ["/token"] * 3)
        self.assertEqual(self.pauses, [1, 2] * 2)
        self.play(down)
        self.ended(self.invoke(*words), 6, "x")
        self.play(down, down)
        self.ended(self.invoke(*words, "--retries", "1", "-q"), 6)
        self.play(said("401 Unauthorized", {"error": "x"}))
        self.ended(self.invoke(*words, "--retries", "1"), 4)
        self.assertEqual(self.pauses, [1, 2] * 2 + [1])

    def test_longest_pause(self) -> None:
        """The pause that a server requests is bounded."""
        self.play(said("503 Busy", {"retry_after_seconds": 86400}), counted(BODY))
        self.ended(self.get("/workspace/f", "--retries", "1"), 0)
        self.assertEqual(self.pauses, [retries.LONGEST_PAUSE])


class SinkTests(StubCase):
    """`FileSink` and the choice of a file's name."""

    def test_leaves_nothing_on_error(self) -> None:
        """The temporary file is removed whatever exception ends the block."""

        def fail(error: type[BaseException]) -> None:
            with output_file.FileSink(Place.of(self.path("f")), force=False) as sink:
                sink.write(b"abc")
                raise error

        for error in (ValueError, KeyboardInterrupt, SystemExit):
            self.assertRaises(error, fail, error)
            self.assertEqual(self.files(), [])

    def test_restart(self) -> None:
        """After a restart only what is written from then on is kept."""
        with output_file.FileSink(Place.of(self.path("f")), force=False) as sink:
            sink.write(b"abcdef")
            sink.restart()
            sink.write(b"xyz")
            sink.publish()
        self.assertEqual(self.read("f"), b"xyz")

    def test_names(self) -> None:
        """The file's name is the last segment of the path; without one, ``-o`` is required."""
        for path, name in (("/workspace/a", "a"), ("a", "a"), ("/", None), ("", None)):
            self.assertEqual(output_name.file_name(path), name)
        with self.assertRaises(CliError):
            output_name.choose_path(None, None)
        self.assertEqual(output_name.choose_path("x", None), "x")
