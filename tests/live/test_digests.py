"""
Digests (reference/digests): of downloads on both ways, and of the workspace's operation.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator

from twisted.trial.unittest import SkipTest

from tests.live.pair import Pair
from tests.live.processes import SOAK, LiveCase, quoted, until
from tests.live.rawhttp import Connection, Incomplete, Response, fetch

MIB = 1 << 20
WANT = {"Want-Repr-Digest": "sha-256=1"}
ROUNDS = 1000 if SOAK else 60
#: Files that are rewritten: one is read as a whole when it is opened, the other is not.
SIZES = {"small": 40_000, "medium": 400_000}


def repr_digest(content: bytes) -> str:
    """:return: the value of ``Repr-Digest``."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def hexadecimal(value: str) -> str:
    """:return: the digest in a ``Repr-Digest``."""
    return base64.b64decode(value.removeprefix("sha-256=:").removesuffix(":")).hex()


class DigestsCase(LiveCase):
    """A platform and its workspace."""

    def digest(
        self,
        path: str,
        fields: dict[str, str] = {},  # noqa: B006
        *,
        through: bool = False,
        method: str = "GET",
    ) -> Response:
        """:return: what the workspace responds; or the platform, with *through*."""
        role, credential, route = self.pair.workspace, self.pair.inbound, "/internal"
        if through:
            role, credential = self.pair.platform, self.pair.bearer
            route = f"/workspaces/{self.pair.id}"
        target = f"{route}/fs/digest?path={quoted(path)}"
        return fetch(role.url, target, {**credential, **fields}, method=method)

    def known(self, path: str) -> str:
        """:return: the digest, as soon as it is complete."""
        found: list[Response] = []

        def is_complete() -> bool:
            found.append(self.digest(path))
            return found[-1].status != 202

        until(is_complete, "the digest is complete")
        self.assertEqual(found[-1].status, 200)
        return str(found[-1].json["sha256"])


class DigestTests(DigestsCase):
    """Files that do not change."""

    def test_downloads(self) -> None:
        """The digest of a file that is small enough comes with its bytes, on both ways."""
        for size in (0, 1, 65536, 65537, 3 * MIB):
            content = os.urandom(size)
            self.pair.write("workspace/file", content)
            expected = repr_digest(content)
            for answer in self.pair.file("/workspace/file", WANT).values():
                self.assertEqual((answer.status, answer.body), (200, content))
                self.assertEqual(answer["repr-digest"], expected)
                etag = answer["etag"]
            for method, fields, status in (
                ("HEAD", {}, 200),
                ("GET", {"If-None-Match": etag}, 304),
                ("HEAD", {"If-None-Match": etag}, 304),
                ("GET", {"Range": "bytes=0-0"}, 206 if size else 416),
                ("GET", {"If-Match": '"x"'}, 412),
            ):
                for answer in self.pair.get(
                    "path=/workspace/file", {**WANT, **fields}, method
                ).values():
                    self.assertEqual(answer.status, status)
                    self.assertEqual(answer.get("repr-digest"), expected if status < 400 else None)
            for answer in self.pair.file("/workspace/file").values():
                self.assertIsNone(answer.get("repr-digest"))

    def test_new_file(self) -> None:
        """Also that of a file that was written at this moment."""
        for number in range(10):
            for content in (b"%d" % number, b"%d" % number * MIB):
                with open(self.pair.at("workspace", "new"), "wb") as file:
                    file.write(content)
                for answer in self.pair.file("/workspace/new", WANT).values():
                    self.assertEqual(answer["repr-digest"], repr_digest(content))
                    self.assertEqual(answer.body, content)

    def test_large(self) -> None:
        """That of a larger file comes after a download, or the operation, has computed it."""
        content = os.urandom(17 * MIB)
        self.pair.write("workspace/large.bin", content)
        self.assertIsNone(self.pair.file("/workspace/large.bin", WANT)["direct"].get("repr-digest"))
        self.assertEqual(self.known("/workspace/large.bin"), hashlib.sha256(content).hexdigest())
        for answer in self.pair.file("/workspace/large.bin", WANT).values():
            self.assertEqual(answer["repr-digest"], repr_digest(content))

    def test_operation(self) -> None:
        """The operation names the version whose digest it sends."""
        self.pair.write("workspace/a b", b"hello")
        for hop, head in self.pair.file("/workspace/a b").items():
            through, etag = hop == "through", head["etag"]
            answer = self.digest("/workspace/a b", {"If-Match": etag}, through=through)
            expected = {
                "ref": "/workspace/a%20b",
                "size": 5,
                "etag": etag,
                "sha256": hashlib.sha256(b"hello").hexdigest(),
            }
            self.assertEqual((answer.status, answer.json), (200, expected))
            self.assertEqual(answer["repr-digest"], repr_digest(b"hello"))
            answer = self.digest("/workspace/a b", through=through, method="HEAD")
            self.assertEqual(answer["repr-digest"], repr_digest(b"hello"))
            answer = self.digest("/workspace/a b", {"If-Match": '"x"'}, through=through)
            self.assertEqual(answer.status, 412)
            answer = self.digest("/workspace/missing", through=through)
            self.assert_error(answer, 404, "file not found")

    def test_other_names(self) -> None:
        """The other names of the downloads have the digest, too."""
        self.pair.write("workspace/file", b"hello")
        for role, credential, route in (
            (self.pair.workspace, self.pair.inbound, "/internal"),
            (self.pair.platform, self.pair.bearer, f"/workspaces/{self.pair.id}"),
        ):
            target = f"{route}/fs/file?path=/workspace/file"
            answer = fetch(role.url, target, {**credential, **WANT})
            self.assertEqual(answer["repr-digest"], repr_digest(b"hello"))

    def test_option(self) -> None:
        """``--digest-inline-bytes`` bounds the file whose digest a download waits for."""
        pair = Pair(workspace=["--digest-inline-bytes=100K"])
        self.addCleanup(pair.discard)
        for size, is_sent in ((102400, True), (102401, False)):
            pair.write("workspace/file", bytes(size))
            for answer in pair.get("path=/workspace/file", WANT, "HEAD").values():
                self.assertEqual(answer.get("repr-digest") is not None, is_sent)
        pair.stop()


class RewrittenTests(DigestsCase):
    """Files that are rewritten for ever."""

    @contextlib.contextmanager
    def rewriting(self) -> Iterator[None]:
        """Rewrite the files of `SIZES`: each version consists of one byte, repeated."""
        stopped = threading.Event()
        chance = random.Random(7)

        def rewrite() -> None:
            number = 0
            while not stopped.is_set():
                number += 1
                for name, size in SIZES.items():
                    self.write(name, bytes([number % 251]) * size, replace=chance.random() < 0.3)
                # Some versions are too young for a digest, some are not.
                stopped.wait(chance.choice((0, 0, 0.001, 0.03, 0.06)))

        thread = threading.Thread(target=rewrite)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def write(self, name: str, content: bytes, *, replace: bool) -> None:
        path = self.pair.at("workspace", name)
        with open(f"{path}.new" if replace else path, "r+b" if not replace else "wb") as file:
            file.write(content)
        if replace:
            os.rename(f"{path}.new", path)

    def test_no_wrong_digest(self) -> None:
        """Each digest that is sent is that of one version, and fits the bytes and the ``ETag``."""
        valid = {}
        for name, size in SIZES.items():
            self.pair.write(f"workspace/{name}", bytes(size))
            for byte in range(251):
                valid[hashlib.sha256(bytes([byte]) * size).hexdigest()] = name
        by_tag: dict[str, str] = {}
        seen: Counter[str] = Counter()

        def check(name: str, what: str, etag: str, digest: str) -> None:
            seen[f"{what} {name}"] += 1
            self.assertEqual(valid.get(digest), name, what)
            self.assertEqual(by_tag.setdefault(etag.removeprefix("W/"), digest), digest, what)

        with self.rewriting():
            for number in range(ROUNDS):
                for name in SIZES:
                    path = f"/workspace/{name}"
                    for hop, role, target, credential in self.pair.hops(f"path={path}"):
                        method = ("GET", "HEAD", "GET")[number % 3]
                        with contextlib.suppress(Incomplete):
                            fields = {**credential, **WANT}
                            answer = fetch(role.url, target, fields, method=method)
                            digest = answer.get("repr-digest")
                            if digest is not None:
                                check(name, hop, answer["etag"], hexadecimal(digest))
                                if method == "GET":
                                    self.assertEqual(repr_digest(answer.body), digest)
                    answer = self.digest(path)
                    if answer.status == 200:
                        check(name, "digest", answer.json["etag"], answer.json["sha256"])
                    else:
                        self.assertIn(answer.status, (202, 409))
        self.assertEqual(len(seen), 6, seen)  # some of each kind were sent


class LongTests(DigestsCase):
    """A file whose digest takes long."""

    SIZE = 200 << 30

    def setUp(self) -> None:
        super().setUp()
        with open(self.pair.write("workspace/long"), "wb") as file:
            file.truncate(self.SIZE)
        self.addCleanup(self.remove)

    def remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.pair.at("workspace", "long"))

    def test_computing(self) -> None:
        """Clients learn the progress, and other requests are served meanwhile."""
        if not SOAK:
            raise SkipTest("it takes half a minute: CHATFILES_SOAK=1")
        done = [0]
        for _ in range(3):
            answer = self.digest("/workspace/long")
            self.assertEqual((answer.status, answer["retry-after"]), (202, "2"))
            body = answer.json
            done.append(body.pop("done"))
            self.assertEqual(body, {"status": "computing", "size": self.SIZE})
            self.assertEqual(self.digest("/workspace/missing").status, 404)
            time.sleep(2)
        self.assertEqual(done, sorted(set(done)))
        self.remove()
        self.assertEqual(self.digest("/workspace/long").status, 404)

    def test_shutdown(self) -> None:
        """When the workspace stops, it does not wait for digests without clients."""
        pair = Pair(via="url")  # connections are counted
        self.addCleanup(pair.discard)
        with open(pair.write("workspace/long"), "wb") as file:
            file.truncate(self.SIZE)
        with Connection(pair.workspace.url) as connection:
            connection.ask("GET", "/internal/fs/digest?path=/workspace/long", pair.inbound)
            opened = pair.at("workspace", "long")
            until(lambda: opened in pair.workspace.descriptors(), "the computation has begun")
        until(lambda: not pair.workspace.connections(), "the client has left")
        pair.stop()
        self.assertNotIn("ending without", pair.workspace.log)

    def test_killed(self) -> None:
        """If the workspace is killed, the client receives no response, and the platform's a 502."""
        for point in range(10 if SOAK else 2):
            pair = Pair()
            self.addCleanup(pair.discard)
            with open(pair.write("workspace/long"), "wb") as file:
                file.truncate(self.SIZE)
            path = "fs/digest?path=/workspace/long"
            with (
                Connection(pair.workspace.url) as direct,
                Connection(pair.platform.url) as through,
            ):
                direct.ask("GET", f"/internal/{path}", pair.inbound)
                through.ask("GET", f"/workspaces/{pair.id}/{path}", pair.bearer)
                time.sleep(point * 0.4)
                pair.workspace.kill()
                with self.assertRaises((Incomplete, OSError)):
                    direct.answer()
                # Over a channel it may have been sent again: the workspace is not connected.
                expected = (502,) if pair.via == "url" else (502, 503)
                self.assertIn(through.response().status, expected)
            pair.discard()
