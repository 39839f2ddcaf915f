"""
Handshakes in memory: OpenSSL of Twisted is the server, and that of Python is the client.
"""

from __future__ import annotations

import ssl
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory

from tests.support.certificates import Issued

__all__ = ["Client", "context"]


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
        self._clock = Clock()
        echoes = Factory.forProtocol(Echo)
        factory: Any = TLSMemoryBIOFactory(certificates, False, echoes, self._clock)
        self._server = factory.buildProtocol(None)
        self._transport = StringTransport()
        self._server.makeConnection(self._transport)
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
        if sent := self._outgoing.read():
            self._server.dataReceived(sent)
            self._clock.advance(0)  # Twisted sends small writes together
        answer = self._transport.value()
        self._transport.clear()
        self._incoming.write(answer)
        return bool(answer)
