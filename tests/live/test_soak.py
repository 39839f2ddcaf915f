"""
Faults of all kinds under a mixed load: each one once, or with ``CHATFILES_SOAK=1`` at random for
ten minutes.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import ssl
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial

from twisted.trial.unittest import SkipTest

from tests.live.metrics_page import METRICS, metric, page_of
from tests.live.mixed_load import OPERATIONS, MixedLoad, Place
from tests.live.processes import SOAK, LiveCase, Pair, Role, until
from tests.live.rawhttp import Connection, fetch
from tests.live.role import listen_on
from tests.live.rotating import SecretWorkspace
from tests.live.several_nodes import Hammer
from tests.live.upload_client import directory_of, report
from tests.support.certificates import root_authority
from tests.support.postgres_server import PASSWORD, Database, server

SECONDS = 600.0 if SOAK else 0.0
#: How many successive requests of each client are right once a fault is over.
ENOUGH = 10 if SOAK else 4
#: Seconds that roles wait for headers, and for progress.
WAIT = 4.0
WRITABLE = "--writable=/workspace/out"
ROOT = root_authority()
TRUSTING = ssl.create_default_context(cadata=ROOT.pem.decode())
#: Connections and threads that a role may have, and bytes, more than at first.
MORE = 6
GROWTH = 48 << 20


class SoakPair(Pair):
    """A platform with a PostgreSQL and a certificate, and a workspace."""

    def __init__(self) -> None:
        if not server().own:
            raise SkipTest("needs a PostgreSQL that may be stopped")
        self.postgres = Database(server())
        self._certificates = tempfile.mkdtemp(prefix="chatfiles-live-")
        self.renew()
        super().__init__(
            both=[METRICS, f"--header-timeout={WAIT}", f"--idle-timeout={WAIT}"],
            platform=[
                listen_on(0),
                f"--listen=chatfiles-tls:0:interface=127.0.0.1:certificate={self._certificates}",
                f"--registry-timeout={WAIT}",
            ],
            workspace=[WRITABLE],
            told={"CHATFILES_DATABASE": self.postgres.url},
        )
        self.hide(PASSWORD, self.postgres.url.rpartition("@")[0])

    def renew(self) -> None:
        """Replace the certificate."""
        ROOT.issue("127.0.0.1").write(os.path.join(self._certificates, "default"))

    def discard(self) -> None:
        super().discard()
        shutil.rmtree(self._certificates, ignore_errors=True)


class State:
    """
    What a role holds while no request runs.

    :param kept: connections between the roles that are kept for later requests.
    """

    def __init__(self, role: Role, kept: int) -> None:
        self.opened = Counter(path.partition(":")[0] for path in role.descriptors())
        self.connections = max(0, self.opened.pop("socket", 0) - kept)
        self.threads = len(os.listdir(f"/proc/{role.pid}/task"))
        self.memory = role.forget_peak()

    def leaks(self, before: State) -> dict[str, object]:
        """:return: what it should not hold, compared with a state before."""
        found: dict[str, object] = {
            "opened": self.opened - before.opened,
            "connections": max(0, self.connections - before.connections - MORE),
            "threads": max(0, self.threads - before.threads - MORE),
            "memory": max(0, self.memory - before.memory - GROWTH),
        }
        return {what: much for what, much in found.items() if much}

    def __repr__(self) -> str:
        megabytes = self.memory >> 20
        return f"{self.connections} connections, {self.threads} threads, {megabytes} MiB"


class SoakTests(LiveCase):
    """One workspace that freezes, and one that is killed and changes its secret."""

    pair: SoakPair

    @classmethod
    def make_pair(cls) -> Pair:
        return SoakPair()

    def setUp(self) -> None:
        super().setUp()
        self.chance = random.Random(int(os.environ.get("CHATFILES_SEED", "13")))
        os.mkdir(self.pair.at("other"))
        self.other = SecretWorkspace(self.pair, "other", [METRICS, WRITABLE])
        self.other.start()
        self.addCleanup(self.other.stop)
        until(self.is_served, "it is registered")
        self.places = [
            Place(self.pair.id, self.pair.token, self.pair.at("workspace")),
            Place(self.other.id, self.other.token, self.pair.at("other")),
        ]
        for place in self.places:
            place.fill(self.chance)
        secure = self.pair.platform.logged(r"ready on (https://\S+)")[1]
        ways = [partial(Connection, self.pair.platform.url), partial(self.tls, secure)]
        self.loads = [
            MixedLoad(place, way, self.pair.platform.secrets, random.Random(self.chance.random()))
            for place in self.places
            for way in ways
        ]

    def tls(self, url: str) -> Connection:
        """:return: a connection that verifies the platform."""
        connection = Connection(url)
        connection.socket = TRUSTING.wrap_socket(connection.socket, server_hostname="127.0.0.1")
        return connection

    def is_served(self) -> bool:
        """:return: whether the other workspace is served."""
        answer = fetch(self.pair.platform.url, self.other.target, self.other.bearer)
        return answer.status != 503

    # -- the faults

    def kill(self) -> None:
        """The workspace is killed, and started again."""
        self.other.stop()
        self.see("workspace_unreachable")
        self.other.start()

    def freeze(self) -> None:
        """The other workspace hangs for longer than anything waits."""
        self.pair.workspace.signal(signal.SIGSTOP)
        try:
            self.see("workspace_timeout")
        finally:
            self.pair.workspace.signal(signal.SIGCONT)

    def restart_database(self) -> None:
        """The database is unavailable until the platform forgets what it knows."""
        server().stop()
        try:
            self.see("platform_unavailable")
        finally:
            server().start()

    def renew(self) -> None:
        """The certificate is renewed."""
        mark = self.pair.platform.mark()
        self.pair.renew()
        self.pair.platform.signal(signal.SIGHUP)
        self.pair.platform.logged("read again", since=mark)

    def rotate(self) -> None:
        """The secret is rotated; the rotation may end later."""
        target = f"/workspaces/{self.other.id}/secret/rotate"
        self.assertEqual(self.pair.as_admin("POST", target).status, 202)
        self.is_rotated()

    def see(self, code: str) -> None:
        """Wait until a client has received an error."""
        before = self.refused()[code]
        until(lambda: self.wrong() or self.refused()[code] > before, code)

    # -- what clients and roles tell

    def refused(self) -> Counter[str]:
        """:return: the errors that clients have received."""
        return sum((load.refused for load in self.loads), Counter[str]())

    def wrong(self) -> list[str]:
        """:return: what clients have received and should not have."""
        return [text for hammer in self.hammers for text in hammer.wrong]

    def is_rotated(self) -> bool:
        """:return: whether no rotation is under way; all secrets are kept from the logs."""
        statement = "select platform_inbound_secret, next_inbound_secret from workspaces"
        for secrets in self.pair.postgres.execute(statement):
            self.pair.hide(*filter(None, secrets))
        self.other.role.secrets |= self.pair.platform.secrets
        return not any(following for _, following in self.pair.postgres.execute(statement))

    def settle(self) -> None:
        """Wait until all requests are served again."""
        platform = self.pair.platform
        until(lambda: fetch(platform.url, "/ready").status == 200, "the platform is ready")
        for load in self.loads:
            load.streak = 0
        until(
            lambda: self.wrong() or all(load.streak >= ENOUGH for load in self.loads),
            "each client is served",
        )
        self.assertEqual(self.wrong(), [])

    def under_load(self, faults: list[str], seconds: float = 0.0) -> None:
        """All of *faults*, and then some of them until so many seconds are over."""
        end = time.monotonic() + seconds
        with ExitStack() as stack:
            self.hammers = [stack.enter_context(Hammer(load)) for load in self.loads]
            self.settle()
            for fault in faults:
                self.suffer(fault)
            while time.monotonic() < end:
                self.suffer(self.chance.choice(faults))
        self.assertEqual(self.wrong(), [])

    def suffer(self, fault: str) -> None:
        """A fault, until all requests are served again; none is refused if nothing fails."""
        before = self.refused()
        getattr(self, fault)()
        self.settle()
        if fault in ("renew", "rotate"):
            self.assertEqual(self.refused(), before, fault)

    def states(self) -> list[State]:
        """:return: the states of the roles that run all the time, once no request runs."""
        platform, workspace = self.pair.roles
        for role in (platform, workspace):
            self.is_idle(role)
        name = "chatfiles_upstream_connections"
        until(lambda: metric(platform, name, state="busy") == 0, "no connection is used")
        kept = int(metric(platform, name, state="idle"))
        return [State(platform, kept), State(workspace, kept)]

    def is_idle(self, role: Role) -> None:
        """Wait until a role serves no request."""
        for name in ("chatfiles_transfers_in_progress", "chatfiles_archives_in_progress"):
            until(partial(self.is_zero, role, name), f"{name} of the {role.name} is 0")

    def is_zero(self, role: Role, name: str) -> bool:
        """:return: whether a metric is 0."""
        return metric(role, name) == 0

    # -- the test

    def test_faults(self) -> None:
        """
        Whatever fails, each response that is complete has the right bytes, clients are served
        again, and in the end the roles hold nothing that they did not hold before.
        """
        self.under_load([])
        before = self.states()
        self.assertEqual(self.refused(), Counter())
        self.under_load(["kill", "freeze", "restart_database", "renew", "rotate"], SECONDS)
        after = self.states()
        until(self.is_rotated, "the rotations end")
        leaks = [now.leaks(then) for now, then in zip(after, before, strict=True)]
        right = sum((load.right for load in self.loads), Counter[str]())
        report(f"soak: {dict(right)}; refused {dict(self.refused())}; {before} before, {after} now")
        self.assertEqual(leaks, [{}, {}], (before, after))
        self.assertEqual(len(right), len(OPERATIONS))
        self.check_texts()

    def check_texts(self) -> None:
        """No role has failed, and no secret is in the metrics and in the audit logs."""
        for role in (*self.pair.roles, self.other.role):
            self.is_idle(role)
            self.assertEqual(metric(role, "chatfiles_transfers_total", outcome="internal_error"), 0)
            page = page_of(role)
            self.assertEqual([secret for secret in role.secrets if secret in page], [])
        self.pair.check_logs()
        self.assertNotIn(".part", " ".join(os.listdir(directory_of(self.pair))))
