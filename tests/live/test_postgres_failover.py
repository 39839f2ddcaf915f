"""A database that does not exist yet, that is read-only, or that a standby takes over."""

from __future__ import annotations

import json
import shutil
import tempfile
import time

from chatfiles.platform.last_seen import FLUSH_INTERVAL
from tests.live.postgres_case import LATE, RECOVERY, PostgresCase, PostgresPair
from tests.live.processes import SOAK, Role, until
from tests.live.rawhttp import Response, fetch
from tests.support.postgres_server import PASSWORD, Server, server

UNAVAILABLE = (503, "platform_unavailable")


class FailoverCase(PostgresCase):
    """Requests that write, besides those that read."""

    def write(self) -> Response:
        """:return: the response to an admin who makes a workspace."""
        return self.pair.as_admin("POST", "/workspaces", b"{}")

    def beat(self) -> int:
        """:return: the status of a heartbeat."""
        body = json.dumps({"workspace_id": self.pair.id}).encode()
        url, fields = self.pair.platform.url, self.pair.bearer
        return fetch(url, "/registry/heartbeat", fields, method="POST", body=body).status

    def only_reads(self) -> None:
        """Nothing is written, and everything else continues."""
        self.served(self.cold(20))
        for _ in range(5):
            refused = self.write()
            self.assertEqual((refused.status, refused.json["code"]), UNAVAILABLE)
        self.assertEqual(self.beat(), 200)
        self.assertTrue(self.ready())

    def writes(self) -> float:
        """Wait until the platform can write again."""
        began = time.monotonic()
        until(lambda: self.write().status == 201, "written again", RECOVERY + LATE)
        return time.monotonic() - began

    def new_platform(self, url: str) -> Role:
        """:return: another node."""
        base = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, base)
        told = {"CHATFILES_ADMIN_TOKEN": self.pair.admin, "CHATFILES_DATABASE": url}
        options = (f"--state-dir={base}", "--upstream-allow=127.0.0.0/8", *self.pair.node_options())
        node = Role("platform", *options, told=told)
        node.secrets.update((PASSWORD, self.pair.admin))
        self.addCleanup(node.kill)
        return node

    def download(self, node: Role) -> Response:
        """:return: the response of *node* to a download of the pair's workspace."""
        return fetch(node.url, self.target(self.pair.id), self.pair.bearer)


class StartTests(FailoverCase):
    """The start of a node."""

    def test_down_at_the_start(self) -> None:
        """
        A node starts without its database, is not ready, and connects as soon as the database is
        available.
        """
        server().stop()
        try:
            node = self.new_platform(self.database.url)
            node.logged(
                r"/ready (is still 503 \(platform datastore|does not respond yet).* ready on "
            )
            self.assertEqual(fetch(node.url, "/health").status, 200)
            self.assertEqual(fetch(node.url, "/ready").status, 503)
            self.unavailable(self.download(node))
        finally:
            server().start()
        until(lambda: self.download(node).status == 200, "it is found", RECOVERY + LATE)
        self.assertEqual(fetch(node.url, "/ready").status, 200)
        node.stop()

    def test_read_only(self) -> None:
        """While the database is read-only, requests that only read are served."""
        self.addCleanup(self.read_only, False)
        with self.watched():
            self.read_only(True)
            self.database.terminate()
            self.is_ready()
            self.only_reads()
            self.read_only(False)
            self.assertEqual(self.write().status, 201)
        if SOAK:  # heartbeats received meanwhile are stored later
            heard = "SELECT last_heartbeat_at > now() - interval '1 hour' FROM workspaces"
            one = f"{heard} WHERE id = '{self.pair.id}'"
            since = time.monotonic()
            self.database.execute("UPDATE workspaces SET last_heartbeat_at = NULL")
            until(lambda: self.database.execute(one) == [(True,)], "noted", FLUSH_INTERVAL + LATE)
            self.assertLess(time.monotonic() - since, FLUSH_INTERVAL + LATE)

    def read_only(self, on: bool) -> None:
        name = self.database.name
        server().execute(
            f"ALTER DATABASE {name} SET default_transaction_read_only = on"
            if on
            else f"ALTER DATABASE {name} RESET default_transaction_read_only"
        )


class StandbyTests(FailoverCase):
    """The server fails, and its standby takes over after a while."""

    standby: Server

    @classmethod
    def make_pair(cls) -> PostgresPair:
        if not server().own:
            return PostgresPair()
        cls.standby = server().standby()
        return PostgresPair(cls.standby)

    def test_promoted(self) -> None:
        """
        Before the standby is promoted, requests that read are served; a node whose URL requires a
        writable server waits. Afterwards everything works again, and a revoked token is refused
        within a second.
        """
        self.addCleanup(self.standby.end)  # type: ignore[attr-defined]
        strict = self.new_platform(self.pair.url + "?target_session_attrs=read-write")
        self.assertEqual(self.download(strict).status, 200)
        self.has_caught_up()
        with self.watched() as note:
            server().stop()
            try:
                note("served by the standby after", self.recovers())
                self.only_reads()
                self.assertEqual(fetch(strict.url, "/ready").status, 503)
                self.unavailable(self.download(strict))
                self.standby.execute("SELECT pg_promote()")
                note("written again after", self.writes())
                until(lambda: self.download(strict).status == 200, "found", RECOVERY + LATE)
                self.revoked_everywhere(strict)
            finally:
                server().start()
        strict.stop()

    def has_caught_up(self) -> None:
        """Wait until the standby has replayed what the server has written."""
        ((position,),) = server().execute("SELECT pg_current_wal_lsn()")
        caught_up = "SELECT pg_last_wal_replay_lsn() >= %s"
        until(lambda: self.standby.execute(caught_up, (position,)) == [(True,)], "replicated")

    def revoked_everywhere(self, other: Role) -> None:
        """A token that both nodes have cached, and that is revoked by hand, is refused by both."""
        nodes = (self.pair.platform, other)
        made, token = self.pair.add(self.pair.workspace.url)
        other.secrets.add(token)
        target, fields = f"/workspaces/{made}", {"Authorization": f"Bearer {token}"}
        for node in nodes:
            self.assertEqual(fetch(node.url, target, fields).status, 200)
        self.standby.execute(
            "UPDATE workspace_auth_tokens SET revoked_at = now() WHERE workspace_id = %s",
            (made,),
            database=self.database.name,
        )
        for node in nodes:
            url = node.url
            until(lambda url=url: fetch(url, target, fields).status == 401, "refused", 1 + LATE)  # type: ignore[misc]
