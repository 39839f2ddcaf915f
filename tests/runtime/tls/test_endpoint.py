"""
The endpoint ``chatfiles-tls:``, from its string.
"""

from __future__ import annotations

import os
import ssl
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.support.certificates import root_authority

ROOT = root_authority()


class StringTests(SynchronousTestCase):
    """What the string means."""

    def setUp(self) -> None:
        self.base = os.path.abspath(self.mktemp())
        os.mkdir(self.base)
        ROOT.issue("a.test").write(f"{self.base}/a")
        self.pair = f"certificate={self.base}/a.pem:key={self.base}/a.key"

    def endpoint(self, text: str) -> Any:
        """:return: the endpoint of a string, on a reactor in memory."""
        self.reactor = MemoryReactorClock()
        return serverFromString(self.reactor, text)

    def test_listens(self) -> None:
        """It listens with the port, the interface and the backlog of the string."""
        for text, port, backlog, interface in (
            (f"chatfiles-tls:8443:{self.pair}", 8443, 50, ""),
            (f"chatfiles-tls:port=0:{self.pair}:backlog=7", 0, 7, ""),
            (f"chatfiles-tls:1:{self.pair}:interface=\\:\\:1", 1, 50, "::1"),
        ):
            self.successResultOf(self.endpoint(text).listen(Factory()))
            [(at, _, queued, where)] = self.reactor.tcpServers
            self.assertEqual((at, queued, where), (port, backlog, interface), text)

    def test_refused(self) -> None:
        """An error says which parameter or file is wrong."""
        for rest, why in (
            ("", "certificate= names the file"),
            (f"certificate={self.base}/b.pem:key={self.base}/a.key", "b.pem: No such file"),
            (f"{self.pair}:client_ca={self.base}/a.key", "a.key: does not hold certificates"),
            (f"certificate={self.base}/a.pem", "a.pem: does not hold a private key"),
        ):
            with self.assertRaisesRegex(ValueError, why):
                self.endpoint(f"chatfiles-tls:0:{rest}")


class Hello(Protocol):
    """Greets."""

    def connectionMade(self) -> None:
        """Greet, and close."""
        assert self.transport is not None
        self.transport.write(b"hello")
        self.transport.loseConnection()


class SocketTests(TestCase):
    """A real port."""

    async def test_renewed(self) -> None:
        """A look that is asked for serves the new certificate; none is needed after the end."""
        base = self.mktemp()
        os.mkdir(base)
        first, second = (ROOT.issue("a.test") for _ in range(2))
        first.write(f"{base}/a")
        text = f"chatfiles-tls:0:interface=127.0.0.1:certificate={base}/a.pem:key={base}/a.key"
        endpoint: Any = serverFromString(reactor, text)
        await endpoint.look_now()  # nothing happens before it listens
        port = await endpoint.listen(Factory.forProtocol(Hello))
        address = ("127.0.0.1", port.getHost().port)
        served: Any = await deferToThread(ssl.get_server_certificate, address)
        self.assertEqual(served, first.pem.decode())
        second.write(f"{base}/a")
        await endpoint.look_now()
        served = await deferToThread(ssl.get_server_certificate, address)
        self.assertEqual(served, second.pem.decode())
        await port.stopListening()
        self.assertIsInstance(endpoint.look_now(), Deferred)
        self.assertTrue(endpoint.look_now().called)
