"""
reference/channel, "Several nodes": two platforms that share a PostgreSQL, and workspaces that are
connected to one of them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
import threading
import uuid

from tests.live.balancer import Balancer
from tests.live.cluster import Cluster
from tests.live.fake_workspace import FakeWorkspace, answer
from tests.live.many import ask_many
from tests.live.processes import LiveCase, until
from tests.live.rawhttp import Connection, Incomplete, Malformed, Response, fetch
from tests.support.certificates import root_authority
from tests.support.patience import PATIENCE
from tests.support.ports import free_port

LARGE = 8 << 20


class NodesCluster(Cluster):
    """Two nodes that reach each other."""

    def __init__(self) -> None:
        self.ports, self.metrics = [free_port(), free_port()], free_port()
        super().__init__()

    def options(self, number: int) -> list[str]:
        port = self.ports[number]
        listen = f"--node-listen=tcp:{port}:interface=127.0.0.1"
        metrics = [f"--metrics-listen=tcp:{self.metrics}:interface=127.0.0.1"]
        return [
            f"--node-url=http://127.0.0.1:{port}",
            listen,
            "--connect-timeout=4",
            *(metrics if number == 1 else []),
        ]


class NodesCase(LiveCase):
    """A workspace of its own for each test."""

    pair: NodesCluster

    @classmethod
    def make_pair(cls) -> NodesCluster:
        return NodesCluster()

    def setUp(self) -> None:
        super().setUp()
        self.nodes = self.pair.nodes
        self.workspace_id, self.token = self.pair.add(None, delivery_mode="poll")
        self.files = {"/workspace/a.txt": b"from afar\n", "/workspace/large": os.urandom(LARGE)}

    def fake(self, number: int, count: int = 1) -> FakeWorkspace:
        """:return: the workspace, connected to one of the nodes."""
        fake = FakeWorkspace(self.nodes[number].url, self.workspace_id, self.token, self.files)
        self.addCleanup(fake.close)
        self.pair.hide(fake.register().json["platform_inbound_secret"])
        fake.park(count)
        return fake

    def target(self, path: str = "/workspace/a.txt") -> str:
        """:return: the download of a file."""
        return f"/workspaces/{self.workspace_id}/chat/download?path={path}"

    def get(self, number: int, path: str = "/workspace/a.txt") -> Response:
        """:return: the response of one of the nodes to a download."""
        bearer = {"Authorization": f"Bearer {self.token}"}
        return fetch(self.nodes[number].url, self.target(path), bearer)

    def told(self, number: int) -> None:
        """Wait until a node knows where the workspace is."""
        until(lambda: self.get(number).status == 200, "the other node knows")


class RelayTests(NodesCase):
    """Transfers through another node."""

    def test_download(self) -> None:
        """A node without a connection asks the one that has some, and the log says so."""
        fake, since = self.fake(0), self.nodes[1].mark()
        self.told(1)
        self.nodes[1].logged(
            rf"{self.workspace_id} download 200 10 bytes .* via relay$", since=since
        )
        self.assertEqual(self.get(1, "/workspace/large").body, self.files["/workspace/large"])
        self.assertEqual(self.get(1, "/workspace/none").status, 404)
        self.assertEqual(fake.requests[-1][1]["host"], "workspace.invalid")
        since = self.nodes[0].mark()
        self.assertEqual(self.get(0).status, 200)
        self.nodes[0].logged(
            rf"{self.workspace_id} download 200 10 bytes .* via channel$", since=since
        )

    def test_kept(self) -> None:
        """The next requests use the same connection; the one after a while uses another."""
        fake = self.fake(0, 2)
        self.told(1)

        def reuses() -> bool:
            before = fake.parked
            statuses = [self.get(1).status for _ in range(8)]
            self.assertEqual(statuses, [200] * 8)
            return fake.parked - before < 4

        until(reuses, "most requests use a connection that is there")
        until(lambda: self.metric("relay", "idle") == 0, "it is closed")
        self.assertEqual(self.get(1).status, 200)

    def metric(self, kind: str, state: str) -> float:
        """:return: the number of connections of the second node."""
        page = fetch(f"http://127.0.0.1:{self.pair.metrics}", "/metrics").body.decode()
        pattern = rf'chatfiles_upstream_connections{{kind="{kind}",state="{state}"}} (\S+)'
        (count,) = re.findall(pattern, page)
        return float(count)

    def test_upload(self) -> None:
        """An upload goes through another node as it arrives."""
        fake = self.fake(0, 3)
        self.told(1)
        content = os.urandom(3 << 20)
        head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        response = fetch(
            self.nodes[1].url,
            f"/workspaces/{self.workspace_id}/chat/uploads",
            {
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "multipart/form-data; boundary=b",
            },
            method="POST",
            body=head + content + b"\r\n--b--\r\n",
        )
        self.assertEqual(response.status, 200, response.body)
        self.assertIn(content, fake.requests[-1][2])

    def test_busy(self) -> None:
        """A workspace that is busy at the other node is 503 here, too."""
        fake = self.fake(0)
        self.told(1)
        released = threading.Event()
        self.addCleanup(released.set)
        fake._replaces = False
        until(lambda: len(fake.connections) == 1, "one is left")
        fake.serve = lambda request: (released.wait(PATIENCE), fake.respond(request))[1]
        running = threading.Thread(target=self.get, args=(0,))
        running.start()
        count = len(fake.requests)
        until(lambda: len(fake.requests) > count, "the connection is busy")
        response = self.get(1)
        self.assert_error(response, 503, "workspace is busy", code="workspace_busy")
        released.set()
        running.join()

    def test_offline(self) -> None:
        """A workspace that has left is 503 at both."""
        fake = self.fake(0)
        self.told(1)
        fake.close()
        for number in (0, 1):
            response = self.get(number)
            self.assert_error(response, 503, "workspace is not connected", code="workspace_offline")

    def test_moves(self) -> None:
        """A request goes where the workspace is now."""
        for number in (0, 1, 0):
            fake = self.fake(number)
            for asked in (0, 1):
                self.told(asked)
            fake.close()
            until(lambda fake=fake: not fake.connections, "it has left")  # type: ignore[misc]

    def test_no_statement(self) -> None:
        """A warm request runs no statement."""
        self.fake(0, 2)
        self.told(1)
        before = self.statements()
        for _ in range(20):
            self.assertEqual(self.get(1).status, 200)
        self.assertLess(self.statements() - before, 10)

    def statements(self) -> float:
        """:return: the numbers of look-ups in the database by the second node."""
        page = fetch(f"http://127.0.0.1:{self.pair.metrics}", "/metrics").body.decode()
        names = "workspace|token|channel_places"
        counts = re.findall(rf'chatfiles_registry_seconds_count{{.*"(?:{names})"}} (\S+)', page)
        self.assertEqual(len(counts), 3)
        return sum(map(float, counts))


class SecureCluster(NodesCluster):
    """Two nodes that reach each other with TLS, with a private certification authority."""

    def __init__(self) -> None:
        self.files = tempfile.mkdtemp(prefix="chatfiles-live-")
        root = root_authority()
        os.mkdir(f"{self.files}/node")
        root.issue("127.0.0.1").write(f"{self.files}/node/default")
        with open(f"{self.files}/root.crt", "wb") as file:
            file.write(root.pem)
        super().__init__()

    def discard(self) -> None:
        super().discard()
        shutil.rmtree(self.files, ignore_errors=True)

    def options(self, number: int) -> list[str]:
        port = self.ports[number]
        return [
            *(each for each in super().options(number) if not each.startswith("--node-")),
            f"--node-url=https://127.0.0.1:{port}",
            f"--node-listen=chatfiles-tls:{port}:interface=127.0.0.1:certificate={self.files}/node",
            f"--upstream-ca={self.files}/root.crt",
        ]


class SecureRelayTests(NodesCase):
    """The same transfers with TLS between the nodes."""

    @classmethod
    def make_pair(cls) -> NodesCluster:
        return SecureCluster()

    def test_download(self) -> None:
        """A node presents the secret only to one whose certificate is valid."""
        self.fake(0)
        self.told(1)
        for _ in range(3):
            self.assertEqual(self.get(1, "/workspace/large").body, self.files["/workspace/large"])
        with Connection(f"http://127.0.0.1:{self.pair.ports[0]}") as plain:
            plain.ask("GET", f"/internal/channel/{self.workspace_id}")
            self.assertRaises((Incomplete, Malformed, OSError), plain.response)


class OrderTests(NodesCase):
    """``GET /internal/channel/{workspace_id}``: what nodes ask each other."""

    def relay(self, secret: str, hops: str | None = "1", upgrade: str = "ptth-relay") -> Response:
        """:return: the response to a relay that is refused."""
        connection = Connection(f"http://127.0.0.1:{self.pair.ports[0]}")
        self.addCleanup(connection.close)
        lines = [
            f"GET /internal/channel/{self.workspace_id} HTTP/1.1",
            "Host: a",
            f"Authorization: Bearer {secret}",
            "Connection: upgrade",
            f"Upgrade: {upgrade}",
            *([] if hops is None else [f"Chatfiles-Hops: {hops}"]),
        ]
        connection.send("\r\n".join([*lines, "", ""]).encode())
        return connection.response()

    def test_order(self) -> None:
        """The secret, the hops, the upgrade, and whether there is a connection, in this order."""
        fake = self.fake(1)
        secret = fake.register().json["platform_inbound_secret"]
        fake.close()
        for wrong in ("wrong", self.token, self.pair.admin):
            self.assertEqual(self.relay(wrong, None, "x").status, 401)
        for hops in (None, "0", "2", "1, 1", "one"):
            self.assertEqual(self.relay(secret, hops, "x").status, 400, hops)
        for upgrade in ("x", "ptth", "ptth, ptth-relay"):
            response = self.relay(secret, upgrade=upgrade)
            self.assertEqual((response.status, response["upgrade"]), (426, "ptth-relay"), upgrade)
        response = self.relay(secret)
        self.assertEqual((response.status, response.json["code"]), (503, "workspace_offline"))

    def test_unknown(self) -> None:
        """A workspace that does not exist is no other answer than a wrong secret."""
        self.workspace_id = str(uuid.uuid4())
        self.assertEqual(self.relay("wrong").status, 401)
        self.workspace_id = "x"
        self.assertEqual(self.relay("wrong").status, 401)

    def test_not_public(self) -> None:
        """The route is not on the public listener."""
        response = fetch(self.nodes[0].url, f"/internal/channel/{self.workspace_id}")
        self.assert_error(response, 404, "no such route")


class LossTests(NodesCase):
    """Nodes that stop, or are killed."""

    def tearDown(self) -> None:
        for number, node in enumerate(self.nodes):
            if not node.running:
                self.pair.restart(number)

    def test_killed(self) -> None:
        """
        A node that is killed while it relays cuts the transfer; the next request goes where the
        workspace has connected again.
        """
        fake = self.fake(0, 2)
        self.told(1)
        fake.serve = lambda _: answer("200 OK", self.files["/workspace/large"])[: LARGE // 2]
        connection = self.connect(self.nodes[1])
        connection.ask("GET", self.target(), {"Authorization": f"Bearer {self.token}"})
        running = connection.answer("GET")
        running.exactly(LARGE // 4)
        self.nodes[0].kill()
        with self.assertRaises(Incomplete):
            running.rest()
        again = self.fake(1)
        self.assertEqual(self.get(1).status, 200)
        again.close()

    def test_drained(self) -> None:
        """Of 1000 downloads while a node drains, none fails; the workspace connects elsewhere."""
        fake = self.fake(0, 8)
        fake.keeps, fake.elsewhere = 8, self.nodes[1].url
        self.told(1)
        self.drain(self.nodes[1].url)

    def test_drained_behind_balancer(self) -> None:
        """The same if clients and the workspace use a balancer, which notices after a while."""
        balancer = Balancer(
            "haproxy", self.pair.addresses(), {"check inter 1s fall 2": "check inter 200ms fall 2"}
        )
        self.addCleanup(balancer.stop)
        fake = self.fake(0, 0)
        fake.keeps, fake.url, fake.elsewhere = 8, balancer.url, balancer.url
        until(lambda: fetch(balancer.url, "/ready").status == 200, "it is used")
        fake.park(8)
        self.told(0)
        self.told(1)
        self.drain(balancer.url)

    def drain(self, url: str) -> None:
        """Stop the first node during 1000 downloads."""
        questions = [(self.target(), self.token)] * 20
        outcomes = []
        for number in range(50):
            if number == 10:
                self.nodes[0].signal(signal.SIGTERM)
            outcomes += ask_many(url, questions)
        statuses = [outcome.response.status for outcome in outcomes]
        self.assertEqual((len(statuses), set(statuses)), (1000, {200}))
        self.nodes[0].ended_well()
