"""
``chatfiles get``: an interrupted download stays as ``NAME.part``, and the next one continues it.

Whatever happens to that file in between, the result is one version of the file, or an error.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from typing import Any
from unittest import mock

from chatfiles.cli.errors import CliError
from chatfiles.cli.terminal.progress_bar import ProgressBar
from chatfiles.cli.transfers import output_file, partial_file
from chatfiles.cli.transfers.local_place import Place
from chatfiles.cli.transfers.partial_record import (
    PartialRecord,
    Version,
    append_record,
)
from chatfiles.posix import rename_noreplace
from tests.cli.cli_stub import StubCase, counted, said

BODY = bytes(range(256)) * 4
OTHER = bytes(reversed(BODY))
ETAG = 'ETag: "v1"'


def cut(received: int, etag: str = ETAG, body: bytes = BODY) -> bytes:
    """:return: a response that is interrupted after *received* bytes."""
    return counted(body, etag, short=len(body) - received)


def rest(first: int, short: int = 0) -> bytes:
    """:return: the rest of the file, from *first* on."""
    headers = (ETAG, f"Content-Range: bytes {first}-1023/1024")
    return counted(BODY[first:], *headers, status="206 Partial Content", short=short)


class ResumeCase(StubCase):
    """Leaves a ``.part`` file and continues it."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(time, "sleep", lambda _: None)

    def interrupt(self, received: int = 1000, *words: str, **more: Any) -> None:
        """Leave ``f.part`` with the first *received* bytes."""
        self.play(cut(received))
        self.ended(self.get("/workspace/f", "--retries", "0", *words, **more), 7)

    def from_the_start(self, *words: str, **more: Any) -> None:
        """Assert that the next command asks for the whole file, and saves it."""
        asked = len(self.asked)
        self.play(counted(OTHER, ETAG))
        self.ended(self.get("/workspace/f", *words, **more), 0)
        self.assertIsNone(self.asked[asked].headers["Range"])
        self.assertEqual(self.read("f"), OTHER)


class KeptTests(ResumeCase):
    """When the bytes of an interrupted download are kept, and how they are continued."""

    def test_continued(self) -> None:
        """The next command asks for the rest of the same version; no other file is left."""
        self.play(cut(1000))
        result = self.get("/workspace/f", "--retries", "0")
        self.ended(result, 7, "1000 of 1024 bytes are kept in f.part; the same command continues")
        self.assertEqual(self.files(), ["f.part"])
        self.assertEqual(self.read("f.part")[:1000], BODY[:1000])
        self.assertEqual(os.stat(self.path("f.part")).st_mode & 0o777, 0o600)
        self.play(rest(1000))
        self.ended(self.get("/workspace/f"), 0, "f.part has 1000 of 1024 bytes; continuing there")
        self.assertEqual(self.asked[1].headers["Range"], "bytes=1000-")
        self.assertEqual(self.asked[1].headers["If-Range"], '"v1"')
        self.assertEqual((self.files(), self.read("f")), (["f"], BODY))

    def test_continued_often(self) -> None:
        """A download that is interrupted many times is completed, one part after the other."""
        self.interrupt(10)
        for first in range(10, 1010, 100):
            self.play(rest(first, short=1024 - first - 100))
            self.ended(self.get("/workspace/f", "--retries", "0"), 7)
        self.play(rest(1010))
        self.ended(self.get("/workspace/f"), 0)
        self.assertEqual((self.files(), self.read("f")), (["f"], BODY))

    def test_interrupted(self) -> None:
        """Ctrl-C during the transfer keeps what has arrived; the exit status is 130."""

        def interrupt() -> None:
            raise KeyboardInterrupt

        self.patch(time, "sleep", lambda _: interrupt())
        self.play(cut(1000))
        result = self.get("/workspace/f")
        self.ended(result, 130, "1000 of 1024 bytes are kept in f.part", "chatfiles: interrupted")
        self.play(rest(1000))
        self.ended(self.get("/workspace/f"), 0)
        self.assertEqual(self.read("f"), BODY)

    def test_interrupted_between_writing_and_counting(self) -> None:
        """A signal between the write and its digest loses that piece at most."""
        self.interrupt(100)

        class Interrupting:
            """A digest whose copies are interrupted when they are updated."""

            def __init__(self, digest: Any) -> None:
                self.hexdigest = digest.hexdigest

            def copy(self) -> Interrupting:
                return self

            def update(self, _: bytes) -> None:
                raise KeyboardInterrupt

        take = partial_file.PartialFile.take

        def taking(*words: Any) -> Any:
            taken = take(*words)
            assert taken is not None
            digest: Any = Interrupting(taken.digest)
            return partial_file.Taken(taken.file, taken.record, digest)

        with mock.patch.object(partial_file.PartialFile, "take", taking):
            self.play(rest(100))
            self.ended(self.get("/workspace/f"), 130, "are kept in f.part")
        self.play(rest(100))
        self.ended(self.get("/workspace/f"), 0)
        self.assertEqual((self.files(), self.read("f")), (["f"], BODY))

    def test_interrupted_in_the_first_piece(self) -> None:
        """A signal just behind the first write keeps what it has written."""
        self.play(cut(1000))
        with mock.patch.object(ProgressBar, "advance", side_effect=KeyboardInterrupt):
            self.ended(self.get("/workspace/f"), 130, "1000 of 1024 bytes are kept in f.part")
        self.play(rest(1000))
        self.ended(self.get("/workspace/f"), 0)
        self.assertEqual((self.files(), self.read("f")), (["f"], BODY))

    def test_interrupted_before_starting_over(self) -> None:
        """
        A signal between the headers of another version and the removal of the old bytes does not
        make these the beginning of that version.
        """
        self.interrupt(100)
        stopping = mock.patch.object(output_file.FileSink, "restart", side_effect=KeyboardInterrupt)
        self.play(counted(OTHER, 'ETag: "v2"'))
        with stopping:
            self.ended(self.get("/workspace/f"), 130)
        self.from_the_start()

    def test_quiet(self) -> None:
        """``-q`` keeps and continues without a word about it."""
        self.play(cut(1000), rest(1000))
        result = self.get("/workspace/f", "--retries", "0", "-q")
        self.assertNotIn("kept", result.stderr)
        self.assertEqual(self.get("/workspace/f", "-q").stderr, "")

    def test_changed_in_between(self) -> None:
        """Another version is saved from its beginning; nothing of the old one is kept."""
        self.interrupt()
        self.play(counted(b"new", 'ETag: "v2"'))
        result = self.get("/workspace/f")
        self.ended(result, 0, "the file has changed or cannot be resumed; starting over")
        self.assertEqual((self.files(), self.read("f")), (["f"], b"new"))

    def test_changed_quietly(self) -> None:
        """``--quiet`` says nothing about another version."""
        self.interrupt()
        self.play(counted(b"new", 'ETag: "v2"'))
        self.assertEqual(self.get("/workspace/f", "-q").stderr, "")

    def test_not_continued_on_request(self) -> None:
        """``--no-resume`` starts from the start, and removes the old part when it is done."""
        self.interrupt()
        self.from_the_start("--no-resume")
        self.assertEqual(self.files(), ["f"])

    def test_unavailable_meanwhile(self) -> None:
        """A platform that does not respond, or refuses, takes nothing of what is kept."""
        self.interrupt()
        for answer in (
            said("503 Busy", {"error": "x"}),
            said("401 Unauthorized", {"error": "x"}),
            said("404 Not Found", {"error": "x"}),
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n<html>Sign in to this network",
        ):
            self.play(answer)
            self.assertNotEqual(self.get("/workspace/f").exit_code, 0)
            self.assertEqual(self.files(), ["f.part"])
        self.play(rest(1000))
        self.ended(self.get("/workspace/f"), 0)
        self.assertEqual(self.read("f"), BODY)

    def test_untrusted(self) -> None:
        """Bytes that may be wrong are not kept."""
        self.play(cut(1000), counted(b"x" * 24, ETAG, status="206 Partial Content"))
        self.ended(self.get("/workspace/f"), 7, "cannot be trusted")
        self.assertEqual(self.files(), [])

    def test_nothing_to_continue(self) -> None:
        """Without a strong validator and a length, and without a byte, nothing is kept."""
        for answer in (
            cut(1000, 'ETag: W/"v1"'),
            cut(1000, "X-Other: 1"),
            cut(0),
            b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n',
        ):
            self.play(answer)
            self.ended(self.get("/workspace/f", "--retries", "0"), 7)
            self.assertEqual(self.files(), [])

    def test_longest_name(self) -> None:
        """A name of 255 bytes has a ``.part`` file, too."""
        name = "x" * 255
        self.play(cut(1000), rest(1000))
        self.ended(self.get(f"/workspace/{name}", "--retries", "0"), 7)
        self.assertEqual(self.files(), ["x" * 250 + ".part"])
        self.ended(self.get(f"/workspace/{name}"), 0)
        self.assertEqual((self.files(), self.read(name)), ([name], BODY))

    def test_replacing(self) -> None:
        """With ``--force``, the existing file stays until the continued download is complete."""
        self.write("f", "mine")
        self.interrupt(1000, "--force")
        self.assertEqual((self.files(), self.read("f")), (["f", "f.part"], b"mine"))
        self.play(rest(1000))
        self.ended(self.get("/workspace/f", "--force"), 0)
        self.assertEqual((self.files(), self.read("f")), (["f"], BODY))

    def test_full_disk(self) -> None:
        """A disk that has no room for a piece keeps nothing of it."""
        self.play(cut(1000))

        def full(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(partial_file, "append_record", full)
        self.ended(self.get("/workspace/f", "--retries", "0"), 7)
        self.assertEqual(self.files(), [])

    def test_without_flags_of_rename(self) -> None:
        """A kernel that cannot rename without replacing keeps and continues as well."""
        self.patch(rename_noreplace, "_renameat2", None)
        self.interrupt(500)
        self.play(rest(500, short=24))
        self.ended(self.get("/workspace/f", "--retries", "0"), 7)
        self.play(rest(1000))
        self.ended(self.get("/workspace/f"), 0)
        self.assertEqual((self.files(), self.read("f")), (["f"], BODY))


class AnotherFileTests(ResumeCase):
    """A ``.part`` file that is not the beginning of this file is never continued."""

    def test_altered(self) -> None:
        """A part that was altered, shortened or extended is not continued, nor is it removed."""
        self.interrupt()
        kept = self.read("f.part")
        for content in (
            b"X" + kept[1:],
            kept[:500] + b"X" + kept[501:],
            kept[:1000],
            kept[:-1],
            kept[1:],
            kept + b"more",
            b"",
            kept.replace(b'"size": 1000', b'"size": 1001'),
        ):
            with open(self.path("f.part"), "wb") as file:
                file.write(content)
            self.from_the_start()
            os.unlink(self.path("f"))

    def test_users_own_file(self) -> None:
        """A file of another program under that name is neither continued, replaced nor removed."""
        self.write("f.part", "of a browser")
        self.play(cut(1000))
        result = self.get("/workspace/f", "--retries", "0")
        self.ended(result, 7)
        self.assertNotIn("kept", result.stderr)
        self.from_the_start()
        self.assertEqual((self.files(), self.read("f.part")), (["f", "f.part"], b"of a browser"))

    def test_of_another_source(self) -> None:
        """The part of another path, workspace or platform is not continued, but gives way."""
        self.play(cut(1000))
        self.ended(self.get("/workspace/other/f", "--retries", "0"), 7)
        self.play(cut(500))
        self.ended(self.get("/workspace/f", "--retries", "0"), 7, "500 of 1024 bytes are kept")
        self.assertIsNone(self.asked[1].headers["Range"])
        self.play(rest(500))
        self.ended(self.get("/workspace/f"), 0)
        self.assertEqual((self.files(), self.read("f")), (["f"], BODY))

    def test_forged(self) -> None:
        """
        A file of the workspace cannot pass for a part: its author does not know the token.
        Otherwise a user who saves ``f.part`` and then ``f`` would have a file of two authors.
        """
        source = f"{self.url}/workspaces/3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d/chat/download"
        record = PartialRecord(
            f"{source}?path=/workspace/f", '"v1"', 1024, 500, hashlib.sha256(b"E" * 500).hexdigest()
        )
        for seal in (lambda _: bytes(32), lambda text: hashlib.sha256(text).digest()):
            forged = b"E" * 500 + append_record(record, seal)
            self.play(counted(forged))
            self.ended(self.get("/workspace/f.part"), 0)
            self.from_the_start()
            os.unlink(self.path("f"))
            os.unlink(self.path("f.part"))

    def test_of_another_token(self) -> None:
        """The part of a download with another token is not continued, but gives way."""
        self.interrupt()
        self.write("token", "tok-another")
        self.play(cut(10))
        self.ended(self.get("/workspace/f", "--retries", "0"), 7, "10 of 1024 bytes are kept")
        self.assertIsNone(self.asked[1].headers["Range"])

    def test_links(self) -> None:
        """A symlink, a further hard link, a pipe or a directory under that name is left alone."""
        self.interrupt()
        os.rename(self.path("f.part"), self.path("real"))
        for make in (
            lambda path: os.symlink("real", path),
            lambda path: os.link(self.path("real"), path),
            os.mkfifo,
            os.mkdir,
        ):
            make(self.path("f.part"))
            before = os.lstat(self.path("f.part"))
            self.play(cut(1000))
            self.ended(self.get("/workspace/f", "--retries", "0"), 7)
            self.from_the_start()
            self.assertTrue(os.path.samestat(before, os.lstat(self.path("f.part"))))
            os.unlink(self.path("f"))
            if before.st_mode & 0o170000 == 0o040000:
                os.rmdir(self.path("f.part"))
            else:
                os.unlink(self.path("f.part"))

    def test_writable_by_others(self) -> None:
        """A part that other users may write is not continued."""
        self.interrupt()
        os.chmod(self.path("f.part"), 0o620)
        self.from_the_start()

    def test_owned_by_another_user(self) -> None:
        """A part that belongs to another user is not continued."""
        self.interrupt()
        self.patch(os, "geteuid", lambda: 4711)
        self.from_the_start()

    def test_directory_without_permission(self) -> None:
        """In a directory that cannot be written, the error names the file; the part stays."""
        self.interrupt()

        def refuse(*_: Any, **__: Any) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        with mock.patch.object(os, "replace", refuse):
            self.ended(self.get("/workspace/f"), 8, "cannot write f: Permission denied")
        self.assertEqual((self.files(), len(self.asked)), (["f.part"], 1))
        self.play(rest(1000))
        self.ended(self.get("/workspace/f"), 0)

    def test_replaced_at_the_last_moment(self) -> None:
        """A file that another program puts there at the last moment is put back."""
        self.interrupt()
        rename = os.replace

        def replaced(old: Any, new: Any, **more: Any) -> None:
            os.unlink(old)
            self.write("f.part", "of a browser")
            rename(old, new, **more)

        with mock.patch.object(os, "replace", replaced):
            self.ended(self.get("/workspace/f"), 8, "another program")
        self.assertEqual((self.files(), self.read("f.part")), (["f.part"], b"of a browser"))


class TwoAtOnceTests(ResumeCase):
    """Two downloads of one file at once do not write to each other's files."""

    def sink(self, **more: Any) -> output_file.FileSink:
        """:return: the output of a download of ``f`` in this directory."""
        place = Place.of(self.path("f"))
        part = partial_file.PartialFile(place, "http://x/f", lambda text: text[:32])
        sink = output_file.FileSink(place, force=False, part=part, **more)
        self.addCleanup(sink.__exit__, None, None, None)
        return sink

    def kept(self) -> int:
        """:return: how many bytes the next download would begin with."""
        with self.sink() as sink:
            assert sink.resumed is not None
            size = sink.resumed.size
            self.assertTrue(sink.keep(sink.resumed.version))
        return size

    def test_only_one_continues(self) -> None:
        """While one download continues the part, another one starts from the start."""
        version = Version('"v1"', 1024)
        with self.sink() as sink:
            sink.write(BODY[:500])
            self.assertEqual(sink.keep(version), self.path("f.part"))
        with self.sink() as first:
            with self.sink() as second:
                assert first.resumed is not None
                self.assertEqual((first.resumed.size, second.resumed), (500, None))
                first.write(BODY[500:])
                second.write(OTHER)
                second.publish()
            self.assertEqual(self.read("f"), OTHER)
            with self.assertRaises(CliError):
                first.publish()
        self.assertEqual((self.files(), self.read("f")), (["f"], OTHER))

    def test_longer_part_stays(self) -> None:
        """Of two parts of the same version the longer one is kept, whichever ends last."""
        version = Version('"v1"', 1024)
        for sizes in ((900, 100), (100, 900)):
            sinks = [self.sink(resume=False) for _ in sizes]
            for sink, size in zip(sinks, sizes, strict=True):
                with sink:
                    sink.write(BODY[:size])
                    self.assertEqual(sink.keep(version), self.path("f.part"))
            self.assertEqual((self.files(), self.kept()), (["f.part"], 900))

    def test_later_version_stays(self) -> None:
        """Of parts of two versions the later one is kept."""
        for etag, size in (('"v1"', 900), ('"v2"', 100)):
            with self.sink(resume=False) as sink:
                sink.write(BODY[:size])
                sink.keep(Version(etag, 1024))
        self.assertEqual(self.kept(), 100)

    def test_locked(self) -> None:
        """A part that another process has locked is neither continued, replaced nor removed."""
        self.interrupt(500)
        kept = self.read("f.part")
        with open(self.path("f.part"), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.play(cut(900))
            result = self.get("/workspace/f", "--retries", "0")
            self.assertNotIn("kept", result.stderr)
            self.from_the_start()
        self.assertEqual((self.files(), self.read("f.part")), (["f", "f.part"], kept))

    def test_without_locks(self) -> None:
        """On a file system without locks nothing is kept, because it could not be protected."""

        def flock(*_: Any) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        self.patch(fcntl, "flock", flock)
        self.play(cut(1000))
        self.ended(self.get("/workspace/f", "--retries", "0"), 7)
        self.assertEqual(self.files(), [])
