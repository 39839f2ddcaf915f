"""
reference/channel-workspace: a workspace that connects to its platform, as a platform sees it that
was written from the manual alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import ssl
import tempfile
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.live.fake_platform import SECRET, UPGRADED, FakePlatform, Parked, refusal
from tests.live.processes import Role, until
from tests.live.upload_client import END, FORM, file
from tests.support.certificates import write_certificates

ID = "0b6c2c4e-7d4f-4b0e-9a36-1f0b9f5a2d11"
TOKEN = "token-" + "t" * 37
BEARER = {"Authorization": f"Bearer {SECRET}"}
READ = "/internal/file/read?path=/workspace/"
BIG = 48 << 20


class ChannelCase(SynchronousTestCase):
    """A workspace that listens on nothing, and a fake platform."""

    def setUp(self) -> None:
        self.base = os.path.realpath(tempfile.mkdtemp(prefix="chatfiles-live-"))
        self.addCleanup(shutil.rmtree, self.base)
        os.mkdir(self.at("workspace"))
        os.mkdir(self.at("configs"))
        with open(
            os.open(self.at("configs", ".auth_token"), os.O_CREAT | os.O_WRONLY, 0o600), "w"
        ) as token:
            token.write(TOKEN)
        self.write("a.txt", b"hello a\n")

    def at(self, *names: str) -> str:
        return os.path.join(self.base, *names)

    def write(self, name: str, content: bytes) -> None:
        with open(self.at("workspace", name), "wb") as stream:
            stream.write(content)

    def platform(self, tls: ssl.SSLContext | None = None) -> FakePlatform:
        """:return: a fake platform."""
        platform = FakePlatform(tls)
        self.addCleanup(platform.close)
        return platform

    def workspace(self, platform: FakePlatform, *options: str) -> Role:
        """:return: a workspace of it."""
        role = Role(
            "workspace",
            "--listen=none",
            "--channel",
            f"--root=/workspace={self.at('workspace')}",
            f"--configs-dir={self.at('configs')}",
            f"--platform={platform.url}",
            f"--workspace-id={ID}",
            *options,
        )
        role.secrets |= {TOKEN, SECRET}
        self.addCleanup(role.kill)
        self.addCleanup(role.check_log)
        return role

    def started(self, *options: str) -> tuple[FakePlatform, Role]:
        """:return: a fake platform and a workspace of it."""
        platform = self.platform()
        return platform, self.workspace(platform, *options)


class ServingTests(ChannelCase):
    """What is served over such a connection."""

    def test_requests(self) -> None:
        """The upgrade is that of the manual; then the workspace is the server that it always is."""
        platform, workspace = self.started()
        parked = [platform.take() for _ in range(4)]
        self.assertEqual(
            platform.upgrades.get(),
            [
                "GET /registry/channel HTTP/1.1",
                f"Host: 127.0.0.1:{platform.port}",
                f"Authorization: Bearer {TOKEN}",
                "Connection: upgrade",
                "Upgrade: ptth",
                "ALPN: http%2F1.1",
            ],
        )
        (registration, *_) = platform.registrations
        self.assertEqual((registration["id"], registration["delivery_mode"]), (ID, "poll"))
        self.assertNotIn("url", registration)
        workspace.logged("ready, without a listener")
        first = parked[0]
        self.assertEqual(first.ask("/health").json["status"], "ok")
        self.assertEqual(first.ask(READ + "a.txt").status, 401)
        self.assertEqual(first.ask(READ + "a.txt", {"Authorization": "Bearer x"}).status, 401)
        for method, fields, status, body in (
            ("GET", {}, 200, b"hello a\n"),
            ("HEAD", {}, 200, b""),
            ("GET", {"Range": "bytes=2-4"}, 206, b"llo"),
        ):
            response = first.ask(READ + "a.txt", {**BEARER, **fields}, method)
            self.assertEqual((response.status, response.body), (status, body))
        self.assertEqual(first.ask(READ + "none", BEARER).status, 404)
        platform.take()  # in place of the one that served
        workspace.stop()
        workspace.logged(r"[1-9]\d* responses took the fast path")

    def test_replacement(self) -> None:
        """While requests are served, others are parked; a surplus leaves with an answer."""
        self.write("big", bytes(BIG))
        platform, _ = self.started("--channel-idle=1", "--channel-max=3")
        busy = [platform.take()]
        for _ in range(2):
            busy[-1].send(READ + "big", BEARER)
            busy.append(platform.take())
        busy[-1].send(READ + "big", BEARER)
        answers = [each.answer() for each in busy]
        self.assertTrue(platform.parked.empty(), "not more than --channel-max")
        for answer in answers:
            self.assertEqual(len(answer.rest()), BIG)
        closed = [each.ask("/health").get("connection") for each in busy]
        self.assertEqual(closed, ["close", None, None])
        self.assertEqual(busy[0].until_closed(), b"")

    def test_big_file(self) -> None:
        """A big file arrives as it is, and one that the platform gives up ends the transfer."""
        content = os.urandom(1 << 20) * (BIG >> 20)
        self.write("big", content)
        platform, workspace = self.started()
        first, second = platform.take(), platform.take()
        response = first.ask(READ + "big", BEARER)
        self.assertEqual(len(response.body), BIG)
        self.assertEqual(hashlib.sha256(response.body).digest(), hashlib.sha256(content).digest())
        second.send(READ + "big", BEARER)
        second.answer().exactly(1000)
        mark = workspace.mark()
        second.socket.close()
        workspace.logged("read 200 .* client_left", since=mark)
        self.assertEqual(first.ask(READ + "a.txt", BEARER).status, 200)

    def test_upload(self) -> None:
        """An upload waits for ``100 Continue``, and the file is published."""
        platform, _ = self.started()
        connection = platform.take()
        body = file(b"uploaded", "new.txt") + END
        lines = {**BEARER, **FORM, "Content-Length": str(len(body)), "Expect": "100-continue"}
        connection.send("/internal/chat/uploads/ingest", lines, method="POST")
        self.assertEqual(connection.socket.recv(25), b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.socket.sendall(body)
        response = connection.response()
        self.assertEqual((response.status, response.json["files"][0]["size"]), (200, 8))
        path = response.json["files"][0]["uri"].removeprefix("workspace:/workspace/")
        with open(self.at("workspace", path), "rb") as stream:
            self.assertEqual(stream.read(), b"uploaded")


class HostileTests(ChannelCase):
    """A platform, or something in between, that breaks the rules."""

    def test_hostile(self) -> None:
        """What is no request is refused, its connection is closed, and another one is made."""
        platform, workspace = self.started()
        cases: list[tuple[Callable[[Parked], None], bytes]] = [
            (lambda it: it.socket.sendall(os.urandom(512) + b"\r\n\r\n"), b" 400 "),
            (lambda it: it.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), b" 505 "),
            (lambda it: it.socket.sendall(b"HTTP/1.1 200 OK\r\n\r\n"), b" 400 "),
            (
                lambda it: it.send(
                    "/health", {"Content-Length": "1", "Transfer-Encoding": "chunked"}
                ),
                b" 400 ",
            ),
            (lambda it: it.send("/health", {"X": "y" * 70_000}), b" 431 "),
            (lambda it: it.send("http://other/health"), b" 400 "),
        ]
        for attack, status in cases:
            connection = platform.take()
            attack(connection)
            data = connection.until_closed()
            self.assertIn(status, data.split(b"\r\n")[0])
        self.assertEqual(platform.take().ask("/health").status, 200)
        self.assertTrue(workspace.running)

    def test_what_follows_the_response(self) -> None:
        """Bytes behind the empty line of the 101 are the first request, garbage included."""
        platform = self.platform()
        request = f"GET {READ}a.txt HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\r\n\r\n"
        platform.answers.put(UPGRADED + request.encode())
        platform.answers.put(UPGRADED + b"\0\0\0\0")
        platform.answers.put(UPGRADED[:-2] + b"Content-Length: 3\r\n\r\nabc")
        platform.answers.put(UPGRADED.replace(b"ptth", b"websocket"))
        workspace = self.workspace(platform)
        responses = sorted(platform.take().until_first_line() for _ in range(4))
        self.assertIn(b"HTTP/1.1 200 OK", responses)
        self.assertIn(b"HTTP/1.1 400 Bad Request", responses)
        workspace.logged("responded badly")
        for _ in range(2):
            platform.take()


class RefusalTests(ChannelCase):
    """The table of refusals."""

    ROWS = (
        (refusal(401, "unauthorized"), "refused, responded 401: no", True),
        (refusal(403, "forbidden"), "refused, responded 403: no", True),
        (refusal(404, "no_route"), "the platform has no channel: responded 404", False),
        (refusal(404, "workspace_not_found"), "responded 404: no", True),
        (refusal(409, "not_in_poll_mode"), "responded 409: no", True),
        (
            refusal(426, "upgrade_required", "no", "Upgrade: ptth", "Connection: upgrade"),
            "a proxy has removed Upgrade .* responded 426: no",
            False,
        ),
        (refusal(400, "bad_request"), "responded 400: no", False),
        (refusal(429, "too_many_channels"), "responded 429: no", False),
        (refusal(503, "draining", "no", "Retry-After: 1"), "responded 503: no", False),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "responded badly: redirect", False),
        (b"SSH-2.0-OpenSSH\r\n", "responded badly: not HTTP/1", False),
    )

    def test_rows(self) -> None:
        """Each refusal is logged once; some of them make the workspace register again."""
        started = []
        for answer, text, registers in self.ROWS:
            platform = self.platform()
            platform.always = answer
            started.append((platform, self.workspace(platform), text, registers))
        for platform, workspace, text, registers in started:
            workspace.logged(f"channel to {platform.url}: {text}")
            if registers:
                until(lambda: len(platform.registrations) > 1, f"it registers again: {text}")  # noqa: B023
        for _, workspace, text, _ in started:
            self.assertEqual(workspace.log.count("channel to"), 1, text)

    def test_platform_away(self) -> None:
        """A platform that is away for a moment, or that drains, is connected to again."""
        platform, workspace = self.started()
        for _ in range(4):
            platform.take()
        platform.close()
        workspace.logged("channel to .*: no response .*the connection was refused")
        for _ in range(2):
            platform.answers.put(refusal(503, "draining", "draining", "Retry-After: 1"))
        mark = workspace.mark()
        platform.listen()
        for _ in range(4):
            self.assertEqual(platform.take().ask("/health").status, 200)
        workspace.logged("channel to .*: open", since=mark)

    def test_certificates(self) -> None:
        """The platform's certificate is verified before the token is sent."""
        write_certificates(self.base)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.at("fullchain.pem"), self.at("key.pem"))
        platform = self.platform(tls)
        untrusted = self.workspace(platform)
        untrusted.logged("registry/register .*certificate")
        self.assertTrue(platform.upgrades.empty())
        trusting = self.workspace(platform, f"--platform-ca={self.at('root.pem')}")
        connection = platform.take()
        self.write("big", bytes(4 << 20))
        self.assertEqual(len(connection.ask(READ + "big", BEARER).body), 4 << 20)
        trusting.stop()
        untrusted.stop()


class LifeTests(ChannelCase):
    """Processes: their end, and several of them."""

    def test_drain(self) -> None:
        """At its end, parked connections are closed, and a transfer is completed."""
        self.write("big", bytes(BIG))
        platform, workspace = self.started("--channel-idle=1")
        busy = platform.take()
        busy.send(READ + "big", BEARER)
        answer = busy.answer()
        answer.exactly(1000)
        idle = platform.take()
        workspace.signal(signal.SIGTERM)
        self.assertEqual(idle.until_closed(), b"")
        self.assertEqual(len(answer.rest()), BIG - 1000)
        workspace.ended_well()
        self.assertTrue(platform.parked.empty())

    def test_workers(self) -> None:
        """
        Each worker keeps its part of the connections.  One that is refused lets the first process
        register; one that is killed is replaced.
        """
        platform = self.platform()
        platform.answers.put(refusal(409, "not_in_poll_mode"))
        workspace = self.workspace(platform, "--workers=2")
        workspace.logged("ready, without a listener")
        parked = [platform.take() for _ in range(4)]
        until(lambda: len(platform.registrations) > 1, "it registers again")
        for connection in parked:
            self.assertEqual(connection.ask(READ + "a.txt", BEARER).body, b"hello a\n")
        extra = [platform.take() for _ in range(2)]
        pid = int(workspace.logged(r"worker 1 is process (\d+)")[1])
        os.kill(pid, signal.SIGKILL)
        workspace.logged("worker 1 was killed")
        closed = 0
        for connection in (*parked, *extra):
            connection.socket.setblocking(False)
            try:
                closed += connection.socket.recv(1) == b""
            except BlockingIOError:
                pass
            except ConnectionResetError:  # it had not read the 101
                closed += 1
        self.assertEqual(closed, 3)
        for _ in range(2):
            self.assertEqual(platform.take().ask("/health").status, 200)
        workspace.stop()
