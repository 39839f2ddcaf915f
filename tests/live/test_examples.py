"""
The platforms of the examples for several nodes, started with the examples' command lines.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from urllib.parse import unquote, urlsplit

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.docs.several_nodes_examples import Container, containers
from tests.live.processes import Role, until
from tests.live.rawhttp import fetch
from tests.support.postgres_server import Database, server

_TWISTD = """\
#!/bin/sh
exec {python} -P -c 'from twisted.scripts.twistd import run; run()' "$@"
"""


class ExampleTests(SynchronousTestCase):
    """The examples, with what they presume: mounted files, the database's address, ``twistd``."""

    def setUp(self) -> None:
        self.database = Database(server())
        self.where = urlsplit(self.database.url)
        if not self.where.hostname:
            raise SkipTest("PostgreSQL has to be reached by TCP")
        self.base = tempfile.mkdtemp(prefix="chatfiles-live-")
        self.addCleanup(shutil.rmtree, self.base)
        self.write("bin/twistd", _TWISTD.format(python=sys.executable), 0o755)

    def write(self, name: str, content: str, mode: int) -> None:
        """Create a file below `base`."""
        path = os.path.join(self.base, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, mode), "w") as file:
            file.write(content)

    def launch(self, container: Container, place: str) -> list[str]:
        """:return: the container's command line with the paths and database of this machine."""
        parts = self.where
        database = f"{parts.username}@{parts.hostname}:{parts.port or 5432}{parts.path}"
        mounted = {
            "/run/secrets/": f"{place}/run/secrets/",
            "=/var/lib/chatfiles": f"={place}/state",
            "=tcp:8080": "=tcp:0:interface=127.0.0.1",
        }
        line = "\0".join(container.launch)
        for there, here in mounted.items():
            line = line.replace(there, here)
        line = re.sub(r"(?<==postgresql://)[^\0]*", lambda _: database, line)
        return line.split("\0")

    def test_started(self) -> None:
        """
        Each platform reads its secrets from files, migrates the database and serves; neither its
        command line nor its log contains a secret.
        """
        password = unquote(self.where.password or "")
        told = {"PATH": f"{self.base}/bin:{os.environ['PATH']}"}
        for number, container in enumerate(containers()):
            admin = f"an-admin-token-for-{number}"
            for path in container.secrets:
                content = admin if path.endswith("/admin-token") else password
                self.write(f"{number}{path}", content + "\n", 0o440)
            launch = self.launch(container, os.path.join(self.base, str(number)))
            node = Role("platform", launch=launch, told=told)
            self.addCleanup(node.kill)
            node.secrets |= {admin, password}
            until(lambda: fetch(node.url, "/ready").status == 200, container.example)  # noqa: B023
            answer = fetch(node.url, "/workspaces", {"Authorization": f"Bearer {admin}"})
            self.assertEqual((answer.status, answer.json), (200, {"workspaces": []}))
            with open(f"/proc/{node.pid}/cmdline") as file:
                self.assertNotIn(password, file.read())
            node.kill()
            node.check_log()
