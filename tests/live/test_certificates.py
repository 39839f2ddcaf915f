"""
reference/tls: certificates of a private authority on both roles and on the way between them; they
are renewed while files are transferred.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.live.metrics_page import METRICS, metric
from tests.live.processes import LiveCase, Pair, Role, until
from tests.live.rawhttp import Connection, fetch
from tests.live.role import environment, listen_on
from tests.support.certificates import EXPIRED, Issued, root_authority
from tests.support.fork_server import run
from tests.support.patience import PATIENCE
from tests.support.ports import free_port

ROOT = root_authority()
MIDDLE = ROOT.authority("middle")
OTHER = root_authority("other")
BODY = os.urandom(100_000)
SIZE = 64 << 20
TRUSTING = ssl.create_default_context(cadata=ROOT.pem.decode())
#: Renewals during one transfer, and clients that connect meanwhile.
RENEWALS, CLIENTS = 5, 4


def write(path: str, content: bytes, mode: int = 0o600) -> str:
    """:return: the path, where this content is now, at once."""
    with open(os.open(path + ".new", os.O_CREAT | os.O_WRONLY, mode), "wb") as file:
        file.write(content)
    os.rename(path + ".new", path)
    return path


class TLSConnection(Connection):
    """
    A connection that verifies the server.

    :param name: the host that the certificate has to be for.
    """

    def __init__(self, url: str, name: str = "127.0.0.1", **more: Any) -> None:
        super().__init__(url, **more)
        self.socket = self.tls = TRUSTING.wrap_socket(self.socket, server_hostname=name)

    @property
    def served(self) -> str:
        """The certificate of the server."""
        return ssl.DER_cert_to_PEM_cert(self.tls.getpeercert(binary_form=True) or b"")


class CertificatesCase(LiveCase):
    """
    Both roles have two processes and listen with and without TLS.  The workspace wants a
    certificate of its clients.
    """

    files: str

    @classmethod
    def make_pair(cls) -> Pair:
        CertificatesCase.files = files = tempfile.mkdtemp(prefix="chatfiles-live-")
        ca = write(f"{files}/root.crt", ROOT.pem)
        for name in ("platform", "workspace"):
            os.mkdir(f"{files}/{name}")
            cls.issue(name, "default", "127.0.0.1")
        cls.issue("platform", "files.test", "files.test")
        cls.issue("", "client", "client.test")
        plain = listen_on(0)
        tls = f"--listen=chatfiles-tls:0:interface=127.0.0.1:certificate={files}/"
        hop = [f"--upstream-ca={ca}", "--upstream-ca-only"]
        hop += [f"--upstream-certificate={files}/client.pem", f"--upstream-key={files}/client.key"]
        return Pair(
            both=["--workers=2", "--drain-timeout=5", METRICS],
            platform=[plain, f"{tls}platform", *hop],
            workspace=[plain, f"{tls}workspace:client_ca={ca}"],
        )

    @classmethod
    def issue(cls, directory: str, name: str, host: str) -> Issued:
        """:return: a new certificate in a directory."""
        issued = MIDDLE.issue(host)
        issued.write(os.path.join(cls.files, directory, name), chain=MIDDLE.pem)
        return issued

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.write("workspace/a.bin", BODY)
        with open(pair.at("workspace", "large.bin"), "wb") as file:
            file.truncate(SIZE)

    def url(self, role: Role) -> str:
        """:return: where *role* listens with TLS."""
        return role.logged(r"ready on (https://\S+)")[1]

    def register(self, url: str) -> tuple[str, str]:
        """:return: the id and token of a workspace at this URL, with the secret of the pair's."""
        pair = self.pair
        made = pair.add(url)
        with contextlib.closing(sqlite3.connect(pair.database)) as database, database:
            statement = "update workspaces set platform_inbound_secret = ? where id = ?"
            database.execute(statement, (pair.secret, made[0]))
        return made


class HopTests(CertificatesCase):
    """The way between the roles."""

    def test_private_authority(self) -> None:
        """A file comes through both roles with TLS; the workspace has verified the platform."""
        workspace, token = self.register(self.url(self.pair.workspace))
        target = f"/workspaces/{workspace}/chat/download?path=/workspace/a.bin"
        bearer = {"Authorization": f"Bearer {token}"}
        with TLSConnection(self.url(self.pair.platform)) as connection:
            for _ in range(3):
                answer = connection.exchange("GET", target, bearer)
                self.assertEqual((answer.status, answer.body == BODY), (200, True))
        token_file = write(f"{self.files}/token", token.encode())
        words = ["chatfiles", "get", "--platform", self.url(self.pair.platform)]
        words += ["--ca", f"{self.files}/root.crt", "--token-file", token_file]
        done = run(
            [*words, workspace, "/workspace/a.bin", "-o", "-"],
            cwd=self.files,
            env=environment({}),
            timeout=PATIENCE,
        )
        self.assertEqual((done.returncode, done.stdout == BODY), (0, True))

    def test_client_without_certificate(self) -> None:
        """The workspace serves nobody who has no certificate of its authority."""
        connection = TLSConnection(self.url(self.pair.workspace))
        self.addCleanup(connection.close)
        with self.assertRaisesRegex(ssl.SSLError, "CERTIFICATE_REQUIRED"):
            connection.exchange("GET", "/health", self.pair.inbound)

    @contextlib.contextmanager
    def server(self, issued: Issued) -> Iterator[str]:
        """:return: the URL of a workspace with this certificate, which serves nothing."""
        settings = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pem = write(f"{self.files}/server.pem", issued.pem + MIDDLE.pem + issued.key)
        settings.load_cert_chain(pem)
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def accept() -> None:
                with contextlib.suppress(OSError), listener.accept()[0] as connection:
                    settings.wrap_socket(connection, server_side=True)

            thread = threading.Thread(target=accept, daemon=True)
            thread.start()
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
            thread.join(PATIENCE)

    def test_refused(self) -> None:
        """
        A workspace whose certificate is not accepted is unreachable.  The log says what is wrong
        with the certificate, but the client does not learn that.
        """
        for issued, reason in (
            (MIDDLE.issue("127.0.0.1", days=EXPIRED), "certificate has expired"),
            (MIDDLE.issue("127.0.0.2"), "certificate is not for 127.0.0.1"),
            (MIDDLE.issue("localhost"), "certificate is not for 127.0.0.1"),
            (MIDDLE.issue(), "certificate is not for 127.0.0.1"),
            (OTHER.issue("127.0.0.1"), "certificate is not trusted: its authority is unknown"),
            (Issued("own", None, "127.0.0.1"), "certificate is not trusted: it is signed by"),
        ):
            with self.server(issued) as url:
                workspace, token = self.register(url)
                target = f"/workspaces/{workspace}/chat/download?path=/workspace/a.bin"
                bearer = {"Authorization": f"Bearer {token}"}
                answer = fetch(self.pair.platform.url, target, bearer)
            body = self.assert_error(
                answer, 502, "workspace unreachable", code="workspace_unreachable"
            )
            self.assertEqual(body["detail"], "no secure connection could be made")
            line = f"{body['request_id']} workspace_unreachable: {reason}"
            self.pair.platform.logged(line)

    def test_registers(self) -> None:
        """
        A workspace registers with a platform of a private authority that wants a certificate of
        its clients.  Without one it does not, and its log says why.
        """
        ca = f"{self.files}/root.crt"
        pair = self.pair
        tls = (
            f"chatfiles-tls:0:interface=127.0.0.1:certificate={self.files}/platform:client_ca={ca}"
        )
        state = f"--state-dir={self.files}/state"
        platform = Role("platform", f"--listen={tls}", listen_on(0), state)
        self.addCleanup(platform.kill)
        plain = platform.logged(r"ready on (http://\S+)")[1]
        with open(f"{self.files}/state/admin-token") as file:
            admin = {"Authorization": f"Bearer {file.read().strip()}"}
        body = json.dumps({"name": "private"}).encode()
        made = fetch(plain, "/workspaces", admin, method="POST", body=body).json
        os.makedirs(f"{self.files}/configs", exist_ok=True)
        write(f"{self.files}/configs/.auth_token", made["auth_token"].encode())
        common = [
            f"--root=/workspace={pair.at('workspace')}",
            f"--configs-dir={self.files}/configs",
            f"--platform={self.url(platform)}",
            f"--workspace-id={made['id']}",
            f"--advertise=http://8.8.8.8:{free_port()}",
        ]
        own = f"--upstream-certificate={self.files}/client.pem"
        key = f"--upstream-key={self.files}/client.key"
        expected: tuple[tuple[list[str], str], ...] = (
            ([], r"registry/register at \S+ no response \(certificate is not trusted"),
            (
                [f"--platform-ca={ca}"],
                r"registry/register at \S+ no response \(TLS: tlsv13 alert certificate required\)",
            ),
            ([f"--platform-ca={ca}", own, key], "platform_inbound_secret stored"),
        )
        roles = [Role("workspace", *common, *options) for options, _ in expected]
        for role in roles:
            self.addCleanup(role.kill)
        for role, (_, line) in zip(roles, expected, strict=True):
            role.logged(line)
        platform.stop()


class RenewalTests(CertificatesCase):
    """Renewal while the roles serve."""

    def test_under_load(self) -> None:
        """
        Certificates are replaced again and again, with SIGHUP after each.  Every handshake and
        every transfer succeeds, also one that takes all the time; all processes serve the last
        certificate in the end.
        """
        url = self.url(self.pair.platform)
        self.pair.platform.logged("ready on")
        workspace, token = self.register(self.url(self.pair.workspace))
        bearer = {"Authorization": f"Bearer {token}"}
        small = f"/workspaces/{workspace}/chat/download?path=/workspace/a.bin"
        large = f"/workspaces/{workspace}/chat/download?path=/workspace/large.bin"
        ended, seen, failures = threading.Event(), set[str](), list[object]()

        def client() -> None:
            try:
                while not ended.is_set():
                    with TLSConnection(url) as connection:
                        seen.add(connection.served)
                        answer = connection.exchange("GET", small, bearer)
                        assert (answer.status, answer.body == BODY) == (200, True), answer
            except Exception as error:
                failures.append(error)

        slow = TLSConnection(url, receive_buffer=65536)
        self.addCleanup(slow.close)
        slow.ask("GET", large, bearer)
        answer = slow.answer()
        threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(RENEWALS):
                answer.exactly(100_000)
                renewed = self.issue("platform", "default", "127.0.0.1").pem.decode()
                self.issue("workspace", "default", "127.0.0.1")
                self.issue("", "client", "client.test")
                for role in self.pair.roles:
                    role.signal(signal.SIGHUP)
                until(partial(self.is_seen, renewed, seen, failures), "it is served")
        finally:
            ended.set()
            for thread in threads:
                thread.join(PATIENCE)
        self.assertEqual(failures, [])
        self.assertGreater(len(seen), RENEWALS)
        self.assertEqual(RENEWALS * 100_000 + len(answer.rest()), SIZE)
        until(lambda: self.serves(url, renewed), "all processes serve the last certificate")

    def is_seen(self, wanted: str, seen: set[str], failures: list[object]) -> bool:
        """:return: whether a client got this certificate, or one has failed."""
        return wanted in seen or bool(failures)

    def serves(self, url: str, wanted: str) -> bool:
        """:return: whether all of some handshakes, of several processes, get this certificate."""
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(TLSConnection(url)) for _ in range(8)]
            return {each.served for each in connections} == {wanted}

    def test_bad(self) -> None:
        """
        Files that are not valid are logged once, by one of the processes, with their names; the
        old certificate stays.  The metrics say so until they are valid.
        """
        platform = self.pair.platform
        url = self.url(platform)
        with TLSConnection(url, "files.test") as connection:
            before = connection.served
        self.addCleanup(self.issue, "platform", "files.test", "files.test")
        mark = platform.mark()
        path = write(f"{self.files}/platform/files.test.key", MIDDLE.issue("x").key)
        text = f"{path}: the key does not belong to the first certificate"
        for count in (1, 2, 3):
            platform.signal(signal.SIGHUP)
            until(partial(self.has_looked, mark, count), "all processes have looked")
        platform.logged(text, since=mark)
        write(path, b"nonsense")
        platform.signal(signal.SIGHUP)
        platform.logged(f"{path}: does not hold a private key", since=mark)
        self.assertEqual(platform.log_since(mark).count(text), 1)
        with TLSConnection(url, "files.test") as connection:
            self.assertEqual(connection.served, before)
        until(partial(self.is_refused_by, 2), "both workers refuse the files")
        self.issue("platform", "files.test", "files.test")
        platform.signal(signal.SIGHUP)
        until(partial(self.is_refused_by, 0), "both workers have read the new files")

    def is_refused_by(self, count: int) -> bool:
        """:return: whether so many processes cannot use the files as they are."""
        return metric(self.pair.platform, "chatfiles_certificate_refused") == count

    def has_looked(self, mark: int, count: int) -> bool:
        """:return: whether three processes have received SIGHUP so often since *mark*."""
        log = self.pair.platform.log_since(mark)
        return log.count("continues after SIGHUP") == 3 * count


class StartTests(CertificatesCase):
    """The start of a role."""

    def test_exposed_key(self) -> None:
        """A key that any user can read is logged."""
        files = tempfile.mkdtemp(prefix="chatfiles-live-")
        self.addCleanup(shutil.rmtree, files)
        MIDDLE.issue("127.0.0.1").write(f"{files}/a")
        os.chmod(f"{files}/a.key", 0o644)
        tls = f"chatfiles-tls:0:interface=127.0.0.1:certificate={files}/a.pem:key={files}/a.key"
        role = Role("workspace", f"--listen={tls}", f"--root=/workspace={files}")
        self.addCleanup(role.kill)
        role.logged(f"the key in {files}/a.key may be read or written by any user")
        self.assertTrue(role.url)
        role.stop()

    def test_refused(self) -> None:
        """A role whose certificate is not valid does not start; one line says which file it is."""
        files = tempfile.mkdtemp(prefix="chatfiles-live-")
        self.addCleanup(shutil.rmtree, files)
        for options, text in (
            (
                [f"--listen=chatfiles-tls:0:certificate={files}/none.pem"],
                f"={files}/none.pem: {files}/none.pem: No such file",
            ),
            (["--listen=chatfiles-tls:0"], "certificate= names the file"),
            (
                [f"--upstream-certificate={files}/none.pem"],
                f"--upstream-certificate takes a file in PEM format: {files}/none.pem: No such",
            ),
        ):
            role = Role("platform", *options, f"--state-dir={files}/state")
            self.addCleanup(role.kill)
            self.assertEqual(role.wait(), 1)
            self.assertIn(text, role.log)
            self.assertEqual(len(role.log.splitlines()), 1)
