"""
howto/operate, "TLS": the manual's endpoints send the whole chain of certificates, and
``SSL_CERT_FILE`` lets roles trust a private certificate authority.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import tempfile
from collections.abc import Mapping
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from twisted.trial.unittest import SynchronousTestCase

from tests.docs import read
from tests.live.processes import Role
from tests.live.role import environment
from tests.support.certificates import write_certificates
from tests.support.fork_server import run
from tests.support.patience import PATIENCE
from tests.support.ports import free_port

#: Every page that shows an endpoint with TLS.
PAGES = (("README.md",), ("docs", "howto", "operate.rst"))
_ENDPOINT = re.compile(r"--listen=((?:ssl|chatfiles-tls):[^\s`]+)")
CHAIN = ":extraCertChain=chain.pem"


def shown_endpoints() -> list[str]:
    """
    :return: the endpoints with TLS that README.md and the manual show with files of this directory.
    """
    shown = [each for page in PAGES for each in _ENDPOINT.findall(read(*page))]
    return [each for each in shown if "=/" not in each]


def trust(file: str) -> dict[str, str]:
    """:return: the environment of a process that trusts the authorities in a file."""
    return {"SSL_CERT_FILE": file} if file else {}


class TLSTests(SynchronousTestCase):
    """Roles with certificates of a private authority, two intermediate certificates below it."""

    def setUp(self) -> None:
        self.base = tempfile.mkdtemp(prefix="chatfiles-live-")
        self.addCleanup(shutil.rmtree, self.base)
        write_certificates(self.base)
        self.root = os.path.join(self.base, "root.pem")
        self.trusting = ssl.create_default_context(cafile=self.root)
        os.mkdir(os.path.join(self.base, "files"))
        with open(os.path.join(self.base, "files", "a.txt"), "wb") as file:
            file.write(b"hello a\n")

    def start(self, name: str, endpoint: str, *options: str, told: str = "", port: int = 0) -> Role:
        """
        :param endpoint: as an operator writes it, with the names of the files.
        :param told: the value of ``SSL_CERT_FILE``.
        :return: a role that listens at this endpoint of 127.0.0.1, by default on a free port.
        """
        listen = endpoint.replace(":8443:", f":{port}:interface=127.0.0.1:")
        listen = re.sub(r"=(\w+\.pem)", rf"={self.base}/\1", listen)
        role = Role(name, f"--listen={listen}", *options, told=trust(told))
        self.addCleanup(role.kill)
        return role

    def workspace(self, endpoint: str, *more: str, told: str = "", port: int = 0) -> Role:
        """:return: a workspace."""
        files = (f"--root=/workspace={self.base}/files", f"--configs-dir={self.base}/configs")
        return self.start("workspace", endpoint, *files, *more, told=told, port=port)

    def fetch(self, role: Role, target: str, token: str = "", body: object = None) -> bytes:
        """:return: the body of a response, received from a peer that this test trusts."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(role.url + target, data, {"Authorization": f"Bearer {token}"})
        with urlopen(request, context=self.trusting, timeout=PATIENCE) as response:
            content: bytes = response.read()
        return content

    def get(self, platform: Role, made: Mapping[str, str], told: str) -> tuple[int, bytes]:
        """:return: the exit status and the output of ``chatfiles get``."""
        token = f"{self.base}/configs/.auth_token"
        words = ["--platform", platform.url, "--token-file", token, made["id"]]
        done = run(
            ["chatfiles", "get", *words, "/workspace/a.txt", "-o", "-"],
            cwd=self.base,
            env=environment(trust(told)),
            timeout=PATIENCE,
        )
        return done.returncode, done.stdout

    def test_shown_endpoints(self) -> None:
        """A client that trusts only the root verifies a role at each endpoint that is shown."""
        endpoints = shown_endpoints()
        kinds = [each.partition(":")[0] for each in endpoints]
        self.assertEqual(kinds, ["chatfiles-tls", "chatfiles-tls", "ssl"])
        for endpoint in endpoints:
            role = self.workspace(endpoint)
            self.assertIn(b'"ok"', self.fetch(role, "/health"))
            role.stop()

    def test_without_chain(self) -> None:
        """Without the chain such a client refuses the role, so the chain has to be there."""
        role = self.workspace(shown_endpoints()[-1].replace(CHAIN, ""))
        with self.assertRaisesRegex(OSError, "CERTIFICATE_VERIFY_FAILED"):
            self.fetch(role, "/health")

    def test_private_authority(self) -> None:
        """
        With ``SSL_CERT_FILE`` a workspace registers with a platform, a platform gets a file from a
        workspace, and ``chatfiles get`` gets it from the platform, all with certificates of the
        private authority.
        """
        endpoint = shown_endpoints()[0]
        state = f"--state-dir={self.base}/state"
        allow = "--upstream-allow=127.0.0.0/8"
        platform = self.start("platform", endpoint, state, allow, told=self.root)
        assert platform.url, "it listens, so there is an admin token"
        with open(f"{self.base}/state/admin-token") as file:
            admin = file.read().strip()
        made = json.loads(self.fetch(platform, "/workspaces", admin, {"name": "private"}))
        platform.secrets |= {admin, made["auth_token"]}
        os.mkdir(f"{self.base}/configs")
        with open(f"{self.base}/configs/.auth_token", "w") as file:
            file.write(made["auth_token"])
        port = free_port()
        workspace = self.workspace(
            endpoint,
            f"--platform={platform.url}",
            f"--workspace-id={made['id']}",
            f"--advertise=https://127.0.0.1:{port}",
            told=self.root,
            port=port,
        )
        workspace.secrets |= platform.secrets
        workspace.logged("platform_inbound_secret stored")
        target = f"/workspaces/{made['id']}/chat/download?path=/workspace/a.txt"
        self.assertEqual(self.fetch(platform, target, made["auth_token"]), b"hello a\n")
        self.assertEqual(self.get(platform, made, self.root), (0, b"hello a\n"))
        self.assertEqual(self.get(platform, made, "")[1], b"")

        # The platform does not trust the workspace if it is not told to.
        platform.stop()
        platform = self.start("platform", endpoint, state, allow)
        with self.assertRaises(HTTPError) as refused:
            self.fetch(platform, target, made["auth_token"])
        error = json.load(refused.exception)
        self.assertEqual(refused.exception.code, 502)
        self.assertEqual(error["detail"], "no secure connection could be made")
