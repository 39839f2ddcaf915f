"""The package: its names, what it imports, settings, TLS, proxies, threads."""

from __future__ import annotations

import os
import pickle
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from unittest.mock import patch

from treq.testing import RequestTraversalAgent
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

import chatfiles.client
from chatfiles.client import (
    AsyncClient,
    Client,
    Entry,
    Forbidden,
    Incomplete,
    NotFound,
    Refused,
    Unreachable,
)
from chatfiles.testing import ScriptedServer
from tests.client.blocking.test_client import BlockingCase
from tests.contract.client_case import TOKEN, WORKSPACE
from tests.support.certificates import Issued, root_authority
from tests.support.scripted_file import File, counted, play

DATA = bytes(range(256)) * 1000
F = "/workspace/f"


class NamesTests(SynchronousTestCase):
    """What the package exports."""

    def test_names(self) -> None:
        """All names are there; others are not."""
        for name in chatfiles.client.__all__:
            self.assertTrue(hasattr(chatfiles.client, name), name)
        self.assertFalse(hasattr(chatfiles.client, "nonsense"))

    def test_light(self) -> None:
        """The client that blocks imports no Twisted, and nothing of a server."""
        code = "import sys, chatfiles.client as c; c.Client; print(*sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        modules = done.stdout.split()
        self.assertIn("chatfiles.client.blocking.client", modules)
        for name in (
            "twisted",
            "treq",
            "chatfiles.http",
            "chatfiles.runtime",
            "tarfile",
            "zipfile",
            "asyncio",
        ):
            self.assertNotIn(name, modules)

    def test_errors(self) -> None:
        """Errors can be passed to another process."""
        error = NotFound("t", status=404, code="c", request_id="r", detail={"a": 1})
        for each in (error, Incomplete("t", done=1, total=2), Forbidden("t"), Unreachable("t")):
            same = pickle.loads(pickle.dumps(each))
            self.assertEqual((type(same), str(same)), (type(each), "t"))
            self.assertEqual(vars(same), vars(each))
        self.assertEqual((error.errno, Refused("x", status=503).transient), (2, True))

    def test_values(self) -> None:
        """Values are frozen."""
        entry = Entry("/a", "a", "file", 1, 0, 0o644, None, None, True, None)
        with self.assertRaises(AttributeError):
            entry.size = 2  # type: ignore[misc]
        self.assertEqual(entry.mtime.isoformat(), "1970-01-01T00:00:00+00:00")  # type: ignore[union-attr]


class EnvironmentTests(SynchronousTestCase):
    """``from_environment``."""

    def make(self, **environ: str) -> Any:
        """:return: the clients of both kinds."""
        with patch.dict(os.environ, environ, clear=True):
            clients = Client.from_environment(), AsyncClient.from_environment(reactor=reactor)
        self.assertEqual(repr(clients[0]), repr(clients[1]).removeprefix("Async"))
        return clients[0]

    def test_settings(self) -> None:
        """The settings come from the environment; parameters override them."""
        file = self.mktemp()
        Path(file).write_text(TOKEN + "\n")
        good = {"CHATFILES_PLATFORM": "http://h/base/", "CHATFILES_WORKSPACE": WORKSPACE}
        client = self.make(**good, CHATFILES_TOKEN_FILE=file)
        self.assertEqual(repr(client), f"Client('http://h/base', workspace='{WORKSPACE}')")
        self.make(**good, CHATFILES_TOKEN=TOKEN, CHATFILES_TOKEN_FILE="/nonexistent")
        with patch.dict(os.environ, {**good, "CHATFILES_TOKEN": TOKEN}, clear=True):
            other = Client.from_environment(base_url="http://other", retries=0)
        self.assertIn("http://other", repr(other))

    def test_missing(self) -> None:
        """The error names what is missing, also if it is empty."""
        good = {
            "CHATFILES_PLATFORM": "http://h",
            "CHATFILES_TOKEN": TOKEN,
            "CHATFILES_WORKSPACE": WORKSPACE,
        }
        for name in good:
            for environ in ({**good, name: ""}, {k: v for k, v in good.items() if k != name}):
                with self.assertRaises(ValueError) as caught:
                    self.make(**environ)
                self.assertIn(name, str(caught.exception))


class ConnectionTests(BlockingCase, TestCase):
    """Connections of the client that blocks."""

    def test_kept(self) -> None:
        """A connection is used again, and a dead one is replaced, which is no retry."""

        def script(connection: Any) -> None:
            for _ in range(2):
                if (request := connection.request()) is None:
                    return
                counted(b"x")(connection, request)

        client = self.client(script, retries=0).blocking
        for _ in range(6):
            self.assertEqual(client.read(F), b"x")
        self.assertEqual(self.server.connections, 3)

    def test_threads(self) -> None:
        """Threads share a client."""
        client = self.client(File(DATA)).blocking
        errors: list[Exception] = []

        def read(first: int) -> None:
            try:
                for n in range(20):
                    if client.read(F, first, first + n) != DATA[first : first + n]:
                        raise AssertionError(first)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=read, args=(n * 1000,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])

    def test_proxy(self) -> None:
        """A proxy of the environment is used only if the caller says so."""
        client = self.client(play(counted(b"direct")))
        with ScriptedServer(play(counted(b"proxied"))) as proxy:
            environ = {"http_proxy": proxy.url, "no_proxy": ""}
            with patch.dict(os.environ, environ):
                trusts = self.new(self.server.url, trust_env=True).blocking
                self.assertEqual(trusts.read(F), b"proxied")
                self.assertEqual(client.blocking.read(F), b"direct")
                os.environ["no_proxy"] = "127.0.0.1"
                trusts = self.new(self.server.url, trust_env=True).blocking
                self.assertEqual(trusts.read(F), b"direct")
            self.assertTrue(proxy.requests[0].target.startswith(self.server.url))


class TLSTests(TestCase):
    """Both clients verify the server, and its name."""

    def setUp(self) -> None:
        self.authority = root_authority()
        self.directory = self.mktemp()
        os.mkdir(self.directory)

    def serve(self, *names: str) -> str:
        """:return: the URL of a server with a certificate for *names*."""
        path = os.path.join(self.directory, "server")
        Issued("server", self.authority, *names).write(path)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path + ".pem", path + ".key")
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def run() -> None:
            while True:
                try:
                    accepted, _ = listener.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(accepted, server_side=True) as secured:
                        secured.recv(65536)
                        secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                except OSError:
                    pass

        threading.Thread(target=run, daemon=True).start()
        return f"https://127.0.0.1:{listener.getsockname()[1]}"

    async def test_verified(self) -> None:
        """A certificate of an unknown authority, or for another host, is refused."""
        self.authority.write(os.path.join(self.directory, "ca"))
        ca = os.path.join(self.directory, "ca.pem")
        for names, trusted, why in (
            (["127.0.0.1"], Path(ca), ""),
            (["127.0.0.1"], None, "get local issuer certificate; give the file of its authority"),
            (["127.0.0.2", "localhost"], Path(ca), "not valid for '127.0.0.1'."),
            ([], Path(ca), "not valid for '127.0.0.1'."),
        ):
            url = self.serve(*names)
            blocking = Client(url, TOKEN, workspace=WORKSPACE, ca=trusted)
            later = AsyncClient(url, TOKEN, workspace=WORKSPACE, ca=trusted, reactor=reactor)
            if not why:
                self.assertEqual((blocking.read(F), await later.read(F)), (b"ok", b"ok"))
            else:
                refused = self.assertRaises(Unreachable, blocking.read, F)
                self.assertIn(f"the certificate of {url} is not trusted: ", str(refused))
                self.assertIn(why, str(refused))
                with self.assertRaises(Unreachable) as later_refused:
                    await later.read(F)
                self.assertIn("or set CHATFILES_CA", str(later_refused.exception))
            blocking.close()
            await later.close()


class AgentTests(TestCase):
    """`AsyncClient` with another agent, such as that of treq's tests."""

    async def test_agent(self) -> None:
        """It sends the requests, and gets the credential."""

        class Answers(Resource):
            isLeaf = True

            def render_GET(self, request: Request) -> bytes:
                seen.append(request.getHeader("authorization"))
                return DATA[:1000]

            def render_PUT(self, request: Request) -> bytes:
                assert request.content is not None
                seen.append(request.content.read())
                return b'{"size": 3}'

        seen: list[Any] = []
        agent = RequestTraversalAgent(Answers())
        client = AsyncClient("http://h", TOKEN, workspace=WORKSPACE, reactor=reactor, agent=agent)

        async def both() -> None:
            self.assertEqual(await client.read(F), DATA[:1000])
            stored = await client.upload([b"abc"], to=F, resumable=False)
            self.assertEqual(stored.size, 3)

        transfer = Deferred.fromCoroutine(both())
        while not transfer.called:
            agent.flush()
            pause: Deferred[None] = Deferred()
            reactor.callLater(0, pause.callback, None)
            await pause
        await transfer
        self.assertEqual(seen, [f"Bearer {TOKEN}", b"abc"])
        await client.close()
