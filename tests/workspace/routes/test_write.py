"""
Tests for `chatfiles.workspace.routes.write` (reference/writes): each row of its tables, in its
order.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import hashlib
import itertools
import json
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from chatfiles.http.server.observers import TransferEnded
from chatfiles.model import FileFacts
from chatfiles.rules.conditional_requests import WriteConditions, etag
from chatfiles.rules.virtual_paths import check_form
from chatfiles.rules.writable_prefixes import WritablePrefixes
from chatfiles.workspace.files.write_targets import Target, Targets
from chatfiles.workspace.inbound_secrets import InboundSecrets
from chatfiles.workspace.publication.file_write import FileWrites
from chatfiles.workspace.publication.in_place_file import copy_in_place
from chatfiles.workspace.routes.context import WorkspaceContext
from chatfiles.workspace.routes.ingest import IngestContext
from chatfiles.workspace.routes.route_table import workspace_tree
from chatfiles.workspace.routes.write import WriteContext
from chatfiles.workspace.uploads.ingestion import IngestLimits
from chatfiles.workspace.uploads.upload_directory import UploadDirectory
from tests.http.server.test_observers import Recorder
from tests.support.memory_client import CHUNKED, Caller, Received, chunked, get
from tests.workspace.publication.writing_case import WritingCase

LIMIT = 1000
UPLOADS = ".molecule/chat-uploads"
SECRET = b"Authorization: Bearer abc"


def digest(content: bytes, name: bytes = b"Repr-Digest") -> bytes:
    return b"%b: sha-256=:%b:" % (name, base64.b64encode(hashlib.sha256(content).digest()))


class _AtOnce:
    """In place of threads: each call returns before the next one begins."""

    def run(self, call: Callable[..., Any], *arguments: Any, **more: object) -> Deferred[Any]:
        return execute(call, *arguments)


class WriteRouteCase(WritingCase):
    """A workspace; ``/workspace/out`` and ``/workspace/fuse`` are writable, the latter in place."""

    writable = WritablePrefixes([b"/workspace/out"], [b"/workspace/fuse"])

    def setUp(self) -> None:
        super().setUp()
        os.makedirs(self.at("fuse"))
        self.write("configs/secret", b"abc")
        os.chmod(self.at("configs/secret"), 0o600)
        threads: Any = _AtOnce()
        self.prefixes = self.writable
        self.targets = Targets(self.store, self.prefixes)
        secret = InboundSecrets(self.at("configs/secret"))
        uploads = UploadDirectory(partial(self.store.open_root, b"/workspace"))
        writes = FileWrites(self.targets, self.publisher, uploads.open)
        self.tree = workspace_tree(
            WorkspaceContext(self.store, secret, threads, Clock(), 60.0, prefixes=self.prefixes),
            IngestContext(uploads, IngestLimits(1, 1), secret, threads),
            WriteContext(writes, LIMIT, threads),
        )

    def ask(self, method: str, target: str, *lines: bytes, body: bytes | None = None) -> Received:
        framing = [b"Content-Length: %d" % len(body)] if body is not None else []
        caller = Caller(self.tree)
        request = get(target.encode("latin-1"), SECRET, *framing, *lines, method=method.encode())
        caller.send(request, body or b"")
        return caller.answers()[-1]

    def put(
        self, path: str, *lines: bytes, body: bytes | None = b"new", more: str = ""
    ) -> Received:
        return self.ask("PUT", f"/internal/fs/file?path={path}{more}", *lines, body=body)

    def refused(self, answer: Received) -> tuple[int, str]:
        return answer.status, answer.json["code"] if answer.status >= 400 else ""

    def tag(self, path: str) -> bytes:
        return etag(FileFacts.of(os.stat(self.at(path))), self.now_ns)

    def names(self, path: str = "out") -> list[str]:
        return sorted(os.listdir(self.at(path)))


class PutTests(WriteRouteCase):
    """``PUT /internal/fs/file``."""

    def test_new(self) -> None:
        """A new file is 201, with all that is known of it."""
        answer = self.put("/workspace/out/a%20b%25")
        facts = os.stat(self.at("out/a b%"))
        sha256 = hashlib.sha256(b"new")
        tag = etag(FileFacts.of(facts), 1 << 62).decode()
        self.assertEqual(answer.status, 201)
        mtime = answer.json.pop("mtime")
        body = json.loads(answer.body)
        self.assertEqual(body.pop("mtime"), mtime)
        self.assertRegex(mtime, r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z\Z")
        expected = {"ref": "/workspace/out/a%20b%25", "size": 3, "etag": tag}
        self.assertEqual(body, {**expected, "sha256": sha256.hexdigest()})
        self.assertEqual(answer.fields["etag"], tag)
        encoded = base64.b64encode(sha256.digest()).decode()
        self.assertEqual(answer.fields["repr-digest"], f"sha-256=:{encoded}:")
        location = "/internal/fs/file?path=/workspace/out/a%20b%25"
        self.assertEqual(answer.fields["location"], location)
        self.assertEqual(self.read("out/a b%"), b"new")

    def test_replaced(self) -> None:
        """A replaced file is 200, without ``Location``; an empty file is a file."""
        self.write("out/x", b"old")
        answer = self.put("/workspace/out/x", body=b"")
        self.assertEqual((answer.status, answer.json["size"]), (200, 0))
        self.assertNotIn("location", answer.fields)
        self.assertEqual(self.read("out/x"), b"")

    def test_chunked(self) -> None:
        """A body in chunks is stored; without its end, nothing is."""
        request = get(b"/internal/fs/file?path=/workspace/out/x", SECRET, CHUNKED, method=b"PUT")
        body = chunked(b"ab", b"c")
        Caller(self.tree).send(request, body[:-1]).leave()
        self.assertEqual(self.names(), [])
        self.assertEqual(Caller(self.tree).send(request, body).answer().status, 201)
        self.assertEqual(self.read("out/x"), b"abc")

    def test_interrupted(self) -> None:
        """A body that is interrupted leaves the old file, and no directory."""
        self.write("out/x", b"old")
        length = b"Content-Length: 5"
        for path in (b"out/x", b"out/new", b"out/a/b/new&parents=1"):
            target = b"/internal/fs/file?path=/workspace/" + path
            caller = Caller(self.tree).send(get(target, SECRET, length, method=b"PUT"), b"new")
            caller.leave()
            self.assertEqual((self.names(), self.read("out/x")), (["x"], b"old"))

    def test_order(self) -> None:
        """Each fault is reported before all that come after it in the table."""
        self.write("out/file", b"x")
        os.symlink("file", self.at("out/link"))
        faults: list[tuple[dict[str, Any], tuple[int, str]]] = [
            ({"path": "out/file/"}, (400, "invalid_path")),
            ({"path": "other/x"}, (403, "not_writable")),
            ({"path": "out"}, (400, "not_a_regular_file")),
            ({"parents": "2"}, (400, "invalid_parents")),
            ({"mode": "888"}, (400, "invalid_mode")),
            ({"unframed": True}, (411, "length_required")),
            ({"line": b"Content-Encoding: gzip"}, (415, "unsupported_media_type")),
            ({"size": LIMIT + 1}, (413, "file_too_large")),
            ({"digest": b"Repr-Digest: sha-512=:AA==:"}, (400, "invalid_digest")),
            ({"path": "out/none/x"}, (404, "parent_not_found")),
            ({"path": "out/link"}, (400, "not_a_regular_file")),
            ({"condition": b"If-None-Match: *"}, (412, "precondition_failed")),
            ({"digest": digest(b"other")}, (422, "digest_mismatch")),
        ]
        for (first, expected), (second, _) in itertools.combinations(faults, 2):
            if set(first) & set(second) or {**first, **second}.keys() >= {"unframed", "size"}:
                continue
            fault = {**second, **first}
            more = "".join(f"&{n}={fault[n]}" for n in ("parents", "mode") if n in fault)
            lines = [fault[name] for name in ("line", "digest", "condition") if name in fault]
            body = None if "unframed" in fault else b"x" * fault.get("size", 3)
            answer = self.put(
                "/workspace/" + fault.get("path", "out/file"), *lines, body=body, more=more
            )
            self.assertEqual(self.refused(answer), expected, fault)
        self.assertEqual((self.names(), self.read("out/file")), (["file", "link"], b"x"))

    def test_unsupported(self) -> None:
        """A body that is not the file itself is refused."""
        for line in (
            b"Content-Encoding: gzip",
            b"Content-Range: bytes 0-2/3",
            b"Content-Type: multipart/form-data; boundary=x",
            b"Content-Type: Multipart/Form-Data",
        ):
            self.assertEqual(self.put("/workspace/out/x", line).status, 415, line)
        for line in (b"Content-Encoding: identity", b"Content-Type: multipart/mixed; boundary=x"):
            self.assertLess(self.put("/workspace/out/x", line).status, 300, line)

    def test_limit(self) -> None:
        """A file is refused when it exceeds the limit, also in chunks; nothing stays."""
        self.assertEqual(self.put("/workspace/out/x", body=b"x" * LIMIT).status, 201)
        os.unlink(self.at("out/x"))
        request = get(b"/internal/fs/file?path=/workspace/out/x", SECRET, CHUNKED, method=b"PUT")
        answer = Caller(self.tree).send(request, chunked(b"x" * LIMIT, b"x")).answer()
        self.assertEqual(self.refused(answer), (413, "file_too_large"))
        self.assertEqual(answer.json["error"], f"file exceeds limit ({LIMIT} bytes)")
        self.assertEqual(self.names(), [])

    def test_parents(self) -> None:
        """Missing directories are created when the client says so."""
        path = "/workspace/out/a/b/x"
        self.assertEqual(self.refused(self.put(path)), (404, "parent_not_found"))
        self.assertEqual(self.put(path, more="&parents=0").status, 404)
        failed = self.put(path, b"If-Match: *", more="&parents=1")
        self.assertEqual((failed.status, self.names()), (412, []))
        self.assertEqual(self.put(path, digest(b"other"), more="&parents=1").status, 422)
        self.assertEqual(self.names(), [])
        self.assertEqual(self.put(path, more="&parents=1").status, 201)
        self.assertEqual(self.read("out/a/b/x"), b"new")

    def test_parents_of_several(self) -> None:
        """A client that leaves does not take its directory away from another one's file."""
        target = b"/internal/fs/file?parents=1&path=/workspace/out/a/b/"
        head = (SECRET, b"Content-Length: 3")
        first = Caller(self.tree).send(get(target + b"x", *head, method=b"PUT"), b"ne")
        second = Caller(self.tree).send(get(target + b"y", *head, method=b"PUT"), b"ne")
        first.leave()
        self.assertEqual(second.send(b"w").answer().status, 201)
        self.assertEqual(self.names("out/a/b"), ["y"])

    def test_mode(self) -> None:
        """The mode has three octal digits, and the owner can always read."""
        for mode, status in (("640", 201), ("777", 200), ("400", 200)):
            self.assertEqual(self.put("/workspace/out/x", more=f"&mode={mode}").status, status)
            self.assertEqual(os.stat(self.at("out/x")).st_mode & 0o7777, int(mode, 8))
        for mode in ("0644", "64", "648", "300", "", "+64", "644&mode=644"):
            answer = self.put("/workspace/out/x", more=f"&mode={mode}")
            code = "parameter_repeated" if "&" in mode else "invalid_mode"
            self.assertEqual(self.refused(answer), (400, code), mode)

    def test_digests(self) -> None:
        """Each digest that is given must be right; the error has both in hexadecimal digits."""
        right, wrong = digest(b"new"), digest(b"other")
        content = digest(b"new", b"Content-Digest")
        for lines, status in (
            ([right], 201),
            ([content], 200),
            ([right, content], 200),
            ([wrong, content], 422),
            ([right, digest(b"other", b"Content-Digest")], 422),
            ([right + b", sha-512=:AA==:"], 200),
            ([b"Repr-Digest: sha-512=:AA==:"], 400),
            ([b"Content-Digest: sha-256=AA"], 400),
            ([b"Repr-Digest: "], 400),
        ):
            self.assertEqual(self.put("/workspace/out/x", *lines).status, status, lines)
        answer = self.put("/workspace/out/x", wrong)
        expected = {
            "expected": hashlib.sha256(b"other").hexdigest(),
            "actual": hashlib.sha256(b"new").hexdigest(),
        }
        self.assertEqual(answer.json["detail"], expected)
        self.assertEqual(answer.json["error"], "digest mismatch")
        self.assertEqual(self.names(), ["x"])

    def test_continue(self) -> None:
        """``100 Continue`` is sent after all checks, and not to a request that is refused."""
        self.write("out/x", b"old")
        target = b"/internal/fs/file?path=/workspace/out/x"
        expect = (SECRET, b"Content-Length: 3", b"Expect: 100-continue")
        refused = get(target, *expect, b"If-None-Match: *", method=b"PUT")
        answers = Caller(self.tree).send(refused).answers()
        self.assertEqual([answer.status for answer in answers], [412])
        caller = Caller(self.tree).send(get(target, *expect, method=b"PUT"))
        self.assertEqual([answer.status for answer in caller.answers()], [100])
        caller.send(b"new")
        self.assertEqual([answer.status for answer in caller.answers()], [100, 200])

    def test_judged_again(self) -> None:
        """What happens while the body arrives counts: conditions, and what has the name."""
        target = b"/internal/fs/file?path=/workspace/out/x"

        def race(line: bytes, meanwhile: Callable[[], object]) -> tuple[int, str]:
            caller = Caller(self.tree)
            caller.send(get(target, SECRET, b"Content-Length: 3", line, method=b"PUT"), b"ne")
            meanwhile()
            return self.refused(caller.send(b"w").answer())

        new = b"If-None-Match: *"
        refused = race(new, lambda: self.write("out/x", b"other"))
        self.assertEqual(refused, (412, "precondition_failed"))
        match = b"If-Match: " + self.tag("out/x")
        refused = race(match, lambda: self.write("out/x", b"newer"))
        self.assertEqual(refused, (412, "precondition_failed"))

        def by_symlink() -> None:
            os.unlink(self.at("out/x"))
            os.symlink(self.at("configs/.auth_token"), self.at("out/x"))

        self.assertEqual(race(b"A: b", by_symlink), (400, "not_a_regular_file"))
        self.assertEqual(self.read("configs/.auth_token"), b"token")
        self.assertEqual(self.names(), ["x"])

    def test_own_version(self) -> None:
        """The tag in the response can be used at once."""
        self.now_ns = 0  # so that every file is too new for a strong tag
        tag = self.put("/workspace/out/x").fields["etag"].encode()
        for _ in range(3):
            answer = self.put("/workspace/out/x", b"If-Match: " + tag)
            self.assertEqual(answer.status, 200)
            self.assertEqual(self.put("/workspace/out/x", b"If-Match: " + tag).status, 412)
            tag = answer.fields["etag"].encode()

    def test_disk_full(self) -> None:
        """Errors of the disk have their statuses; the old file stays."""
        self.write("out/x", b"old")
        for code, status in ((errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EIO, 500)):
            for call in ("os.write", "os.fsync", "os.rename"):
                with mock.patch(call, side_effect=OSError(code, "")):
                    self.assertEqual(self.put("/workspace/out/x").status, status)
                self.assertEqual((self.names(), self.read("out/x")), (["x"], b"old"))

    def test_closed(self) -> None:
        """Without a prefix, all is refused."""
        self.targets.prefixes = WritablePrefixes()
        for method, route, body in (
            ("PUT", "file", b"x"),
            ("DELETE", "file", None),
            ("POST", "directories", b""),
        ):
            answer = self.ask(method, f"/internal/fs/{route}?path=/workspace/out/x", body=body)
            self.assertEqual(self.refused(answer), (403, "not_writable"))

    def test_secret(self) -> None:
        """Nothing is written without the secret."""
        request = get(
            b"/internal/fs/file?path=/workspace/out/x", b"Content-Length: 0", method=b"PUT"
        )
        self.assertEqual(Caller(self.tree).send(request).answer().status, 401)
        self.assertEqual(self.names(), [])

    def test_in_place(self) -> None:
        """In place, the inode stays; a copy that fails removes the file."""
        self.assertEqual(self.put("/workspace/fuse/x", body=b"first").status, 201)
        inode = os.stat(self.at("fuse/x")).st_ino
        answer = self.put("/workspace/fuse/x", more="&mode=600")
        self.assertEqual((answer.status, os.stat(self.at("fuse/x")).st_ino), (200, inode))
        self.assertEqual(os.stat(self.at("fuse/x")).st_mode & 0o777, 0o600)
        self.assertEqual(self.read("fuse/x"), b"new")
        self.assertEqual(answer.fields["etag"].encode(), self.tag("fuse/x"))
        self.assertEqual(self.put("/workspace/fuse/x", b"If-None-Match: *").status, 412)
        self.assertEqual(self.put("/workspace/fuse/x", b'If-Match: "x"').status, 412)
        self.assertEqual(self.read("fuse/x"), b"new")
        real = os.close

        def close(fd: int) -> None:
            is_file = os.readlink(f"/proc/self/fd/{fd}").endswith("fuse/x")
            is_written = bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_WRONLY)
            real(fd)
            if is_file and is_written:
                raise OSError(errno.EDQUOT, "")

        with mock.patch("os.close", close):
            self.assertEqual(self.put("/workspace/fuse/x").status, 507)
        self.assertEqual(self.names("fuse"), [])
        self.assertEqual(self.names(UPLOADS), [])

    def test_in_place_refused(self) -> None:
        """In place, too, a body that is cut or refused leaves the old file, and nothing else."""
        self.write("fuse/x", b"old")
        self.assertEqual(self.put("/workspace/fuse/x", digest(b"other")).status, 422)
        head = (SECRET, b"Content-Length: 3")
        for path in (b"x", b"d/y&parents=1"):
            target = b"/internal/fs/file?path=/workspace/fuse/" + path
            Caller(self.tree).send(get(target, *head, method=b"PUT"), b"ne").leave()
        self.assertEqual((self.read("fuse/x"), self.names("fuse")), (b"old", ["x"]))
        self.assertEqual(self.names(UPLOADS), [])

    def test_in_place_in_turn(self) -> None:
        """In place, a file is that of one writer, not of two at once."""
        contents = [bytes([65 + n]) * (4 << 20) for n in range(4)]
        targets = [self.targets.open(check_form([b"/workspace/fuse/x"])) for _ in contents]

        def copy(target: Target, content: bytes) -> None:
            with tempfile.TemporaryFile() as source:
                source.write(content)
                source.flush()
                copy_in_place(self.publisher, target, source.fileno(), WriteConditions())

        for _ in range(3):
            with ThreadPoolExecutor() as pool:
                list(pool.map(copy, targets, contents))
            self.assertIn(self.read("fuse/x"), contents)
        for target in targets:
            target.close()

    def test_in_place_judged_again(self) -> None:
        """In place, the conditions are checked again when the body is complete."""
        self.write("fuse/x", b"old")
        head = (SECRET, b"Content-Length: 3", b"If-Match: " + self.tag("fuse/x"))
        target = b"/internal/fs/file?path=/workspace/fuse/x"
        caller = Caller(self.tree).send(get(target, *head, method=b"PUT"))
        self.write("fuse/x", b"other")
        self.assertEqual(caller.send(b"new").answer().status, 412)
        self.assertEqual(self.read("fuse/x"), b"other")

    def test_in_place_something_else(self) -> None:
        """In place, too, nothing is written through a symlink, or to what is no file."""
        for make in (os.mkfifo, os.mkdir, lambda path: os.symlink(self.at("out/y"), path)):
            make(self.at("fuse/x"))
            refused = self.refused(self.put("/workspace/fuse/x"))
            self.assertEqual(refused, (400, "not_a_regular_file"))
            (os.rmdir if make is os.mkdir else os.unlink)(self.at("fuse/x"))
        os.link(self.at("configs/.auth_token"), self.at("fuse/x"))
        self.assertEqual(self.refused(self.put("/workspace/fuse/x")), (404, "file_not_found"))
        self.assertEqual(self.read("configs/.auth_token"), b"token")

    def test_roots(self) -> None:
        """The roots list the prefixes."""
        roots = {
            r["path"]: r["writable"] for r in self.ask("GET", "/internal/fs/roots").json["roots"]
        }
        self.assertEqual(
            roots, {"/configs": [], "/workspace": ["/workspace/out", "/workspace/fuse"]}
        )


class TouchedTests(WriteRouteCase):
    """What the audit log says of a request."""

    def test_touched(self) -> None:
        """Paths, and the size of what was written."""
        out = {"ref": "/workspace/out/a%20b"}
        move = b'{"from":{"path":"/workspace/out/a b"},"to":{"path":"/workspace/out/c"}}'
        for method, target, body, expected in (
            ("PUT", "file?path=/workspace/out/a+b", b"new", {**out, "size": 3}),
            ("PUT", "file?path=/home/x", b"new", {"ref": "/home/x"}),
            ("POST", "move", move, {**out, "ref_to": "/workspace/out/c"}),
            ("DELETE", "file?path=/workspace/out/a+b", None, out),
            ("POST", "directories?path=/workspace/out/a+b", b"", out),
        ):
            framing = [b"Content-Length: %d" % len(body)] if body is not None else []
            recorder = Recorder()
            caller = Caller(self.tree, observers=(recorder,))
            whole = f"/internal/fs/{target}".encode()
            request = get(whole, SECRET, *framing, method=method.encode())
            caller.send(request, body or b"")
            (event,) = recorder.events
            assert isinstance(event, TransferEnded)
            self.assertEqual(event.touched, expected)


class DeleteTests(WriteRouteCase):
    """``DELETE /internal/fs/file``."""

    def delete(self, path: str, *lines: bytes, more: str = "") -> Received:
        return self.ask("DELETE", f"/internal/fs/file?path={path}{more}", *lines)

    def test_table(self) -> None:
        """What stands there decides."""
        self.write("out/file", b"x")
        self.write("out/full/file", b"x")
        self.write("out/secret/x", b"x")
        os.mkdir(self.at("out/empty"))
        os.mkfifo(self.at("out/fifo"))
        os.symlink(self.at("configs"), self.at("out/link"))
        os.link(self.at("configs/.auth_token"), self.at("out/token"))
        before = self.names()
        for path, more, expected in (
            ("out/none", "", (404, "file_not_found")),
            ("out/none/x", "", (404, "file_not_found")),
            ("out/file/x", "", (404, "file_not_found")),
            ("out/secret/x", "", (404, "file_not_found")),
            ("out/token", "", (404, "file_not_found")),
            ("out/fifo", "", (400, "not_a_regular_file")),
            ("out/empty", "", (400, "not_a_regular_file")),
            ("out/link/.auth_token", "", (400, "not_a_regular_file")),
            ("out/full", "&directory=1", (409, "directory_not_empty")),
            ("out/file", "&directory=2", (400, "invalid_directory")),
            ("out", "&directory=1", (403, "not_writable")),
            ("other", "", (403, "not_writable")),
        ):
            answer = self.delete("/workspace/" + path, more=more)
            self.assertEqual(self.refused(answer), expected, path)
        self.assertEqual(self.names(), before)
        for path, more in (("file", ""), ("link", ""), ("empty", "&directory=1")):
            answer = self.delete("/workspace/out/" + path, more=more)
            self.assertEqual((answer.status, answer.body), (204, b""))
            self.assertNotIn(path, self.names())
        self.assertEqual(self.read("configs/.auth_token"), b"token")

    def test_conditions(self) -> None:
        """``If-Match`` decides."""
        self.write("out/x", b"x")
        self.assertEqual(self.delete("/workspace/out/x", b'If-Match: "other"').status, 412)
        tag = self.tag("out/x")
        self.assertEqual(self.delete("/workspace/out/x", b"If-Match: " + tag).status, 204)


class DirectoryTests(WriteRouteCase):
    """``POST /internal/fs/directories``."""

    def make(self, path: str, more: str = "") -> Received:
        return self.ask("POST", f"/internal/fs/directories?path={path}{more}", body=b"")

    def test_table(self) -> None:
        """A directory is created once; whatever else has the name stays."""
        self.write("out/file", b"x")
        os.mkdir(self.at("other"))
        os.symlink(self.at("other"), self.at("out/link"))
        for path, more, expected in (
            ("out/new", "", (201, "")),
            ("out/new", "", (200, "")),
            ("out", "", (200, "")),
            ("out/a/b", "", (404, "parent_not_found")),
            ("out/a/b", "&parents=1", (201, "")),
            ("out/file/x", "&parents=1", (404, "parent_not_found")),
            ("out/file", "", (409, "exists")),
            ("out/link", "", (409, "exists")),
            ("out/link/x", "", (400, "not_a_directory")),
            ("out/link/x", "&parents=1", (400, "not_a_directory")),
            ("out/secret", "", (404, "file_not_found")),
            ("out/x", "&parents=yes", (400, "invalid_parents")),
            ("other/x", "", (403, "not_writable")),
        ):
            answer = self.make("/workspace/" + path, more)
            self.assertEqual(self.refused(answer), expected, path)
        self.assertEqual(self.make("/workspace/out/new").json, {"ref": "/workspace/out/new"})
        self.assertEqual(self.names("other"), [])
        self.assertEqual(os.stat(self.at("out/new")).st_mode & 0o777, 0o755 & ~self.umask())

    def test_root(self) -> None:
        """A root that is a prefix exists."""
        self.targets.prefixes = WritablePrefixes([b"/workspace"])
        self.assertEqual(self.make("/workspace").status, 200)


class OverlapTests(WriteRouteCase):
    """``/configs`` is a directory below ``/workspace``."""

    writable = WritablePrefixes([b"/workspace/configs", b"/configs"], [])

    def test_move(self) -> None:
        """A file stays where both names are one, through two roots."""
        self.write("configs/x", b"x")
        os.link(self.at("configs/x"), self.at("configs/other"))
        body = {
            "from": {"path": "/workspace/configs/x"},
            "to": {"path": "/configs/x"},
            "overwrite": True,
        }
        answer = self.ask("POST", "/internal/fs/move", body=json.dumps(body).encode())
        self.assertEqual((answer.status, self.read("configs/x")), (200, b"x"))


class MoveTests(WriteRouteCase):
    """``POST /internal/fs/move``."""

    def move(self, origin: Any, to: Any, *lines: bytes, **more: Any) -> Received:
        def named(path: Any) -> Any:
            return {"path": f"/workspace/{path}"} if isinstance(path, str) else path

        body = json.dumps({"from": named(origin), "to": named(to), **more})
        return self.ask("POST", "/internal/fs/move", *lines, body=body.encode())

    def test_moved(self) -> None:
        """Files, symlinks and directories are moved as they are."""
        self.write("out/d/x", b"x")
        os.symlink("nowhere", self.at("out/link"))
        os.mkdir(self.at("out/there"))
        for origin, to in (("d", "e"), ("link", "there/link"), ("e/x", "there/\u00e4")):
            answer = self.move("out/" + origin, "out/" + to)
            self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(answer.json, {"ref": "/workspace/out/there/%C3%A4"})
        self.assertEqual(self.names("out/there"), ["link", "\u00e4"])
        self.assertEqual(os.readlink(self.at("out/there/link")), "nowhere")

    def test_table(self) -> None:
        """Each refusal leaves everything where it was."""
        self.write("out/file", b"file")
        self.write("out/other", b"other")
        self.write("out/full/x", b"x")
        self.write("out/secret/x", b"x")
        os.mkdir(self.at("out/empty"))
        os.mkfifo(self.at("out/fifo"))
        os.symlink("file", self.at("out/link"))
        os.symlink(self.at("configs"), self.at("out/linked"))
        os.link(self.at("configs/.auth_token"), self.at("out/token"))
        before = self.names()
        missing, taken = (404, "file_not_found"), (409, "exists")
        for origin, to, more, expected in (
            ("out/none", "out/new", {}, missing),
            ("out/none/x", "out/new", {}, missing),
            ("out/file", "out/none/x", {}, (404, "parent_not_found")),
            ("out/file", "out/other", {}, taken),
            ("out/file", "out/link", {}, taken),
            ("out/file", "out/link", {"overwrite": True}, taken),
            ("out/file", "out/empty", {"overwrite": True}, taken),
            ("out/empty", "out/full", {"overwrite": True}, taken),
            ("out/full", "out/file", {"overwrite": True}, taken),
            ("out/link", "out/file", {"overwrite": True}, taken),
            ("out/fifo", "out/new", {}, (400, "not_a_regular_file")),
            ("out/linked/.auth_token", "out/new", {}, (400, "not_a_regular_file")),
            ("out/file", "out/linked/new", {}, (400, "not_a_regular_file")),
            ("out/full", "out/full/x/y", {}, (400, "below_itself")),
            ("out/secret/x", "out/new", {}, missing),
            ("out/file", "out/secret/y", {}, missing),
            ("out/token", "out/new", {}, missing),
            ("out/file", "out/token", {"overwrite": True}, missing),
            ("out/secret", "out/new", {}, missing),
            ("out", "fuse/new", {}, (403, "not_writable")),
            ("out/full", "fuse", {}, (403, "not_writable")),
            ("out/file", "other", {}, (403, "not_writable")),
            ("other", "out/new", {}, (403, "not_writable")),
            ("out/file", "out/new", {"overwrite": 1}, (400, "invalid_field")),
            ("out/file", 1, {}, (400, "invalid_field")),
            ({}, "out/new", {}, (400, "invalid_field")),
            ({"path": "/workspace/out/file/"}, "out/new", {}, (400, "invalid_path")),
        ):
            answer = self.move(origin, to, **more)
            self.assertEqual(self.refused(answer), expected, (origin, to))
        self.assertEqual(self.names(), before)
        self.assertEqual((self.read("out/file"), self.read("out/other")), (b"file", b"other"))

    def test_denied_below(self) -> None:
        """
        A directory that could hold a denied file stays where it is, and none gets to where one
        could be denied; a rule for every place does not count.
        """
        self.write("out/holder/a/key", b"secret")
        self.write("out/plain/file", b"x")
        missing = (404, "file_not_found")
        for origin, to in (
            ("out/holder", "out/new"),
            ("out/holder/a", "out/new"),
            ("out/plain", "out/holder/b"),
        ):
            self.assertEqual(self.refused(self.move(origin, to)), missing, (origin, to))
        self.assertEqual(self.read("out/holder/a/key"), b"secret")
        self.assertEqual(self.move("out/plain/file", "out/holder/a/file").status, 200)
        self.assertEqual(self.move("out/plain", "out/moved").status, 200)

    def test_overwrite(self) -> None:
        """A file replaces a file when the client says so."""
        self.write("out/x", b"new")
        self.write("out/y", b"old")
        self.assertEqual(self.move("out/x", "out/y", overwrite=True).status, 200)
        self.assertEqual((self.names(), self.read("out/y")), (["y"], b"new"))

    def test_hard_links(self) -> None:
        """The old name is gone, also where both are names of one file."""
        self.write("out/x", b"same")
        os.makedirs(self.at("out/d"))
        for other in ("out/y", "out/d/x"):
            os.link(self.at("out/x"), self.at(other))
            self.assertEqual(self.move("out/x", other, overwrite=True).status, 200)
            self.assertFalse(os.path.exists(self.at("out/x")))
            self.assertEqual(self.read(other), b"same")
            os.rename(self.at(other), self.at("out/x"))

    def test_onto_itself(self) -> None:
        """Onto itself is done already, if it exists."""
        self.write("out/x", b"x")
        self.assertEqual(self.move("out/x", "out/x").status, 200)
        self.assertEqual(self.move("out/y", "out/y").status, 404)
        self.assertEqual(self.read("out/x"), b"x")

    def test_conditions(self) -> None:
        """``If-Match`` is about what is moved."""
        self.write("out/x", b"x")
        self.assertEqual(self.move("out/x", "out/y", b'If-Match: "z"').status, 412)
        tag = self.tag("out/x")
        self.assertEqual(self.move("out/x", "out/y", b"If-Match: " + tag).status, 200)

    def test_other_file_system(self) -> None:
        """Nothing is copied to another file system."""
        self.write("out/x", b"x")
        error = OSError(errno.EXDEV, "")
        with mock.patch("chatfiles.workspace.publication.changes.rename_new", side_effect=error):
            answer = self.move("out/x", "fuse/x")
        self.assertEqual(self.refused(answer), (409, "cross_device"))

    def test_without_flags(self) -> None:
        """A file system without ``RENAME_NOREPLACE`` is looked at before the rename."""
        self.write("out/x", b"x")
        with mock.patch("chatfiles.workspace.publication.changes.rename_new", return_value=False):
            self.assertEqual(self.move("out/x", "out/y").status, 200)
        self.assertEqual(self.names(), ["y"])
