"""
reference/uploads, "Response": one upload on the workspace, from the bytes of its body to its
response.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from typing import ClassVar
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import ChatfilesError
from chatfiles.rules.upload_head import MAX_FILES
from chatfiles.workspace.uploads.ingestion import Ingestion, IngestLimits, StoredFile
from chatfiles.workspace.uploads.upload_directory import UploadDirectory

BOUNDARY = "b"
END = b"\r\n--b--\r\n"
MIB = 1 << 20


def part(content: bytes, name: str = "x", media_type: str | None = None) -> bytes:
    """:return: a file of a form, with the delimiter before it."""
    kind = "" if media_type is None else f"Content-Type: {media_type}\r\n"
    head = (
        f'\r\n--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n{kind}\r\n'
    )
    return head.encode() + content


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + END


class Case(SynchronousTestCase):
    """A directory, and sessions that store into it."""

    limits: ClassVar[IngestLimits] = IngestLimits(1000, 10_000)
    unnamed: ClassVar[bool] = True

    def setUp(self) -> None:
        self.root = os.path.realpath(self.mktemp())
        os.makedirs(self.root)
        self.path = os.path.join(self.root, ".molecule", "chat-uploads")
        self.directory = UploadDirectory(
            lambda: os.open(self.root, os.O_PATH | os.O_DIRECTORY), unnamed=self.unnamed
        )

    def session(
        self, limits: IngestLimits | None = None, prefix: Callable[[], str] | None = None
    ) -> Ingestion:
        more = {} if prefix is None else {"prefix": prefix}
        session = Ingestion(self.directory, limits or self.limits, BOUNDARY, **more)
        self.addCleanup(session.close)
        return session

    def store(
        self, pieces: Iterable[bytes], limits: IngestLimits | None = None
    ) -> list[StoredFile]:
        """:return: what is stored of a body."""
        session = self.session(limits)
        try:
            for piece in pieces:
                session.feed(piece)
            session.prepare()
            stored = session.finish()
            session.keep()
            return stored
        finally:
            session.close()

    def refused(
        self, pieces: Iterable[bytes], limits: IngestLimits | None = None
    ) -> tuple[int, str, str]:
        """:return: status, text and code of the refusal, which leaves no files."""
        before = self.listed()
        error = self.assertRaises(ChatfilesError, self.store, pieces, limits)
        self.assertEqual(self.listed(), before)
        return error.status, error.text, error.code

    def listed(self) -> dict[str, bytes]:
        found = {}
        for name in os.listdir(self.path) if os.path.isdir(self.path) else ():
            with open(os.path.join(self.path, name), "rb") as file:
                found[name] = file.read()
        return found


class AnswerTests(Case):
    """What the response says of stored files."""

    def test_shape(self) -> None:
        """The response has the members that existing clients look for."""
        (stored,) = self.store([form(part(b"hello", "dir/my notes.txt", "text/x-notes"))])
        ((name, content),) = self.listed().items()
        self.assertEqual(content, b"hello")
        self.assertRegex(name, r"\A[0-9a-f]{32}-my_notes\.txt\Z")
        self.assertEqual(
            list(stored.view().items()),
            [
                ("uri", f"workspace:/workspace/.molecule/chat-uploads/{name}"),
                ("name", "my_notes.txt"),
                ("mimeType", "text/x-notes"),
                ("size", 5),
                ("originalName", "dir/my notes.txt"),
                ("sha256", hashlib.sha256(b"hello").hexdigest()),
            ],
        )

    def test_media_type(self) -> None:
        """
        The media type that a client gives is kept, without parameters; otherwise, it follows from
        the extension, and is empty if that is unknown.
        """
        for name, given_type, told in (
            ("a.pdf", None, "application/pdf"),
            ("a.tar.gz", None, "application/gzip"),
            ("a.txt", None, "text/plain"),
            ("a", None, ""),
            ("a.é", None, ""),
            ("a.txt", "text/html; charset=x", "text/html"),
            ("a.pdf", "image/png", "image/png"),
            ("a.pdf", "", "application/pdf"),
        ):
            (stored,) = self.store([form(part(b"", name, given_type))])
            self.assertEqual(stored.media_type, told, (name, given_type))

    def test_order(self) -> None:
        """The response lists the files in the order in which they were sent."""
        names = [f"{n}.txt" for n in range(MAX_FILES)]
        stored = self.store([form(*[part(n.encode(), n) for n in names])])
        self.assertEqual([s.name for s in stored], names)
        self.assertEqual(len(self.listed()), MAX_FILES)
        for one in stored:
            self.assertEqual(self.listed()[one.uri.rpartition("/")[2]], one.name.encode())

    def test_same_name(self) -> None:
        """Two files of the same name are stored separately."""
        stored = self.store([form(part(b"1"), part(b"2"))])
        self.assertEqual([s.name for s in stored], ["x", "x"])
        self.assertEqual(sorted(self.listed().values()), [b"1", b"2"])

    def test_empty_file(self) -> None:
        """An empty file is stored, with the digest of no bytes."""
        (stored,) = self.store([form(part(b"", ""))])
        self.assertEqual((stored.name, stored.size, stored.original_name), ("file", 0, ""))
        self.assertEqual(stored.sha256, hashlib.sha256().hexdigest())
        self.assertEqual(list(self.listed().values()), [b""])

    def test_hostile_names(self) -> None:
        """
        A hostile name does not leave the directory, is not hidden, and does not break the response.
        """
        for given_name in (
            "../../../escape",
            "/etc/passwd",
            "..",
            ".",
            "a\0b",
            "%0D%0ASet-Cookie: x",
            ".upload-x.part",
            "\u202e",
            "a" * 300,
            "'; DROP TABLE files; --",
        ):
            (stored,) = self.store([form(part(b"x", given_name))])
            name = stored.uri.rpartition("/")[2]
            self.assertTrue(re.fullmatch(r"[0-9a-f]{32}-[A-Za-z0-9._-]{1,100}", name), given_name)
            self.assertEqual(self.listed()[name], b"x")
            json.dumps(stored.view()).encode("utf-8")
        self.assertEqual(os.listdir(self.root), [".molecule"])
        self.assertEqual(len(self.listed()), 10)

    @given(
        st.lists(st.binary(max_size=300), min_size=1, max_size=4),
        st.lists(st.integers(0, 1000), max_size=10),
    )
    def test_any_content(self, contents: list[bytes], at: list[int]) -> None:
        """What is stored, and its digest, is what was sent, however the body is divided."""
        contents = [content.replace(b"--b", b"") for content in contents]
        data = form(*[part(content) for content in contents])
        ends = [*sorted({offset % len(data) for offset in at}), len(data)]
        stored = self.store(
            data[begin:end] for begin, end in zip([0, *ends], ends, strict=False) if begin < end
        )
        files = self.listed()
        for content, one in zip(contents, stored, strict=True):
            self.assertEqual(files[one.uri.rpartition("/")[2]], content)
            self.assertEqual(one.size, len(content))
            self.assertEqual(one.sha256, hashlib.sha256(content).hexdigest())


class RefusalTests(Case):
    """Refused uploads: they leave no files, and are refused as existing clients expect."""

    def test_no_files(self) -> None:
        """A form without files is refused as ``no_files``."""
        no_files = (400, "expected at least one 'files' field", "no_files")
        self.assertEqual(self.refused([b"--b--\r\n"]), no_files)
        text = b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\ntext' + END
        self.assertEqual(self.refused([text]), no_files)
        other = form(part(b"x")).replace(b'"files"', b'"file"')
        self.assertEqual(self.refused([other]), no_files)

    def test_malformed(self) -> None:
        """No file of a malformed or incomplete form is stored."""
        malformed = (400, "failed to parse multipart form", "invalid_multipart")
        whole = form(part(b"1"), part(b"2"))
        for data in (whole[: -len(END)], whole[:-3], whole.replace(b"--b\r\n", b"--bb\r\n"), b"x"):
            self.assertEqual(self.refused([data]), malformed, data)
        self.assertEqual(self.refused([]), malformed)
        self.assertEqual(self.refused([part(b"1"), b"\r\n--b!"]), malformed)

    def test_too_many(self) -> None:
        """A form with too many files is refused, and none of them is kept."""
        self.assertEqual(
            self.refused([form(*[part(b"")] * (MAX_FILES + 1))]),
            (400, "too many files (limit 64)", "too_many_files"),
        )

    def test_file_too_large(self) -> None:
        """A file that exceeds the limit is refused; one of exactly that size is stored."""
        self.store([form(part(b"x" * 1000))])
        too_large = (413, "my_x exceeds per-file limit (1000 bytes)", "file_too_large")
        self.assertEqual(self.refused([form(part(b"x" * 1001, "my x"))]), too_large)
        pieces = [part(b"", "my x"), *[b"x" * 100] * 10, b"y"]
        self.assertEqual(self.refused(pieces), too_large)
        two = [form(part(b"x" * 1000), part(b"x" * 1001, "my x"))]
        self.assertEqual(self.refused(two), too_large)
        limits = IngestLimits(5 * MIB, 100 * MIB)
        self.assertEqual(
            self.refused([part(b"x" * (5 * MIB + 1), "a.bin")], limits)[:2],
            (413, "a.bin exceeds per-file limit (5 MB)"),
        )

    def test_request_too_large(self) -> None:
        """A body that exceeds the limit is refused, whatever it consists of."""
        data = form(part(b"x"))
        exact = IngestLimits(1000, len(data))
        self.store([data], exact)
        less = IngestLimits(1000, len(data) - 1)
        said = f"request body exceeds total limit ({len(data) - 1} bytes)"
        self.assertEqual(self.refused([data], less), (413, said, "request_too_large"))
        self.assertEqual(self.refused([data[:20], data[20:]], less)[0], 413)
        for padded in ([b"p" * 11_000], [data, b"e" * 11_000]):
            self.assertEqual(self.refused(padded)[0], 413)

    def test_stops_at_once(self) -> None:
        """Bytes that exceed the limit are not written."""
        session = self.session()
        session.feed(part(b""))
        written = []
        with mock.patch(
            "chatfiles.workspace.publication.unpublished_file.UnpublishedFile.write",
            lambda _, data: written.append(data),
        ):
            self.assertRaises(ChatfilesError, session.feed, b"x" * 1001)
        self.assertEqual(written, [])

    def test_disk(self) -> None:
        """A full disk is distinguished from a broken one, and no part of the upload stays on it."""
        full = (507, "no space left", "no_space")
        broken = (500, "failed to write file", "write_failed")
        data = form(part(b"1"), part(b"2"))
        for code, expected in (
            (errno.ENOSPC, full),
            (errno.EDQUOT, full),
            (errno.EIO, broken),
            (errno.EROFS, broken),
            (errno.EACCES, broken),
        ):
            for call in ("mkdir", "open", "write", "fsync", "link"):
                with mock.patch(f"os.{call}", side_effect=OSError(code, "")):
                    error = self.assertRaises(ChatfilesError, self.store, [data])
                self.assertEqual((error.status, error.text, error.code), expected, call)
                self.assertEqual(self.listed(), {}, call)

    def test_symlink(self) -> None:
        """
        A symlink in place of the directory is refused, so that an agent cannot redirect uploads.
        """
        elsewhere = os.path.realpath(self.mktemp())
        os.makedirs(os.path.join(elsewhere, "chat-uploads"))
        os.symlink(elsewhere, os.path.join(self.root, ".molecule"))
        error = self.assertRaises(ChatfilesError, self.store, [form(part(b"x"))])
        self.assertEqual((error.status, error.text), (500, "failed to write file"))
        os.unlink(os.path.join(self.root, ".molecule"))
        os.mkdir(os.path.join(self.root, ".molecule"))
        os.symlink(elsewhere, self.path)
        self.assertRaises(ChatfilesError, self.store, [form(part(b"x"))])
        self.assertEqual(os.listdir(elsewhere), ["chat-uploads"])
        self.assertEqual(os.listdir(os.path.join(elsewhere, "chat-uploads")), [])

    def test_collision(self) -> None:
        """A file that already has the name is not replaced; the upload fails."""
        prefixes = iter(["1" * 32, "2" * 32, "2" * 32])
        os.makedirs(self.path)
        with open(os.path.join(self.path, "2" * 32 + "-x"), "wb") as file:
            file.write(b"old")
        session = self.session(prefix=lambda: next(prefixes))
        session.feed(form(part(b"new 1"), part(b"new 2"), part(b"new 3")))
        error = self.assertRaises(ChatfilesError, session.finish)
        session.close()
        self.assertEqual(error.code, "write_failed")
        self.assertEqual(self.listed(), {"2" * 32 + "-x": b"old"})


class EndTests(Case):
    """All files of a request are stored, or none."""

    def test_nothing_before_the_end(self) -> None:
        """No file is visible before its whole request is complete."""
        data = form(part(b"1"), part(b"2"))
        session = self.session()
        for octet in data:
            session.feed(bytes([octet]))
            self.assertEqual(self.visible(), {})
        session.prepare()
        session.finish()
        self.assertEqual(len(self.visible()), 2)
        session.keep()
        self.assertEqual(len(self.listed()), 2)

    def visible(self) -> dict[str, bytes]:
        return self.listed()

    def test_left_at_any_offset(self) -> None:
        """A client that disconnects, at any offset, leaves no files."""
        data = form(part(b"1"), part(b"2"))
        for length in range(len(data) + 1):
            session = self.session()
            if length:
                session.feed(data[:length])
            session.close()
            self.assertEqual(self.listed(), {}, length)

    def test_left_while_publishing(self) -> None:
        """
        Published files are removed if the request has timed out or its client has disconnected.
        """
        session = self.session()
        session.feed(form(part(b"1"), part(b"2")))
        session.prepare()
        session.finish()
        self.assertEqual(len(self.visible()), 2)
        session.close()
        self.assertEqual(self.listed(), {})

    def test_killed_while_taking_back(self) -> None:
        """If the process dies while it removes the files of a request, a sweep removes the rest."""
        session = self.session()
        session.feed(form(part(b"1"), part(b"2"), part(b"3")))
        session.prepare()
        session.finish()
        self.assertEqual(len(self.listed()), 3)  # and none with a temporary name
        child = os.fork()
        if child == 0:
            unlinked, real = list[str](), os.unlink

            def unlink(name: str, **more: int) -> None:
                if unlinked:
                    os._exit(9)
                unlinked.append(name)
                real(name, **more)

            with mock.patch("os.unlink", unlink):
                session.close()
            os._exit(0)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 9)
        self.assertTrue(any(name.endswith(".note") for name in self.listed()))
        self.assertEqual(self.directory.sweep(), 2)
        self.assertEqual(self.listed(), {})

    def test_taken_back_from_a_full_disk(self) -> None:
        """
        Files of a failed request are removed even if the disk has no room for a note about them.
        """
        session = self.session()
        session.feed(form(part(b"1"), part(b"2")))
        session.prepare()
        session.finish()
        with mock.patch("os.open", side_effect=OSError(errno.ENOSPC, "")):
            session.close()
        self.assertEqual(self.listed(), {})

    def test_descriptors(self) -> None:
        """Neither a stored nor a refused upload leaves a descriptor open."""
        before = len(os.listdir("/proc/self/fd"))
        self.store([form(part(b"1"), part(b"2"))])
        self.refused([part(b"1"), b"\r\n--b!"])
        self.refused([form()])
        with mock.patch("os.link", side_effect=OSError(errno.EIO, "")):
            self.refused([form(part(b"1"), part(b"2"))])
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_closed_twice(self) -> None:
        """Closing a session again does not remove what is stored."""
        session = self.session()
        session.feed(form(part(b"1")))
        session.prepare()
        session.finish()
        session.keep()
        session.close()
        self.assertEqual(list(self.listed().values()), [b"1"])

    def test_on_the_disk(self) -> None:
        """A file is synced to the disk before it appears, and its directory after that."""
        self.store([form(part(b"0"))])  # examines the file system, once
        calls = mock.Mock()
        calls.fsync.side_effect, calls.link.side_effect = os.fsync, os.link
        with mock.patch("os.fsync", calls.fsync), mock.patch("os.link", calls.link):
            self.store([form(part(b"1"))])
        self.assertEqual([call[0] for call in calls.mock_calls], ["fsync", "link", "fsync"])

    def test_large(self) -> None:
        """A large file, which is flushed to the disk early, is stored unchanged."""
        piece = bytes(range(256)) * 4096
        limits = IngestLimits(100 * MIB, 100 * MIB)
        (stored,) = self.store([part(b""), *[piece] * 20, b"z", END], limits)
        ((name, content),) = self.listed().items()
        self.assertTrue(stored.uri.endswith(name))
        self.assertEqual(content, piece * 20 + b"z")
        self.assertEqual(stored.sha256, hashlib.sha256(content).hexdigest())


class NamedEndTests(EndTests):
    """The same, on a file system that has no unnamed files."""

    unnamed = False

    def visible(self) -> dict[str, bytes]:
        return {n: c for n, c in self.listed().items() if not n.startswith(".chatfiles-part-")}
