"""
What changes between two requests has its effect at once on the fast path, too.
"""

from __future__ import annotations

import os
import threading
import time

from chatfiles.testing.broken_upstreams import ScriptedServer, ServerConnection
from tests.live.processes import LiveCase, Pair, until
from tests.live.rawhttp import Connection, Incomplete, Response
from tests.live.twins import MODES, Exchange, Twins

#: Seconds after a change in which what was read is not remembered, and a little more.
SETTLED = 1.05
ROUNDS = 12


def settled(path: str) -> None:
    """Wait until the last change of *path* is so old that what was read there is remembered."""
    until(lambda: time.time() - os.stat(path).st_ctime > SETTLED, f"{path} is old")


class TakenTests(LiveCase):
    """The usual requests take the fast path."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(workspace=["--drain-timeout=5"])

    def test_counted(self) -> None:
        """``GET``, ``HEAD``, 304 and 206 of small files do, on new and on kept connections."""
        pair = self.make_pair()
        self.addCleanup(pair.discard)
        pair.write("workspace/a.txt", b"hello a\n")
        pair.write("workspace/large.bin", b"x" * 100_000)
        query = "path=/workspace/a.txt"
        tag = pair.get(query)["direct"]["etag"]
        pair.get(query)
        kinds: tuple[tuple[str, dict[str, str], int], ...] = (
            ("GET", {}, 200),
            ("HEAD", {}, 200),
            ("GET", {"If-None-Match": tag}, 304),
            ("GET", {"Range": "bytes=1-3"}, 206),
        )
        for _, role, target, credential in pair.hops(query):
            with Connection(role.url) as connection:
                for method, fields, status in kinds * 5:
                    answer = connection.exchange(method, target, {**credential, **fields})
                    self.assertEqual(answer.status, status)
        pair.get("path=/workspace/missing")
        pair.get("path=/workspace/large.bin")
        pair.stop()
        through, direct = (
            int(role.logged(r"(\d+) responses took the fast path")[1]) for role in pair.roles
        )
        # What fills the caches, and what the workspace does not serve at once, may be more.
        self.assertGreaterEqual(through, 20)
        self.assertGreaterEqual(direct, 40)
        self.assertLessEqual(direct, 44)


class ChangeTests(LiveCase):
    """Files, secrets, tokens and addresses that change while everything is in memory."""

    pair: Twins

    @classmethod
    def make_pair(cls) -> Pair:
        return Twins()

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.write("workspace/a.txt", b"hello a\n")

    def setUp(self) -> None:
        super().setUp()
        for _ in range(3):
            self.assert_both(self.get(), lambda answer: self.assertEqual(answer.status, 200))

    def get(self, path: str = "/workspace/a.txt", token: str | None = None) -> dict[str, Response]:
        fields = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.pair.file(path, fields)

    def direct(self, secret: str, path: str = "/workspace/a.txt") -> int:
        """:return: the status of the workspace."""
        return self.get(path, secret)["direct"].status

    # -- files

    def test_replaced(self) -> None:
        """A response is one version, and a strong entity tag belongs to one content."""
        path, stop = self.pair.at("workspace", "busy.txt"), threading.Event()
        self.pair.write("workspace/busy.txt", b"a" * 8)

        def change() -> None:
            for n in range(100_000):
                if stop.is_set():
                    return
                size = 8 + n * 997 % 60_000
                if n % 3:
                    content = b"%c" % (97 + n % 26) * size
                    self.pair.write("workspace/busy.new", content)
                    os.rename(self.pair.at("workspace", "busy.new"), path)
                else:
                    os.truncate(path, 4)

        thread = threading.Thread(target=change)
        thread.start()
        try:
            contents: dict[str, bytes] = {}
            for _ in range(150):
                try:
                    answers = self.get("/workspace/busy.txt")
                except Incomplete:
                    continue
                for answer in answers.values():
                    self.assertEqual(answer.status, 200)
                    self.assertEqual(len(set(answer.body)), 1)
                    if not answer["etag"].startswith("W/"):
                        known = contents.setdefault(answer["etag"], answer.body)
                        self.assertEqual(answer.body, known)
        finally:
            stop.set()
            thread.join()

    # -- the secret

    def write_secret(self, secret: str, *, in_place: bool) -> None:
        if not in_place:
            self.pair.keep_secret(secret)
            return
        self.pair.secret = secret
        before = os.stat(self.pair.secret_file)
        with open(self.pair.secret_file, "r+") as file:
            file.write(secret)
        os.utime(self.pair.secret_file, ns=(before.st_atime_ns, before.st_mtime_ns))

    def test_secret_replaced(self) -> None:
        """An old secret is refused at once and a new one accepted, also of equal size and time."""
        for n in range(ROUNDS):
            old, new = self.pair.secret, f"secret-{n:02}".ljust(len(self.pair.secret), "x")
            if n % 4 == 3:
                settled(self.pair.secret_file)
            for _ in range(2):
                self.assertEqual(self.direct(old), 200)
            self.write_secret(new, in_place=bool(n % 2))
            self.assertEqual([self.direct(old), self.direct(new)], [401, 200], n)
            self.pair.share_secret()
        os.rename(self.pair.secret_file, self.pair.secret_file + ".away")
        self.assertEqual(self.direct(self.pair.secret), 401)
        os.rename(self.pair.secret_file + ".away", self.pair.secret_file)
        self.assertEqual(self.direct(self.pair.secret), 200)

    def test_secret_replaced_quickly(self) -> None:
        """That holds also for changes that follow each other faster than the kernel's clock."""
        connection = self.connect(self.pair.workspace)
        target = b"/internal/file/read?path=/workspace/a.txt"
        for n in range(100):
            old, new = self.pair.secret, f"quick-{n:02}".ljust(len(self.pair.secret), "x")
            for secret, status in ((old, 200), (old, 200), (new, 200), (old, 401)):
                if (secret, status) == (new, 200):
                    self.write_secret(new, in_place=True)
                fields = {"Authorization": f"Bearer {secret}"}
                self.assertEqual(connection.exchange("GET", target, fields).status, status, n)
        self.pair.hide(self.pair.secret)
        self.pair.share_secret()

    def test_credential_moved_quickly(self) -> None:
        """Nor is a credential served that was made and moved within one tick of that clock."""
        own, stolen = self.pair.at("configs", ".auth_token"), self.pair.at("workspace", "moved")
        connection = self.connect(self.pair.workspace)
        target = b"/internal/file/read?path=/workspace/"
        for n in range(60):
            with open(os.open(own, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
                file.write("token")
            for _ in range(2):
                answer = connection.exchange("GET", target + b"a.txt", self.pair.inbound)
                self.assertEqual(answer.status, 200)
            os.rename(own, stolen)
            answer = connection.exchange("GET", target + b"moved", self.pair.inbound)
            self.assertEqual(answer.status, 404, n)
            os.unlink(stolen)

    def test_credential_in_the_tree(self) -> None:
        """A credential that gets a name in a root is refused, whether linked or moved there."""
        stolen, own = (
            self.pair.at("workspace", "stolen.txt"),
            self.pair.at("configs", ".auth_token"),
        )
        for n in range(6):
            with open(own, "w") as file:
                file.write(f"token-{n}")
            os.chmod(own, 0o600)
            self.assertEqual(self.direct(self.pair.secret), 200)
            if n >= 4:
                settled(self.pair.at("configs"))
                self.assertEqual(self.direct(self.pair.secret), 200)
            if n % 2:
                os.link(own, stolen)
            else:
                os.rename(own, stolen)
            for _ in range(2):
                self.assertEqual(self.direct(self.pair.secret, "/workspace/stolen.txt"), 404, n)
            os.unlink(stolen)
        os.link(self.pair.secret_file, stolen)
        self.addCleanup(os.unlink, stolen)
        answers = self.get("/workspace/stolen.txt")
        self.assert_both(answers, lambda answer: self.assertEqual(answer.status, 404))

    # -- the registry

    def added(self, url: str) -> tuple[bytes, dict[str, str], str]:
        """:return: a new workspace: the target of a download, its credential and its id."""
        workspace_id, token = self.pair.add(url)
        statement = "update workspaces set platform_inbound_secret = ? where id = ?"
        self.pair.execute(statement, self.pair.secret, workspace_id)
        target = f"/workspaces/{workspace_id}/chat/download?path=/workspace/a.txt"
        return target.encode(), {"Authorization": f"Bearer {token}"}, workspace_id

    def test_revoked(self) -> None:
        """A token that was revoked is refused by the next request on a kept connection."""
        target, credential, workspace_id = self.added(self.pair.workspace.url)
        connection = self.connect(self.pair.platform)
        for _ in range(5):
            self.assertEqual(connection.exchange("GET", target, credential).status, 200)
        gone = self.pair.as_admin("DELETE", f"/workspaces/{workspace_id}")
        self.assertEqual(gone.status, 204)
        self.assertEqual(connection.exchange("GET", target, credential).status, 401)

    def test_access(self) -> None:
        """Neither another workspace's token nor one that may not read gets a file in memory."""
        target, credential, workspace_id = self.added(self.pair.workspace.url)
        writes = self.pair.as_admin(
            "POST", f"/workspaces/{workspace_id}/tokens", b'{"scopes": ["write"]}'
        ).json["token"]
        self.pair.hide(writes)
        connection = self.connect(self.pair.platform)
        refused = {"Authorization": f"Bearer {writes}"}, self.pair.bearer
        for _ in range(3):
            self.assertEqual(connection.exchange("GET", target, credential).status, 200)
            own = self.pair.download_target(b"path=/workspace/a.txt")
            self.assertEqual(connection.exchange("GET", own, self.pair.bearer).status, 200)
            statuses = [connection.exchange("GET", target, token).status for token in refused]
            self.assertEqual(statuses, [403, 401])

    def test_moved(self) -> None:
        """The address that another process writes is used within the promised second."""
        target, credential, workspace_id = self.added(self.pair.workspace.url)
        connection = self.connect(self.pair.platform)
        for _ in range(5):
            self.assertEqual(connection.exchange("GET", target, credential).status, 200)
        statement = "update workspaces set url = ? where id = ?"
        self.pair.execute(statement, "http://127.0.0.1:1", workspace_id)
        until(lambda: connection.exchange("GET", target, credential).status == 502, "it is moved")
        self.pair.execute(statement, self.pair.plain_workspace.url, workspace_id)
        until(lambda: connection.exchange("GET", target, credential).status == 200, "it is back")


HEAD = b"HTTP/1.1 200 OK\r\nServer: w\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nX-Request-Id: a\r\n"
TYPE = b"Content-Type: text/plain\r\n"
FIVE = HEAD + b"Content-Length: 5\r\n" + TYPE + b'ETag: "a"\r\n\r\nhello'
#: The pieces that a workspace sends in response to the third request, and whether it then closes.
RESPONSES: dict[str, tuple[list[bytes], bool]] = {
    "usual": ([FIVE], False),
    "closed afterwards": ([FIVE], True),
    "closed before": ([], True),
    "head in pieces": ([FIVE[:1], FIVE[1:40], FIVE[40:-7], FIVE[-7:]], False),
    "body in pieces": ([FIVE[:-5], FIVE[-5:-3], FIVE[-3:]], False),
    "interim": ([b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", FIVE], False),
    "interim together": ([b"HTTP/1.1 100 Continue\r\n\r\n" + FIVE], False),
    "upgrade": ([b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + FIVE], False),
    "half a head": ([FIVE[:60]], True),
    "half a body": ([FIVE[:-2]], True),
    "too much": ([FIVE + b"more"], False),
    "two responses": ([FIVE + FIVE.replace(b"hello", b"other")], False),
    "no length": ([HEAD + TYPE + b"\r\nhello"], True),
    "two lengths": ([HEAD + b"Content-Length: 5\r\nContent-Length: 4\r\n\r\nhello"], False),
    "chunked": (
        [HEAD + TYPE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
        False,
    ),
    "chunked and length": (
        [HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"],
        False,
    ),
    "compressed": ([FIVE.replace(TYPE, b"Content-Encoding: gzip\r\n")], False),
    "last": ([FIVE.replace(TYPE, TYPE + b"Connection: close\r\n")], False),
    "old": ([FIVE.replace(b"HTTP/1.1", b"HTTP/1.0")], True),
    "empty": ([HEAD + b"Content-Length: 0\r\n\r\n"], False),
    "no content": ([HEAD.replace(b"200 OK", b"204 No Content") + b"\r\n"], False),
    "not modified": ([HEAD.replace(b"200 OK", b"304 Not Modified") + b'ETag: "a"\r\n\r\n'], False),
    "unasked part": (
        [
            FIVE.replace(b"200 OK", b"206 Partial Content").replace(
                TYPE, b"Content-Range: bytes 0-4/9\r\n"
            )
        ],
        False,
    ),
    "redirect": ([FIVE.replace(b"200 OK", b"302 Found")], False),
    "refused": ([FIVE.replace(b"200 OK", b"401 Unauthorized")], False),
    "missing": ([FIVE.replace(b"200 OK", b"404 Not Found")], False),
    "unsatisfiable": ([FIVE.replace(b"200 OK", b"416 Range Not Satisfiable")], False),
    "unknown status": ([FIVE.replace(b"200 OK", b"299 Odd")], False),
    "broken": ([FIVE.replace(b"200 OK", b"503 Service Unavailable")], False),
    "active": ([FIVE.replace(b"text/plain", b"text/html;charset=x y")], False),
    "inline": ([FIVE.replace(TYPE, b"Content-Disposition: inline\r\n")], False),
    "repeated": (
        [FIVE.replace(TYPE, TYPE + b"Content-Type: a/b\r\nSet-Cookie: a=b\r\n")],
        False,
    ),
    "odd line": ([FIVE.replace(TYPE, TYPE + b"X Y: z\r\n")], False),
    "odd reason": ([FIVE.replace(b"200 OK", b"200 \xe9t\xe9")], False),
    "many lines": ([FIVE.replace(TYPE, TYPE + b"X-Filler: 1\r\n" * 94)], False),
    "too many lines": ([FIVE.replace(TYPE, TYPE + b"X-Filler: 1\r\n" * 96)], False),
    "long": ([FIVE.replace(TYPE, TYPE + b"X-Long: " + b"x" * 4000 + b"\r\n")], False),
}


class UpstreamTests(LiveCase):
    """Both paths treat the responses of a workspace alike, once everything is in memory."""

    pair: Twins

    @classmethod
    def make_pair(cls) -> Pair:
        return Twins()

    def test_responses(self) -> None:
        """Usual and broken responses, to ``GET`` and ``HEAD``, then another request."""
        for name, (pieces, closes) in RESPONSES.items():
            # What follows a response to HEAD may meet the next request, depending on when it comes.
            for method in (b"GET",) if name == "body in pieces" else (b"GET", b"HEAD"):
                fast, ordinary = (self.seen(mode, method, pieces, closes) for mode in MODES)
                self.assertEqual(fast, ordinary, (name, method))

    def seen(self, mode: str, method: bytes, pieces: list[bytes], closes: bool) -> bytes:
        """:return: what a client receives whose third request has this response."""
        served = 0

        def script(peer: ServerConnection) -> None:
            nonlocal served
            while asked := peer.request():
                served += 1
                if served != 3:
                    peer.send(FIVE[:-5] if asked.method == "HEAD" else FIVE)
                    continue
                for piece in pieces:
                    peer.send(piece)
                    time.sleep(0.002 if len(pieces) > 1 else 0)
                if closes:
                    return

        server = ScriptedServer(script)
        self.addCleanup(server.close)
        workspace_id, token = self.pair.add(server.url)
        self.pair.execute(
            "update workspaces set platform_inbound_secret = 'known' where id = ?", workspace_id
        )
        target = b"/workspaces/%b/chat/download?path=/workspace/a.txt" % workspace_id.encode()
        lines = b"Host: h\r\nAuthorization: Bearer %b\r\nX-Request-Id: here\r\n" % token.encode()
        requests = [
            (kind, b"%b %b HTTP/1.1\r\n%b\r\n" % (kind, target, lines))
            for kind in (b"GET", b"GET", method, b"GET", b"GET")
        ]
        return self.pair.received(Exchange(requests), "through", mode)
