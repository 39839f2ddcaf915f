"""
Archives over HTTP, in memory.
"""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import Unavailable
from chatfiles.runtime.slots import Slots
from chatfiles.workspace.archive import source
from chatfiles.workspace.archive.archives import Archives
from chatfiles.workspace.archive.plan import Limits
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.inbound_secrets import InboundSecrets
from chatfiles.workspace.routes.archive import COUNT_TIMEOUT, PATH
from chatfiles.workspace.routes.context import WorkspaceContext
from chatfiles.workspace.routes.ingest import IngestContext
from chatfiles.workspace.routes.route_table import workspace_tree
from chatfiles.workspace.uploads.ingestion import IngestLimits
from chatfiles.workspace.uploads.upload_directory import UploadDirectory
from tests.contract.file_store import Symlink, build, scratch
from tests.support.held_threads import HeldThreads
from tests.support.memory_client import Caller, Received, get, post
from tests.workspace.archive.source_case import FORMATS, read

AUTH = b"Authorization: Bearer abc"
TARGET = PATH.encode()
WORKSPACE = "5f0f1f0c-9b4e-4a43-9d0e-3a8f5f4b7f10"
FILES: dict[bytes, bytes | Symlink] = {
    b"ws/d/a": b"hello",
    b"ws/d/e/long": bytes(1_000_000),
    b"ws/f.txt": b"file",
    b"ws/link": Symlink(b"f.txt"),
    b"ws/odd \xff\xc3\xa9": b"odd",
    b"configs/secret": b"abc",
    b"configs/c": b"c",
}
TYPES = {"zip": "application/zip", "tar": "application/x-tar", "tar.gz": "application/gzip"}


class AtOnce:
    """In place of `Threads`: each call returns at once."""

    def run(self, function: Any, *args: Any, **_: Any) -> Deferred[Any]:
        """As `Threads.run`."""
        called: Deferred[Any] = Deferred()
        called.addCallback(lambda _: function(*args))
        called.callback(None)
        return called


class ArchiveCase(SynchronousTestCase):
    """A workspace on disk, whose requests are made in memory."""

    def setUp(self) -> None:
        self.top = scratch(self)
        build(self.top, FILES)
        self.clock = Clock()
        secret = InboundSecrets(self.top + b"/configs/secret")
        roots = {b"/workspace": self.top + b"/ws", b"/configs": self.top + b"/configs"}
        store = FileStore(roots, DenyRules(), [secret.current.path])
        self.addCleanup(store.close)
        threads = self.make_threads()
        context = WorkspaceContext(
            store,
            secret,
            threads,
            self.clock,
            60.0,
            archives=Archives(Limits(10, 2_000_000), Slots(2), WORKSPACE),
        )
        uploads = UploadDirectory(lambda: store.open_root(b"/workspace"))
        ingest = IngestContext(uploads, IngestLimits(1, 1), secret, threads)
        self.tree = workspace_tree(context, ingest)

    def make_threads(self) -> Any:
        return AtOnce()

    def send(self, request: bytes) -> Caller:
        """:return: the client, which has sent a request."""
        return Caller(self.tree).send(request)

    def get(self, query: bytes, *lines: bytes, method: bytes = b"GET") -> Received:
        """:return: the response."""
        request = get(TARGET + b"?" + query, AUTH, *lines, method=method)
        return self.send(request).answer(head=method == b"HEAD")

    def post(self, body: object) -> Received:
        """:return: the response."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send(post(text, AUTH, path=TARGET)).answer()


class ResponseTests(ArchiveCase):
    """Responses."""

    maxDiff = None

    def test_headers(self) -> None:
        """The headers are exactly those of the reference, in each format."""
        for archive_format in FORMATS:
            answer = self.get(b"path=/workspace/d&format=%s" % archive_format.encode())
            self.assertEqual((answer.status, answer.complete), (200, True))
            for name in ("date", "server", "x-request-id"):
                answer.fields.pop(name)
            name = f"d.{archive_format}"
            self.assertEqual(
                answer.fields,
                {
                    "transfer-encoding": "chunked",
                    "content-type": TYPES[archive_format],
                    "content-disposition": f'attachment; filename="{name}"; '
                    f"filename*=UTF-8''{name}",
                    "chatfiles-archive-entries": "4",
                    "chatfiles-archive-bytes": "1000005",
                    "accept-ranges": "none",
                    "cache-control": "no-store",
                    "x-content-type-options": "nosniff",
                    "content-security-policy": "default-src 'none'; sandbox",
                },
            )
            found = read(answer.body, archive_format)
            expected = {b"d": None, b"d/a": b"hello", b"d/e": None, b"d/e/long": bytes(1_000_000)}
            self.assertTrue(found.members == expected)
            self.assertEqual(found.manifest["workspace"], WORKSPACE)

    def test_default(self) -> None:
        """The default is a zip; ranges, conditions and other parameters have no effect."""
        lines = b"Range: bytes=0-1", b"If-None-Match: *", b"If-Match: *, x", b"Accept: text/html"
        for query in (b"path=/workspace/d", b"path=/workspace/d&name=x&disposition=x"):
            answer = self.get(query, *lines)
            self.assertEqual((answer.status, answer.fields["content-type"]), (200, TYPES["zip"]))
            self.assertIn('"d.zip"', answer.fields["content-disposition"])

    def test_head(self) -> None:
        """``HEAD`` counts, and has the same headers."""
        for query in (
            b"path=/workspace/d",
            b"path=/workspace/missing",
            b"path=/workspace/d&format=x",
        ):
            one, other = (self.get(query, method=method) for method in (b"GET", b"HEAD"))
            for fields in (one.fields, other.fields):
                fields.pop("x-request-id")
            one.fields.pop("transfer-encoding", None)
            self.assertEqual(
                (one.status, one.fields, b""), (other.status, other.fields, other.body)
            )

    def test_names(self) -> None:
        """The offered name is the last segment, the directory at the top, or the ``name``."""
        one, other = {"path": "/workspace/d/a"}, {"path": "/workspace/f.txt"}
        for body, name in (
            ({"paths": [one]}, '"a.zip"'),
            ({"paths": [one, one], "format": None, "name": None}, '"a.zip"'),
            ({"paths": [one, other], "format": "tar.gz"}, '"workspace.tar.gz"'),
            ({"paths": [one, {"ref": "/configs/c"}], "format": "tar"}, '"files.tar"'),
            ({"paths": [one], "name": 'a b/../"é".1_-'}, '"a_b_..____.1_-.zip"'),
            ({"paths": [{"ref": "/workspace/odd%20%ff%C3%a9"}]}, '"odd __.zip"'),
        ):
            answer = self.post(body)
            self.assertEqual(answer.status, 200, body)
            self.assertIn(f"filename={name};", answer.fields["content-disposition"])

    def test_several(self) -> None:
        """Several paths are counted together."""
        paths = [{"path": "/workspace/f.txt"}, {"ref": "/configs/c"}, {"path": "/workspace/d/e"}]
        for archive_format in FORMATS:
            answer = self.post({"paths": paths, "format": archive_format})
            self.assertEqual(answer.fields["chatfiles-archive-entries"], "5")
            self.assertEqual(answer.fields["chatfiles-archive-bytes"], "1000005")
            names = list(read(answer.body, archive_format).members)
            places = [b"configs/c", b"workspace/d/e", b"workspace/d/e/long", b"workspace/f.txt"]
            self.assertEqual(names, [b"files", *(b"files/" + place for place in places)])


class ErrorTests(ArchiveCase):
    """Responses before the first byte."""

    def test_paths(self) -> None:
        """A path that breaks a rule of form, or cannot be read, is refused like a download."""
        for query, status, text in (
            (b"", 400, "path query required"),
            (b"path=/workspace&path=/workspace", 400, "path query must be given once"),
            (b"path=/workspace/", 400, "invalid path"),
            (b"path=/etc", 400, "path must be under /configs, /workspace, /home, or /plugins"),
            (b"path=/workspace/../x&format=x", 400, "invalid path"),
            (b"path=/workspace&format=", 400, "invalid format"),
            (b"path=/workspace&format=ZIP", 400, "invalid format"),
            (b"path=/workspace&format=zip&format=zip", 400, "format must be given once"),
            (b"path=/workspace/missing", 404, "file not found"),
            (b"path=/configs/secret", 404, "file not found"),
            (b"path=/home", 404, "file not found"),
            (b"path=/workspace/link", 400, "path is not a regular file"),
            (b"path=/workspace/link/x", 400, "path is not a regular file"),
        ):
            answer = self.get(query)
            self.assertEqual((answer.status, answer.json["error"]), (status, text), query)
            self.assertNotIn("/", str(answer.json.get("detail", "")))

    def test_bodies(self) -> None:
        """A body that breaks a rule is refused; of several paths, the first bad one is named."""
        good = {"path": "/workspace/d"}
        for body, status, code, detail in (
            (b"x", 400, "invalid_json", None),
            ({}, 400, "invalid_field", None),
            ({"paths": []}, 400, "invalid_field", None),
            ({"paths": [good] * 1001}, 400, "invalid_field", None),
            ({"paths": [{"path": "/workspace", "ref": "/workspace"}]}, 400, "invalid_field", None),
            ({"paths": [good, {"path": "/etc"}]}, 400, "path_outside_roots", "/etc"),
            ({"paths": [good], "format": "rar"}, 400, "invalid_format", None),
            ({"paths": [good, {"path": "/home/x"}]}, 404, "file_not_found", "/home/x"),
            (
                {"paths": [{"ref": "/workspace/%ff"}, {"path": "/workspace/missing"}]},
                404,
                "file_not_found",
                "/workspace/%FF",
            ),
            (
                {"paths": [good, {"path": "/workspace/link"}]},
                400,
                "not_a_regular_file",
                "/workspace/link",
            ),
            (b"[" * 70_000, 413, "too_large", None),
        ):
            answer = self.post(body)
            found = answer.status, answer.json["code"], answer.json.get("detail")
            self.assertEqual(found, (status, code, detail), body)
        self.assertEqual(self.post({"paths": [good] * 1000}).status, 200)
        answer = self.post({"paths": [good], "name": "a\ud800b"})  # JSON can name a surrogate
        self.assertEqual(answer.status, 200)
        self.assertIn('"a_b.zip"', answer.fields["content-disposition"])
        answer = self.post({"paths": [{}]})
        self.assertEqual(answer.json["error"], "give path or ref")

    def test_too_large(self) -> None:
        """The detail is an object with what was counted, and the limit that was exceeded."""
        build(self.top, {b"ws/big/1": bytes(2_000_001)})
        build(self.top, {b"ws/many/%d" % number: b"" for number in range(10)})
        for query, detail in (
            (b"path=/workspace/many", {"entries": 11, "bytes": 0, "limit": 10}),
            (b"path=/workspace/big", {"entries": 2, "bytes": 2_000_001, "limit": 2_000_000}),
        ):
            for method in (b"GET", b"HEAD"):
                answer = self.get(query, method=method)
                self.assertEqual(answer.status, 413)
                if method == b"GET":
                    found = answer.json["error"], answer.json["code"], answer.json["detail"]
                    self.assertEqual(found, ("archive too large", "archive_too_large", detail))

    def test_old_http(self) -> None:
        """HTTP/1.0 cannot tell an interruption from the end."""
        request = get(TARGET + b"?path=/workspace/d", AUTH, version=b"1.0")
        answer = self.send(request).answer()
        self.assertEqual((answer.status, answer.json["code"]), (505, "version_not_supported"))
        self.assertEqual(answer.json["error"], "this can be had with HTTP/1.1 only")
        request = get(TARGET + b"?path=/workspace/d", AUTH, method=b"HEAD", version=b"1.0")
        answer = self.send(request).answer(head=True)
        self.assertEqual(answer.status, 200)
        self.assertNotIn("transfer-encoding", answer.fields)

    def test_coded_body(self) -> None:
        """A body with a content coding is refused before it is sent."""
        lines = (AUTH, b"Content-Encoding: gzip", b"Content-Length: 9", b"Expect: 100-continue")
        caller = self.send(get(TARGET, *lines, method=b"POST"))
        self.assertEqual([each.status for each in caller.answers()], [415])

    def test_secret(self) -> None:
        """The secret is checked before anything else."""
        for request in (
            get(TARGET + b"?path=/etc", b"Authorization: Bearer other"),
            get(TARGET, method=b"HEAD"),
            post(b"x", path=TARGET),
        ):
            head = request.startswith(b"HEAD")
            self.assertEqual(self.send(request).answer(head=head).status, 401)

    def test_methods(self) -> None:
        """Other methods are refused."""
        answer = self.get(b"path=/workspace/d", method=b"PUT")
        self.assertEqual((answer.status, answer.fields["allow"]), (405, "GET, HEAD, POST"))


class HeldTests(ArchiveCase):
    """What happens while threads work."""

    def make_threads(self) -> Any:
        self.threads = HeldThreads(self.clock)
        return self.threads

    def begin(self, query: bytes = b"path=/workspace/d&format=tar") -> Caller:
        """:return: a client whose secret was checked."""
        caller = self.send(get(TARGET + b"?" + query, AUTH))
        self.threads.finish(-1)
        return caller

    def test_steps(self) -> None:
        """A part is made when the client has taken the one before; then no thread is used."""
        caller = self.begin()
        self.threads.finish()  # counting
        self.assertEqual(caller.answers()[0].status, 200)
        caller.channel.pauseProducing()  # the send buffer is full
        size = len(caller.wire.value())
        self.threads.finish()
        self.assertEqual(self.threads.running, [])
        part = len(caller.wire.value()) - size
        self.assertLess(part, 600_000)
        self.clock.advance(0)
        self.assertEqual(self.threads.running, [])
        caller.channel.resumeProducing()
        self.assertEqual(len(self.threads.running), 1)
        self.threads.finish_all()
        answer = caller.answer()
        self.assertTrue(answer.complete)
        self.assertEqual(len(read(answer.body, FORMATS[1]).members), 4)

    def test_silence(self) -> None:
        """While files are left out, bytes arrive all the same: the workspace does not hang."""
        self.patch(source, "STEP_SECONDS", -1)  # each step ends after one file
        build(self.top, {b"ws/d/%d" % number: b"" for number in range(6)})
        caller = self.begin()
        self.threads.finish()  # counting
        for number in range(6):
            os.unlink(self.top + b"/ws/d/%d" % number)
        self.threads.finish()  # the root of what follows
        self.threads.finish()  # the directory
        for _ in range(6):
            size = len(caller.wire.value())
            self.clock.advance(1)
            self.threads.finish()
            self.assertGreater(len(caller.wire.value()), size)
        self.threads.finish_all()
        found = read(caller.answer().body, FORMATS[1])
        self.assertEqual(len(found.skipped), 6)

    def test_client_leaves(self) -> None:
        """When the client disconnects, what is open is closed, when its thread has returned."""
        for finished in range(4):
            caller = self.begin()
            for _ in range(finished):
                self.threads.finish()
            caller.leave()
            self.threads.finish_all()
            self.assertEqual(self.threads.queue.running, 0)
            self.assertEqual(caller.site.running, 0)
        self.begin()
        self.begin()  # the slots are free again
        self.assertEqual(len(self.threads.running), 2)

    def test_slow_count(self) -> None:
        """A count of more than ten seconds is refused, and ends."""
        caller = self.begin()
        call = self.threads.running[0]
        self.clock.advance(COUNT_TIMEOUT - 0.01)
        self.assertEqual(caller.wire.value(), b"")
        self.clock.advance(0.01)
        answer = caller.answer()
        self.assertEqual((answer.status, answer.json["code"]), (503, "archive_not_prepared"))
        self.assertEqual(answer.json["error"], "archive could not be prepared in time")
        self.assertEqual(answer.fields["retry-after"], "1")
        self.assertRaises(Unavailable, call.work)  # it notices that it was stopped

    def test_too_many(self) -> None:
        """The slots are of all that is counted or sent; each is free at the end of its archive."""
        first, second = self.begin(), self.begin()
        self.threads.finish()
        for method in (b"GET", b"HEAD"):
            third = self.send(get(TARGET + b"?path=/workspace/d", AUTH, method=method))
            self.threads.finish(-1)
            self.assertEqual(third.answer(head=method == b"HEAD").status, 503)
        third = self.begin()
        answer = third.answer()
        self.assertEqual((answer.status, answer.json["code"]), (503, "too_many_archives"))
        self.assertEqual(answer.json["error"], "too many archives at once")
        self.assertEqual(answer.fields["retry-after"], "5")
        first.leave()
        self.threads.finish_all()
        self.assertTrue(second.answer().complete)
        third, fourth = self.begin(), self.begin()
        self.threads.finish_all()
        for caller in (third, fourth):
            self.assertEqual(caller.answer().status, 200)
