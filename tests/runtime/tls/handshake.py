"""
Handshakes in memory: OpenSSL of Twisted is the server, and that of Python is the client.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory

from tests.support.certificates import Issued

__all__ = ["Client", "OldClient", "context"]


def context(*roots: Issued, own: tuple[str, str] | None = None) -> ssl.SSLContext:
    """
    :param roots: the authorities that the client trusts.
    :param own: the files of its certificate and key.
    :return: the context of a client that verifies the server, but not its name.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(cadata="".join(each.pem.decode() for each in roots))
    if own is not None:
        made.load_cert_chain(*own)
    return made


class Echo(Protocol):
    """Sends back what it receives."""

    def dataReceived(self, data: bytes) -> None:
        """Send it back."""
        assert self.transport is not None
        self.transport.write(data)


class Server:
    """
    A server that echoes.

    :param certificates: its certificates.
    """

    def __init__(self, certificates: Any) -> None:
        self._clock = Clock()
        echoes = Factory.forProtocol(Echo)
        factory: Any = TLSMemoryBIOFactory(certificates, False, echoes, self._clock)
        self._protocol = factory.buildProtocol(None)
        self._transport = StringTransport()
        self._protocol.makeConnection(self._transport)

    def exchange(self, sent: bytes) -> bytes:
        """:return: what the server has sent, after it got *sent*."""
        if sent:
            self._protocol.dataReceived(sent)
            self._clock.advance(0)  # Twisted sends small writes together
        answer: bytes = self._transport.value()
        self._transport.clear()
        return answer


class Client:
    """
    A client that has made a handshake, and received what it sent.

    :param certificates: those of the server.
    :param settings: the client's.
    :param name: the server name to send; ``None`` for none.
    :param session: to resume.
    :raise ssl.SSLError: the handshake has failed.
    """

    def __init__(
        self,
        certificates: Any,
        settings: ssl.SSLContext,
        name: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self._server = Server(certificates)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = settings.wrap_bio(
            self._incoming, self._outgoing, server_hostname=name, session=session
        )
        self._until(self.tls.do_handshake)
        self.echo(b"hello")  # with TLS 1.3, the server verifies the client after that

    def echo(self, data: bytes) -> None:
        """Send *data*, and receive it."""
        self.tls.write(data)
        received = self._until(lambda: self.tls.read(len(data)))
        assert received == data, received

    @property
    def served(self) -> bytes:
        """The certificate of the server, in DER."""
        return self.tls.getpeercert(binary_form=True) or b""

    def _until(self, step: Any) -> Any:
        """:return: the result of *step*, which is repeated while data arrives from the server."""
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                if not self._exchange():
                    raise AssertionError("the server sends nothing") from None
            else:
                self._exchange()
                return result

    def _exchange(self) -> bool:
        """:return: whether the server has sent something, after it got what the client sent."""
        answer = self._server.exchange(self._outgoing.read())
        self._incoming.write(answer)
        return bool(answer)


class OldClient:
    """
    A client with TLS 1.2 that can ask for another handshake, which Python's cannot.

    :param certificates: those of the server.
    :param name: the server name to send.
    """

    def __init__(self, certificates: Any, name: bytes) -> None:
        settings = SSL.Context(SSL.TLS_METHOD)
        settings.set_max_proto_version(SSL.TLS1_2_VERSION)
        self.tls = SSL.Connection(settings)
        self.tls.set_tlsext_host_name(name)
        self.tls.set_connect_state()
        self._server = Server(certificates)
        self._until(self.tls.do_handshake)

    def echo(self, data: bytes) -> None:
        """Send *data*, and receive it."""
        self._until(lambda: self.tls.send(data))
        received = self._until(lambda: self.tls.recv(len(data)))
        assert received == data, received

    def _until(self, step: Callable[[], Any]) -> Any:
        """:return: the result of *step*, which is repeated while data arrives from the server."""
        while True:
            try:
                return step()
            except SSL.WantReadError:
                self.tls.bio_write(self._server.exchange(self.tls.bio_read(1 << 16)))
