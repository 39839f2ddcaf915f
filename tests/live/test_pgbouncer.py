"""
A platform that reaches PostgreSQL through PgBouncer: session mode changes nothing; in transaction
mode notifications get lost, so that nothing may be cached.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live.processes import Role, until
from tests.live.rawhttp import fetch
from tests.support.ports import free_port
from tests.support.postgres_server import PASSWORD, USER, Database, server

ADMIN = "an-admin-token-for-the-node"
BINARY = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

SETTINGS = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {directory}/users
pool_mode = {mode}
logfile = {directory}/log
"""


def is_listening(port: int) -> bool:
    """:return: whether a server listens at this port."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


class PgBouncerTests(SynchronousTestCase):
    """One platform behind PgBouncer."""

    def through(self, mode: str) -> str:
        """:return: the URL of a database that is reached through a pool in this mode."""
        if BINARY is None:
            raise SkipTest("no pgbouncer on this machine")
        if not server().own:
            raise SkipTest("needs a PostgreSQL of the test's own")
        self.database = Database(server())
        self.addCleanup(self.database.release)
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)
        port = free_port()
        there = self.database.url.rpartition(":")[2].partition("/")[0]
        text = SETTINGS.format(server=there, port=port, directory=self.directory, mode=mode)
        for name, content in (("ini", text), ("users", f'"{USER}" "{PASSWORD}"\n')):
            with open(f"{self.directory}/{name}", "w") as file:
                file.write(content)
        user = []
        if os.geteuid() == 0:  # PgBouncer does not run as root
            user = ["-u", "nobody"]
            for name in ("", "/ini", "/users"):
                shutil.chown(self.directory + name, "nobody")
        process = subprocess.Popen([BINARY, "-q", *user, f"{self.directory}/ini"])
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        until(lambda: is_listening(port), "pgbouncer listens")
        return server().url_of(self.database.name, f"127.0.0.1:{port}")

    def revoked(self, mode: str) -> Role:
        """
        Revoke a token by hand that was used a moment ago.

        :return: the node, which refuses it.
        """
        told = {"CHATFILES_DATABASE": self.through(mode), "CHATFILES_ADMIN_TOKEN": ADMIN}
        node = Role("platform", f"--state-dir={self.directory}/state", told=told)
        self.addCleanup(node.kill)
        until(lambda: fetch(node.url, "/ready").status == 200, "ready")
        fields = {"Authorization": f"Bearer {ADMIN}"}
        made = fetch(node.url, "/workspaces", fields, method="POST").json
        target = f"/workspaces/{made['id']}"
        owner = {"Authorization": f"Bearer {made['auth_token']}"}
        for _ in range(3):
            self.assertEqual(fetch(node.url, target, owner).status, 200)
        self.database.execute("UPDATE workspace_auth_tokens SET revoked_at = now()")
        until(lambda: fetch(node.url, target, owner).status == 401, "refused", 5)
        return node

    def test_session(self) -> None:
        """
        With a pool in session mode the platform behaves as without one: it receives notifications.
        """
        node = self.revoked("session")
        self.assertNotIn("unavailable", node.log)
        node.stop()

    def test_transaction(self) -> None:
        """
        With a pool in transaction mode a revoked token is refused all the same, and the log says
        that notifications get lost.
        """
        node = self.revoked("transaction")
        node.logged("notifications get lost: a pooler on the way has to be in session mode")
        node.stop()
