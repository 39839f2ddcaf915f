"""
Digests over HTTP: the operation, and the header of downloads.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.inbound_secrets import InboundSecrets
from chatfiles.workspace.routes.context import WorkspaceContext
from chatfiles.workspace.routes.fast_read import FastRead
from chatfiles.workspace.routes.ingest import IngestContext
from chatfiles.workspace.routes.opening import SMALL_FILE
from chatfiles.workspace.routes.route_table import workspace_tree
from chatfiles.workspace.uploads.ingestion import IngestLimits
from chatfiles.workspace.uploads.upload_directory import UploadDirectory
from tests.contract.file_store import Symlink, build, scratch
from tests.support.held_threads import HeldThreads
from tests.support.memory_client import Caller, Received, get
from tests.workspace.routes.test_ingest import _AtOnce

AUTH = b"Authorization: Bearer abc"
WANT = b"Want-Repr-Digest: sha-256=1"
DIGEST = b"/internal/fs/digest?path=/workspace/"
READ = b"/internal/file/read?path=/workspace/"
NOW_NS = 4_000_000_000 * 10**9
#: Bytes of the largest file whose digest a download waits for.
INLINE = 200_000
MEDIUM, LARGE = os.urandom(INLINE), os.urandom(INLINE + 1)
FILES: dict[bytes, bytes | Symlink] = {
    b"ws/small": b"hello",
    b"ws/empty": b"",
    b"ws/most": bytes(SMALL_FILE),
    b"ws/medium": MEDIUM,
    b"ws/large": LARGE,
    b"ws/a b\xff": b"odd",
    b"ws/directory/x": b"x",
    b"ws/link": Symlink(b"small"),
    b"ws/denied.key": b"x",
    b"configs/secret": b"abc",
}
HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def field(content: bytes) -> str:
    """:return: the value of ``Repr-Digest``."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


class DigestCase(SynchronousTestCase):
    """A workspace on disk, whose requests are made in memory."""

    def setUp(self) -> None:
        self.top = scratch(self)
        build(self.top, FILES)
        os.chmod(self.top + b"/configs/secret", 0o600)
        self.clock = Clock()
        self.now_ns = NOW_NS
        secret = InboundSecrets(self.top + b"/configs/secret")
        deny = DenyRules([b"/workspace/*.key"])
        self.store = FileStore({b"/workspace": self.top + b"/ws"}, deny, [secret.current.path])
        self.addCleanup(self.store.close)
        threads = self.make_threads()
        self.context = WorkspaceContext(
            self.store,
            secret,
            threads,
            self.clock,
            60.0,
            now_ns=lambda: self.now_ns,
            digest_inline_bytes=INLINE,
        )
        uploads = UploadDirectory(lambda: self.store.open_root(b"/workspace"))
        ingest = IngestContext(uploads, IngestLimits(1, 1), secret, threads)
        self.tree = workspace_tree(self.context, ingest)

    def make_threads(self) -> Any:
        return _AtOnce()

    def send(self, target: bytes, *lines: bytes, method: bytes = b"GET") -> Caller:
        """:return: the client, which has sent a request."""
        caller = Caller(self.tree, fast_routes=FastRead(self.context))
        return caller.send(get(target, AUTH, *lines, method=method))

    def ask(self, target: bytes, *lines: bytes, method: bytes = b"GET") -> Received:
        """:return: the response."""
        return self.send(target, *lines, method=method).answer(head=method == b"HEAD")

    def etag(self, name: bytes) -> str:
        return self.ask(READ + name, method=b"HEAD").fields["etag"]

    def write(self, name: bytes, content: bytes) -> None:
        with open(self.top + b"/ws/" + name, "wb") as file:
            file.write(content)


class OperationTests(DigestCase):
    """``GET /internal/fs/digest``."""

    def test_digest(self) -> None:
        """The response has the digest twice, and names the version."""
        answer = self.ask(DIGEST + b"small")
        etag = self.etag(b"small").replace('"', '\\"')
        text = f'{{"ref":"/workspace/small","size":5,"etag":"{etag}","sha256":"{HELLO}"}}\n'
        self.assertEqual((answer.status, answer.body), (200, text.encode()))
        self.assertEqual(answer.fields["repr-digest"], field(b"hello"))
        self.assertEqual(answer.fields["content-type"], "application/json")
        self.assertEqual(answer.fields["cache-control"], "no-store")
        self.assertNotIn("etag", answer.fields)

    def test_files(self) -> None:
        """The size of the file does not matter, nor its name."""
        for path, content in FILES.items():
            root, _, name = path.partition(b"/")
            if root == b"ws" and isinstance(content, bytes) and name != b"denied.key":
                target = DIGEST + name.replace(b" ", b"%20").replace(b"\xff", b"%FF")
                for _ in range(2):  # the second one is known
                    answer = self.ask(target)
                    self.assertEqual(answer.status, 200, name)
                    self.assertEqual(answer.json["sha256"], hashlib.sha256(content).hexdigest())
                    self.assertEqual(answer.json["size"], len(content))
        self.assertEqual(self.ask(DIGEST + b"a+b%ff").json["ref"], "/workspace/a%20b%FF")

    def test_head(self) -> None:
        """``HEAD`` has the same headers."""
        one, other = (self.ask(DIGEST + b"small", method=method) for method in (b"GET", b"HEAD"))
        one.fields.pop("x-request-id"), other.fields.pop("x-request-id")
        self.assertEqual((one.status, one.fields), (other.status, other.fields))
        self.assertEqual(other.body, b"")

    def test_errors(self) -> None:
        """What a download refuses is refused in the same way."""
        for rest in (
            b"?path=/workspace/missing",
            b"?path=/workspace/denied.key",
            b"?path=/workspace/link",
            b"?path=/workspace/directory",
            b"?path=/workspace",
            b"?path=/workspace/",
            b"?path=/workspace/../x",
            b"?path=/etc/passwd",
            b"?path=/home/x",
            b"?path=",
            b"",
            b"?path=/workspace/small&path=/workspace/small",
        ):
            one, other = (self.ask(route + rest) for route in (b"/internal/fs/digest", READ[:19]))
            self.assertGreaterEqual(one.status, 400, rest)
            for member in ("error", "code"):
                self.assertEqual(one.json[member], other.json[member], rest)
            self.assertEqual(one.status, other.status)

    def test_secret(self) -> None:
        """The secret is checked before anything else."""
        for path in (b"small", b"missing"):
            caller = Caller(self.tree)
            caller.send(get(DIGEST + path, b"Authorization: Bearer other"))
            self.assertEqual(caller.answer().status, 401)
            self.assertNotIn("repr-digest", caller.answer().fields)

    def test_methods(self) -> None:
        """Other methods are refused."""
        answer = self.ask(DIGEST + b"small", method=b"POST")
        self.assertEqual((answer.status, answer.fields["allow"]), (405, "GET, HEAD"))

    def test_other_parameters(self) -> None:
        """Parameters that the operation does not have are ignored."""
        self.assertEqual(self.ask(DIGEST + b"small&disposition=x&disposition=y").status, 200)

    def test_condition(self) -> None:
        """``If-Match`` is honored; other conditions and ranges are not."""
        etag = self.etag(b"small").encode()
        for value, status in (
            (etag, 200),
            (b"*", 200),
            (b'"x", ' + etag, 200),
            (b'"x"', 412),
            (b"W/" + etag, 412),
            (b"", 412),
        ):
            answer = self.ask(DIGEST + b"small", b"If-Match: " + value)
            self.assertEqual(answer.status, status, value)
            self.assertEqual("repr-digest" in answer.fields, status == 200)
        self.assertEqual(answer.json["code"], "precondition_failed")
        others = b"If-None-Match: *", b"Range: bytes=0-0", b"If-Unmodified-Since: " + b"x"
        self.assertEqual(self.ask(DIGEST + b"small", *others).json["sha256"], HELLO)

    def test_descriptors(self) -> None:
        """Every file is closed."""
        before = len(os.listdir("/proc/self/fd"))
        for name in (b"small", b"large", b"large", b"missing"):
            self.ask(DIGEST + name)
            self.ask(DIGEST + name, b'If-Match: "x"')
            self.ask(READ + name, WANT)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class SlowTests(DigestCase):
    """Digests that need more time, because threads are slow."""

    threads: HeldThreads

    def setUp(self) -> None:
        super().setUp()
        self.ask(READ + b"small")  # knows the secret from now on

    def make_threads(self) -> Any:
        self.threads = HeldThreads(self.clock)
        return self.threads

    def send(self, target: bytes, *lines: bytes, method: bytes = b"GET") -> Caller:
        """Let all be opened, until something waits for a digest."""
        caller = super().send(target, *lines, method=method)
        while self.threads.running and not self.is_hashing():
            self.threads.finish()
        caller.settle()
        return caller

    def is_hashing(self) -> bool:
        return "FileHash" in repr(self.threads.running[0].work)

    def test_computing(self) -> None:
        """After five seconds the client learns the progress, and when to ask again."""
        caller = self.send(DIGEST + b"large")
        self.clock.advance(4.9)
        self.assertEqual(caller.wire.value(), b"")
        self.clock.advance(0.1)
        answer = caller.answer()
        text = f'{{"status":"computing","done":0,"size":{len(LARGE)}}}\n'
        self.assertEqual((answer.status, answer.body), (202, text.encode()))
        self.assertEqual(answer.fields["retry-after"], "2")
        self.assertNotIn("repr-digest", answer.fields)
        again = self.send(DIGEST + b"large")
        self.threads.finish_all()
        self.assertEqual(again.answer().json["sha256"], hashlib.sha256(LARGE).hexdigest())

    def test_new_version(self) -> None:
        """If the file changes, the digest is that of the new version, which ``If-Match`` judges."""
        etag = self.etag(b"small").encode()
        callers = [self.send(DIGEST + b"small"), self.send(DIGEST + b"small", b"If-Match: " + etag)]
        self.write(b"small", b"other")
        self.threads.finish_all()
        self.assertEqual(callers[0].answer().json["sha256"], hashlib.sha256(b"other").hexdigest())
        self.assertEqual(callers[0].answer().json["etag"], self.etag(b"small"))
        self.assertEqual(callers[1].answer().status, 412)

    def test_removed(self) -> None:
        """If the file is removed meanwhile, it is missing."""
        caller = self.send(DIGEST + b"small")
        os.unlink(self.top + b"/ws/small")
        self.threads.finish_all()
        self.assertEqual(caller.answer().json["code"], "file_not_found")

    def test_changing(self) -> None:
        """A file that always changes is refused, after three versions."""
        caller = self.send(DIGEST + b"small")
        for number in range(3):
            self.assertEqual(caller.wire.value(), b"")
            self.write(b"small", b"%d" % number)
            self.threads.finish()
            while self.threads.running and not self.is_hashing():
                self.threads.finish()
        answer = caller.answer()
        self.assertEqual((answer.status, answer.json["code"]), (409, "file_changing"))
        self.assertEqual(answer.json["error"], "file is changing")

    def test_five_seconds_in_total(self) -> None:
        """A new version does not make a client wait for longer."""
        caller = self.send(DIGEST + b"small")
        self.clock.advance(4)
        self.write(b"small", b"other")
        self.threads.finish()
        while not self.is_hashing():
            self.threads.finish()
        self.clock.advance(1)
        self.assertEqual(caller.answer().status, 202)

    def test_client_leaves(self) -> None:
        """The computation goes on without the client."""
        caller = self.send(DIGEST + b"large")
        caller.leave()
        self.threads.finish_all()
        self.assertEqual(self.ask(DIGEST + b"large").status, 200)
        self.assertEqual(caller.site.running, 0)


class DownloadTests(DigestCase):
    """``Repr-Digest`` on downloads."""

    def test_wanted(self) -> None:
        """The digest of a small file comes with every response that describes it."""
        etag = self.etag(b"medium").encode()
        for route in (b"/internal/file/read", b"/internal/fs/file"):
            for method in (b"GET", b"HEAD"):
                for lines, status in (
                    ((), 200),
                    ((b"Range: bytes=1-2",), 206),
                    ((b"If-None-Match: " + etag,), 304),
                    ((b'If-Match: "x"',), 412),
                    ((b"Range: bytes=999999-",), 416),
                ):
                    target = route + b"?path=/workspace/medium"
                    answer = self.ask(target, WANT, *lines, method=method)
                    self.assertEqual(answer.status, status)
                    expected = field(MEDIUM) if status < 400 else None
                    self.assertEqual(answer.fields.get("repr-digest"), expected, status)

    def test_sizes(self) -> None:
        """So it does for all files that are small enough, also empty ones."""
        for name, expected in (
            (b"small", b"hello"),
            (b"empty", b""),
            (b"most", bytes(SMALL_FILE)),
            (b"medium", MEDIUM),
            (b"large", None),
        ):
            answer = self.ask(READ + name, WANT)
            value = None if expected is None else field(expected)
            self.assertEqual(answer.fields.get("repr-digest"), value, name)

    def test_known(self) -> None:
        """That of a larger file comes if it is known: the last download has computed it."""
        for method, expected in (
            (b"HEAD", None),
            (b"GET", None),
            (b"HEAD", field(LARGE)),
            (b"GET", field(LARGE)),
        ):
            answer = self.ask(READ + b"large", WANT, method=method)
            self.assertEqual(answer.fields.get("repr-digest"), expected)

    def test_not_wanted(self) -> None:
        """Without the header, or with another one, there is none, and nothing is computed."""
        self.ask(DIGEST + b"large")
        for name in ("look_up", "at_once", "beside"):
            self.patch(self.context.digests, name, None)
        for lines in ((), (b"Want-Repr-Digest: sha-256=0",), (b"Want-Repr-Digest: SHA-256=1",)):
            for path in (b"small", b"medium", b"large"):
                answer = self.ask(READ + path, *lines)
                self.assertEqual(answer.status, 200)
                self.assertNotIn("repr-digest", answer.fields)

    def test_same_without(self) -> None:
        """The response is the same but for the digest."""
        for name in (b"small", b"medium", b"large"):
            for method in (b"GET", b"HEAD"):
                one, other = (
                    self.ask(READ + name, *lines, method=method) for lines in ((WANT,), ())
                )
                for answer in (one, other):
                    answer.fields.pop("x-request-id")
                    answer.fields.pop("repr-digest", None)
                self.assertEqual(one, other)

    def test_changed(self) -> None:
        """If the file changes while its digest is computed, none is sent, and nothing is kept."""
        etag = self.etag(b"medium")
        preadv = os.preadv

        def read(fd: int, buffers: Any, *more: int) -> int:
            if len(buffers[0]) == INLINE:
                self.patch(os, "preadv", preadv)
                self.write(b"medium", bytes(INLINE))
            return preadv(fd, buffers, *more)

        self.patch(os, "preadv", read)
        answer = self.ask(READ + b"medium", WANT, method=b"HEAD")
        self.assertEqual((answer.status, answer.fields["etag"]), (200, etag))
        self.assertNotIn("repr-digest", answer.fields)
        answer = self.ask(READ + b"medium", WANT)
        self.assertEqual(answer.fields["repr-digest"], field(bytes(INLINE)))

    def test_one_version(self) -> None:
        """The version that is announced is the one whose digest is sent, though it is replaced."""
        fstat = os.fstat
        etag = self.etag(b"medium")

        def replaced(fd: int) -> os.stat_result:
            found = fstat(fd)
            if found.st_size == INLINE:
                self.patch(os, "fstat", fstat)
                with open(self.top + b"/ws/medium", "r+b") as same:
                    same.write(b"another version")
            return found

        self.patch(os, "fstat", replaced)
        answer = self.ask(READ + b"medium", WANT, method=b"HEAD")
        self.assertEqual(answer.fields["etag"], etag)
        self.assertNotIn("repr-digest", answer.fields)

    def test_young(self) -> None:
        """
        A file that has just been written is opened when no further write can have the same times.
        If it changes again, there is no digest.
        """
        for name, content in ((b"small", b"other"), (b"medium", bytes(INLINE))):
            for again, expected in ((False, field(content)), (True, None)):
                self.write(name, content[::-1])
                self.now_ns = os.stat(self.top + b"/ws/" + name).st_ctime_ns
                caller = self.send(READ + name, WANT, method=b"HEAD")
                self.assertEqual(caller.wire.value(), b"")
                self.write(name, content)
                written = os.stat(self.top + b"/ws/" + name).st_ctime_ns
                self.now_ns = written + (0 if again else 10**9)
                self.clock.advance(0.011)
                answer = caller.answer(head=True)
                self.assertEqual(answer.fields.get("repr-digest"), expected, (name, again))

    def test_young_and_gone(self) -> None:
        """A client that leaves meanwhile leaves nothing behind; a file that is gone is missing."""
        before = len(os.listdir("/proc/self/fd"))
        self.now_ns = os.stat(self.top + b"/ws/small").st_ctime_ns
        callers = [self.send(READ + b"small", WANT) for _ in range(2)]
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        callers[0].leave()
        os.unlink(self.top + b"/ws/small")
        self.clock.advance(1)
        self.assertEqual(callers[1].answer().status, 404)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_errors(self) -> None:
        """Errors have none."""
        for name in (b"missing", b"directory", b"link", b"denied.key"):
            answer = self.ask(READ + name, WANT)
            self.assertGreaterEqual(answer.status, 400)
            self.assertNotIn("repr-digest", answer.fields)
