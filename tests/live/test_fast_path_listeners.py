"""
The fast path on TLS listeners, and while a role stops.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import tempfile
import threading
from collections.abc import Sequence

from chatfiles.testing.broken_upstreams import ServerConnection
from tests.live.processes import Pair, Role, until
from tests.live.rawhttp import Connection, Response, fetch
from tests.live.upstream_case import UpstreamCase
from tests.support.certificates import write_certificates

PLAIN = "--listen=tcp:0:interface=127.0.0.1"
SERVED = r"(\d+) responses took the fast path"
BODY = b"x" * 64 * 1024


class TLSConnection(Connection):
    """
    A connection with TLS.

    :param context: decides which certificate is trusted.
    """

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        super().__init__(url)
        self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")


def served(role: Role) -> int:
    """:return: how many responses of a role that has stopped took the fast path."""
    return int(role.logged(SERVED)[1])


class TLSTests(UpstreamCase):
    """Each role also listens with TLS, and the platform connects to a workspace with TLS."""

    base: str

    @classmethod
    def make_pair(cls) -> Pair:
        """Processes of its own, because `test_same` counts."""
        cls.base = tempfile.mkdtemp(prefix="chatfiles-live-")
        write_certificates(cls.base)
        pair = f"certificate={cls.base}/fullchain.pem:key={cls.base}/key.pem"
        listen = f"--listen=chatfiles-tls:0:interface=127.0.0.1:{pair}"
        trust = {"SSL_CERT_FILE": os.path.join(cls.base, "root.pem")}
        return Pair(both=[PLAIN, listen, "--drain-timeout=5"], told=trust)

    def url(self, role: Role) -> str:
        """:return: where *role* listens with TLS."""
        return role.logged(r"ready on (https://\S+)")[1]

    def responses(
        self, connection: Connection, target: bytes, fields: dict[str, str], tag: str
    ) -> Sequence[Response]:
        """:return: the responses to requests of each kind, without what always differs."""
        answers = []
        for method, more in (
            ("GET", {}),
            ("HEAD", {}),
            ("GET", {"If-None-Match": tag}),
            ("GET", {"Range": "bytes=1-3"}),
            ("GET", {"Connection": "close"}),
        ):
            lines = {**fields, **more, "X-Request-Id": "same"}
            answer = connection.exchange(method, target, lines)
            answer.fields = [field for field in answer.fields if field[0] != "date"]
            answers.append(answer)
        self.assertEqual(connection.until_closed(), b"")
        return answers

    def test_same(self) -> None:
        """The responses are those of the listener without TLS; all of them take the fast path."""
        pair = self.pair
        self.addCleanup(shutil.rmtree, self.base)
        trusting = ssl.create_default_context(cafile=os.path.join(self.base, "root.pem"))
        pair.write("workspace/a.bin", BODY)
        query = "path=/workspace/a.bin"
        tag = pair.get(query)["direct"]["etag"]
        pair.get(query)
        for _, role, target, fields in pair.hops(query):
            with Connection(role.url) as connection:
                plain = self.responses(connection, target, fields, tag)
            with TLSConnection(self.url(role), trusting) as connection:
                self.assertEqual(self.responses(connection, target, fields, tag), plain)
            self.assertEqual([answer.status for answer in plain], [200, 200, 304, 206, 200])
            self.assertEqual(plain[0].body, BODY)
        pair.stop()
        self.assertGreaterEqual(served(pair.platform), 10)
        self.assertGreaterEqual(served(pair.workspace), 20)

    def test_workspace_with_tls(self) -> None:
        """A workspace at an ``https`` URL is asked by the fast path, too."""
        pair = self.pair
        self.addCleanup(shutil.rmtree, self.base)
        pair.write("workspace/a.bin", BODY)
        body = json.dumps({"id": pair.id, "url": self.url(pair.workspace)}).encode()
        target = "/registry/register"
        made = fetch(pair.platform.url, target, pair.bearer, method="POST", body=body)
        pair.keep_secret(made.json["platform_inbound_secret"])
        target = self.target(pair.id, "/workspace/a.bin")
        with Connection(pair.platform.url) as connection:
            for _ in range(12):
                answer = connection.exchange("GET", target, pair.bearer)
                self.assertEqual((answer.status, answer.body == BODY), (200, True))
        pair.stop()
        self.assertGreaterEqual(served(pair.platform), 8)
        self.assertGreaterEqual(served(pair.workspace), 8)


class DrainTests(UpstreamCase):
    """The platform stops while requests on the fast path wait for their workspace."""

    @classmethod
    def make_pair(cls) -> Pair:
        """Processes of its own, because its test ends them."""
        return Pair(both=["--drain-timeout=60"])

    def test_finished(self) -> None:
        """
        Requests that wait are answered completely; their connections close after that, and idle
        ones at once.
        """
        released = threading.Event()
        self.addCleanup(released.set)

        def script(peer: ServerConnection) -> None:
            while peer.request() is not None:
                released.wait()
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY))

        server, target = self.scripted(script)
        platform = self.pair.platform
        idle, *waiting = [Connection(platform.url) for _ in range(4)]
        for connection in (idle, *waiting):
            self.addCleanup(connection.close)
        fields = self.credential(target)
        upload = target.partition("download")[0] + "uploads"
        for _ in range(10):  # after these, the platform knows that its registry has not changed
            self.assertEqual(idle.exchange("POST", upload, fields, b"").status, 415)
        for connection in waiting:
            connection.ask("GET", target, fields)
        until(lambda: len(server.requests) == len(waiting), "the workspace is asked")
        platform.signal(signal.SIGTERM)
        self.assertEqual(idle.until_closed(), b"")
        released.set()
        for connection in waiting:
            answer = connection.response()
            self.assertEqual((answer.status, answer["connection"]), (200, "close"))
            self.assertEqual(answer.body, BODY)
            self.assertEqual(connection.until_closed(), b"")
        platform.ended_well()
        # If the registry is written to meanwhile, the ordinary path serves some of them.
        self.assertGreaterEqual(served(platform), 1)
