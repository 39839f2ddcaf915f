"""
reference/channel on a running platform: a workspace that connects by itself, and is never dialled.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Mapping

from tests.live.fake_workspace import UPGRADE, FakeWorkspace, Request, answer, upgrade
from tests.live.platform_case import INVALID_TOKEN, MISSING_TOKEN, PlatformCase
from tests.live.processes import IMPATIENT, Pair, until
from tests.live.rawhttp import Response, fetch
from tests.live.role import listen_on
from tests.support.certificates import write_certificates
from tests.support.patience import PATIENCE
from tests.support.ports import free_port


class ChannelCase(PlatformCase):
    """A workspace of its own for each test."""

    def setUp(self) -> None:
        super().setUp()
        self.fake = self.make_fake()

    def make_fake(self) -> FakeWorkspace:
        """:return: a workspace that has not registered."""
        workspace_id, token = self.pair.add(None, delivery_mode="poll")
        files = {"/workspace/a.txt": b"over a channel\n"}
        fake = FakeWorkspace(self.pair.platform.url, workspace_id, token, files)
        self.addCleanup(fake.close)
        return fake

    def parked(self, count: int = 1) -> FakeWorkspace:
        """:return: the workspace, which has registered and parked so many connections."""
        self.fake.register()
        self.fake.park(count)
        self.pair.hide(self.fake.secret)
        return self.fake

    def get(self, fake: FakeWorkspace | None = None) -> Response:
        """:return: the response to a download."""
        fake = fake or self.fake
        return self.ask(self.target(fake.id), fake.token)

    def put(self, content: bytes = b"abc") -> Response:
        """:return: the response to an upload."""
        body = (
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
            + content
            + b"\r\n--b--\r\n"
        )
        return fetch(
            self.pair.platform.url,
            f"/workspaces/{self.fake.id}/chat/uploads",
            {
                "Authorization": f"Bearer {self.fake.token}",
                "Content-Type": "multipart/form-data; boundary=b",
            },
            method="POST",
            body=body,
        )

    def upgraded(self, fake: FakeWorkspace | None = None) -> socket.socket:
        """:return: a connection that is parked, and that the test serves."""
        fake = fake or self.fake
        connection, head = upgrade(fake.url, fake.token)
        self.addCleanup(connection.close)
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
        return connection

    def slow(self, request: Request) -> bytes:
        """Respond when the test says so."""
        self.released.wait(PATIENCE)
        return self.fake.respond(request)

    def occupied(self) -> tuple[list[Response], threading.Thread]:
        """
        Park one connection, and occupy it with a request.

        :return: the responses, and the thread that waits for the first.
        """
        fake, self.released = self.parked(1), threading.Event()
        self.addCleanup(self.released.set)
        fake._replaces, fake.serve = False, self.slow
        outcomes: list[Response] = []
        first = threading.Thread(target=lambda: outcomes.append(self.get()))
        first.start()
        until(lambda: fake.requests, "the connection is busy")
        return outcomes, first

    def is_closed(self, connection: socket.socket) -> None:
        """The platform closes the connection, and sends no request on it."""
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(connection.recv(1), b"")


class TransferTests(ChannelCase):
    """Requests to a workspace that has connected."""

    def test_download(self) -> None:
        """A download takes a parked connection, and the log says so."""
        fake, since = self.parked(), self.pair.platform.mark()
        response = self.get()
        self.assertEqual((response.status, response.body), (200, b"over a channel\n"))
        ((method, target, _), fields, _) = fake.requests[0]
        self.assertEqual((method, fields["host"]), ("GET", "workspace.invalid"))
        self.assertTrue(target.startswith("/internal/file/read?path="))
        self.assertEqual(fields["authorization"], f"Bearer {fake.secret}")
        self.pair.platform.logged(
            rf"{fake.id} download 200 15 bytes .* complete .* via channel$", since=since
        )

    def test_reused(self) -> None:
        """One connection serves one download after another."""
        fake = self.parked()
        fake._replaces = False
        for _ in range(5):
            self.assertEqual(self.get().status, 200)
        self.assertEqual(len(fake.requests), 5)

    def test_upload(self) -> None:
        """An upload is the last request on its connection."""
        fake = self.parked(3)
        fake._replaces = False
        response = self.put(b"x" * 100_000)
        self.assertEqual(response.status, 200, response.body)
        ((method, _, _), fields, body) = fake.requests[0]
        self.assertEqual((method, fields["connection"]), ("POST", "close"))
        self.assertIn(b"x" * 100_000, body)
        until(lambda: len(fake.connections) == 2, "the connection is closed")

    def test_missing_file(self) -> None:
        """A 404 of the workspace is relayed."""
        self.parked()
        response = self.ask(self.target(self.fake.id, "/workspace/none"), self.fake.token)
        self.assertEqual((response.status, response.error), (404, "file not found"))


class UpgradeTests(ChannelCase):
    """``GET /registry/channel``: who may, and in which form."""

    def ask_for(
        self,
        token: str | None,
        changes: Mapping[str, str | None] = {},
        version: str = "1.1",
        more: bytes = b"",
    ) -> Response:
        """:return: the response to an upgrade with these changes of its headers."""
        fields = {**UPGRADE, "Authorization": None if token is None else f"Bearer {token}"}
        given = {name: value for name, value in {**fields, **changes}.items() if value is not None}
        connection = self.connect(self.pair.platform)
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        head = f"GET /registry/channel HTTP/{version}\r\nHost: a\r\n{lines}\r\n"
        connection.send(head.encode() + more)
        return connection.response()

    def test_accepted(self) -> None:
        """The response says what is spoken from now on, and names the node."""
        self.fake.register()
        connection, head = upgrade(self.fake.url, self.fake.token)
        self.addCleanup(connection.close)
        lines = head.decode().split("\r\n")
        self.assertEqual(lines[0], "HTTP/1.1 101 Switching Protocols")
        fields = dict(line.split(": ", 1) for line in lines[1:-2])
        self.assertEqual(fields["Connection"], "upgrade")
        self.assertEqual((fields["Upgrade"], fields["ALPN"]), ("ptth", "http%2F1.1"))
        self.assertRegex(fields["Chatfiles-Node"], r"\A[0-9a-f-]{36}\Z")
        self.assertNotIn("Transfer-Encoding", fields)

    def test_credentials(self) -> None:
        """Credentials come first: before the form of the request, and the mode."""
        self.fake.register()
        for changes in ({}, {"Upgrade": "websocket"}, {"Content-Length": "0"}):
            response = self.ask_for(None, changes)
            self.assert_error(response, 401, MISSING_TOKEN)
            self.assert_error(self.ask_for("wrong", changes), 401, INVALID_TOKEN)
            response = self.ask_for(self.pair.admin, changes)
            self.assert_error(response, 403, "token does not allow this", code="insufficient_scope")
        made = self.post(f"/workspaces/{self.fake.id}/tokens", {"scopes": ["read", "write"]})
        response = self.ask_for(made.json["token"])
        self.assert_error(response, 403, "token does not allow this")

    def test_upgrade_required(self) -> None:
        """Anything but exactly this upgrade is 426, with the name of the protocol."""
        self.fake.register()
        cases: list[tuple[dict[str, str | None], str]] = [
            ({"Upgrade": None}, "1.1"),
            ({"Connection": None}, "1.1"),
            ({"Connection": "close"}, "1.1"),
            ({"Upgrade": "websocket"}, "1.1"),
            ({"Upgrade": "ptth, websocket"}, "1.1"),
            ({"Upgrade": "ptth-relay"}, "1.1"),
            ({"Upgrade": "ptth/1"}, "1.1"),
            ({}, "1.0"),
        ]
        for changes, version in cases:
            response = self.ask_for(self.fake.token, changes, version)
            self.assert_error(response, 426, "upgrade required", changes, "upgrade_required")
            self.assertEqual(response["upgrade"], "ptth", changes)

    def test_spellings(self) -> None:
        """Names of options and protocols have no case, and lists may have other members."""
        self.fake.register()
        for changes in (
            {"Connection": "Upgrade", "Upgrade": "PTTH"},
            {"Connection": "keep-alive, Upgrade"},
            {"ALPN": None},
        ):
            fields = {**UPGRADE, **changes}
            given = {name: value for name, value in fields.items() if value is not None}
            connection, head = upgrade(self.fake.url, self.fake.token, given)
            connection.close()
            self.assertTrue(head.startswith(b"HTTP/1.1 101 "), changes)

    def test_body(self) -> None:
        """A body with the upgrade is 400; so are bytes behind it, or the connection is closed."""
        self.fake.register()
        for changes, more in (
            ({"Content-Length": "3"}, b"abc"),
            ({"Transfer-Encoding": "chunked"}, b"0\r\n\r\n"),
        ):
            response = self.ask_for(self.fake.token, changes, more=more)
            self.assertEqual((response.status, response.json["code"]), (400, "malformed_request"))
        connection, head = upgrade(self.fake.url, self.fake.token, more=b"HTTP/1.1 200 OK\r\n")
        self.addCleanup(connection.close)
        self.assertTrue(head.startswith(b"HTTP/1.1 400 "), head)

    def test_push_mode(self) -> None:
        """A workspace that the platform dials may not connect."""
        workspace_id, token = self.pair.add("http://127.0.0.1:9")
        response = self.ask_for(token)
        self.assert_error(response, 409, "workspace is in push mode", code="not_in_poll_mode")
        fake = FakeWorkspace(self.pair.platform.url, workspace_id, token, {})
        self.pair.hide(fake.register().json["platform_inbound_secret"])
        self.assertIsNone(self.pair.as_admin("GET", f"/workspaces/{workspace_id}").json["url"])
        self.upgraded(fake)

    def test_removed(self) -> None:
        """The token of a removed workspace is not valid."""
        self.fake.register()
        self.pair.as_admin("DELETE", f"/workspaces/{self.fake.id}")
        self.assert_error(self.ask_for(self.fake.token), 401, INVALID_TOKEN)

    def test_too_many(self) -> None:
        """A workspace may park 16 connections, whether or not they are being asked for life."""
        self.fake.register()
        parked = [self.upgraded() for _ in range(16)]
        response = self.ask_for(self.fake.token)
        self.assert_error(response, 429, "too many parked connections", code="too_many_channels")
        parked[0].close()
        until(lambda: upgrade(self.fake.url, self.fake.token)[1][9:12] == b"101", "room again")

    def test_other_methods(self) -> None:
        """Other methods are 405."""
        response = fetch(self.pair.platform.url, "/registry/channel", method="POST", body=b"")
        self.assertEqual((response.status, response["allow"]), (405, "GET, HEAD"))


class ConnectionTests(ChannelCase):
    """Which connection a request gets."""

    def test_never(self) -> None:
        """A workspace that never connected is 422, as ever."""
        self.fake.register()
        text = "workspace has no callback URL — download requires push-mode + a public URL"
        self.assert_error(self.get(), 422, text)

    def test_offline(self) -> None:
        """A workspace that was connected, and is not, is 503, with the time it was."""
        fake = self.parked(2)
        self.assertEqual(self.get().status, 200)
        fake.close()
        until(lambda: not fake.connections, "the connections are closed")
        for response in (self.get(), self.put()):
            body = self.assert_error(
                response, 503, "workspace is not connected", code="workspace_offline"
            )
            self.assertEqual(body["retry_after_seconds"], 5)
            self.assertRegex(body["detail"], r"\Alast seen 20\d\d-\d\d-\d\dT[\d:]+Z\Z")
        quick = any(self.seconds_of_503() < 4.0 for _ in range(5))
        self.assertTrue(quick, "it is not waited for again and again")

    def seconds_of_503(self) -> float:
        """:return: how long a download takes that is 503."""
        began = time.monotonic()
        self.assertEqual(self.get().status, 503)
        return time.monotonic() - began

    def test_busy(self) -> None:
        """A request for which no connection becomes free is 503."""
        outcomes, first = self.occupied()
        response = self.get()
        self.assert_error(response, 503, "workspace is busy", code="workspace_busy")
        self.assertEqual(response["retry-after"], "1")
        self.released.set()
        first.join()
        self.assertEqual([each.status for each in outcomes], [200])

    def test_stale(self) -> None:
        """A download that finds its connection dead is asked again on another."""
        fake = self.parked(1)
        fake._replaces = False
        dying = self.upgraded()  # the newest one

        def die() -> None:
            dying.recv(4096)
            dying.close()

        served = threading.Thread(target=die)
        served.start()
        self.assertEqual(self.get().status, 200)
        served.join()
        self.assertEqual(len(fake.requests), 1)

    def test_upload_asks_first(self) -> None:
        """An upload takes a connection on which the workspace has just responded, or asks first."""
        fake = self.parked(1)
        fake._replaces = False
        time.sleep(2.1)
        self.assertEqual(self.put().status, 200)
        self.assertEqual(fake.checks, 1)

    def test_revoked(self) -> None:
        """A revoked token closes what is parked, and lets a transfer end."""
        fake, self.released = self.parked(1), threading.Event()
        self.addCleanup(self.released.set)
        fake._replaces, fake.serve = False, self.slow
        outcomes: list[Response] = []
        other = self.post(f"/workspaces/{fake.id}/tokens", {"scopes": ["read"]}).json["token"]
        target = self.target(fake.id)
        running = threading.Thread(target=lambda: outcomes.append(self.ask(target, other)))
        running.start()
        until(lambda: fake.requests, "the connection is busy")
        idle = self.upgraded()
        (mine,) = [
            row["id"]
            for row in self.pair.as_admin("GET", f"/workspaces/{fake.id}/tokens").json["tokens"]
            if fake.token.startswith(row["prefix"])
        ]
        self.pair.as_admin("DELETE", f"/workspaces/{fake.id}/tokens/{mine}")
        self.is_closed(idle)
        self.released.set()
        running.join()
        self.assertEqual([each.status for each in outcomes], [200])
        until(lambda: not fake.connections, "it is closed after the transfer")

    def test_workspace_removed(self) -> None:
        """The connections of a removed workspace are closed, and those of another are not."""
        self.fake.register()
        idle, other = self.upgraded(), self.make_fake()
        other.register()
        other.park()
        self.pair.as_admin("DELETE", f"/workspaces/{self.fake.id}")
        self.is_closed(idle)
        self.assert_error(self.get(), 401, INVALID_TOKEN)
        self.assertEqual(self.get(other).status, 200)

    def test_two_sources(self) -> None:
        """Each connection belongs to the workspace of its token."""
        other = self.make_fake()
        other.files = {"/workspace/a.txt": b"the other one\n"}
        other.register()
        other.park(2)
        self.parked(2)
        self.assertEqual(self.get().body, b"over a channel\n")
        self.assertEqual(self.get(other).body, b"the other one\n")


class HostileTests(ChannelCase):
    """Workspaces that do not keep to the rules."""

    def test_unasked(self) -> None:
        """Bytes that no request asked for close the connection, and are nobody's response."""
        fake = self.parked(1)
        fake._replaces = False
        hostile = self.upgraded()
        hostile.sendall(answer("200 OK", b"EVIL"))
        self.is_closed(hostile)
        self.assertEqual(self.get().body, b"over a channel\n")

    def test_second_answer(self) -> None:
        """A second response behind the first is nobody's response."""
        fake = self.parked(1)
        fake._replaces = False
        fake.serve = lambda _: answer("200 OK", b"one") + answer("200 OK", b"EVIL")
        self.assertEqual(self.get().body, b"one")
        until(lambda: not fake.connections, "it is closed")
        fake.serve = fake.respond
        fake.park()
        self.assertEqual(self.get().body, b"over a channel\n")

    def test_no_http(self) -> None:
        """What is no response is 502, and closes the connection."""
        fake = self.parked(1)
        fake._replaces = False
        fake.serve = lambda _: b"SSH-2.0-x\r\n\r\n"
        self.assert_error(self.get(), 502, "workspace answered badly")
        until(lambda: not fake.connections, "it is closed")

    def test_smuggled_upgrade(self) -> None:
        """A workspace cannot turn the connection round again."""
        fake = self.parked(1)
        fake._replaces = False
        fake.serve = lambda _: b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: ptth\r\n\r\n"
        self.assert_error(self.get(), 502, "workspace answered badly")


class PatientTests(ChannelCase):
    """Requests that wait for a connection for a long time."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(platform=[f"--connect-timeout={PATIENCE}"])

    def test_wait(self) -> None:
        """Requests for which there is no connection wait for one."""
        outcomes, first = self.occupied()
        waiting = [threading.Thread(target=lambda: outcomes.append(self.get())) for _ in range(3)]
        for each in waiting:
            each.start()
        self.released.set()
        for each in (first, *waiting):
            each.join()
        self.assertEqual([each.status for each in outcomes], [200] * 4)

    def test_reconnected(self) -> None:
        """A request waits for a workspace that has just lost its connections."""
        fake = self.parked(1)
        connection = next(iter(fake.connections))
        fake._replaces = False
        connection.shutdown(socket.SHUT_RDWR)
        until(lambda: not fake.connections, "the connection is closed")
        timer = threading.Timer(0.5, fake.park)
        timer.start()
        self.assertEqual(self.get().status, 200)
        timer.join()


class SilentTests(ChannelCase):
    """Workspaces that say nothing."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(both=[f"--header-timeout={IMPATIENT}", "--connect-timeout=3"])

    def test_silent(self) -> None:
        """A workspace that never responds is 504, and holds up no other."""
        fake = self.parked(2)
        fake.serve = lambda _: b""
        outcomes: list[Response] = []
        running = threading.Thread(target=lambda: outcomes.append(self.get()))
        running.start()
        until(lambda: fake.requests, "it is asked")
        other = self.make_fake()
        other.register()
        other.park()
        self.assertEqual(self.get(other).status, 200)
        running.join()
        self.assert_error(outcomes[0], 504, "workspace did not answer")

    def test_dropped(self) -> None:
        """A download on a connection that drops everything is asked again on another."""
        fake = self.parked(1)
        fake._replaces = False
        silent = self.upgraded()  # the newest one; nobody reads it
        self.assertEqual(self.get().status, 200)
        self.assertEqual(len(fake.requests), 1)
        self.assertTrue(silent.recv(4096).startswith(b"GET /internal/"))


class TLSTests(ChannelCase):
    """A workspace that connects through TLS."""

    @classmethod
    def make_pair(cls) -> Pair:
        directory = tempfile.mkdtemp(prefix="chatfiles-tls-")
        write_certificates(directory)
        files = f"privateKey={directory}/key.pem:certKey={directory}/cert.pem"
        listen = f"--listen=ssl:{free_port()}:interface=127.0.0.1:{files}"
        pair = Pair(platform=[listen_on(0), listen])
        shutil.rmtree(directory)
        return pair

    def setUp(self) -> None:
        super().setUp()
        self.fake.register()
        self.pair.hide(self.fake.secret)
        self.fake.url = self.pair.platform.logged(r"ready on (https:\S+)")[1]

    def test_transfers(self) -> None:
        """Downloads and uploads, small and large, one after the other."""
        large = os.urandom(3 << 20)
        self.fake.files["/workspace/large"] = large
        self.fake.park(2)
        for _ in range(3):
            self.assertEqual(self.get().body, b"over a channel\n")
            response = self.ask(self.target(self.fake.id, "/workspace/large"), self.fake.token)
            self.assertEqual(response.body, large)
        self.assertEqual(self.put(large).status, 200)
        self.assertIn(large, self.fake.requests[-1][2])

    def test_closed(self) -> None:
        """The end of a connection is noticed, and so is that of a revoked token."""
        self.fake.park(1)
        self.assertEqual(self.get().status, 200)
        until(lambda: self.fake.connections, "it is parked")
        self.fake._replaces = False
        self.pair.as_admin("DELETE", f"/workspaces/{self.fake.id}")
        until(lambda: not self.fake.connections, "it is closed")
