"""
Connects to a workspace: looks up its name, validates the addresses, and connects to one of them.

No other code connects to workspaces.  A name is looked up once per connection, and the connection
uses an address from that look-up, which was validated.  So DNS rebinding, a change of the address
between the check and the connection, has no effect.
"""

from __future__ import annotations

import socket
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from twisted.internet import error as net_error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from chatfiles.errors import Unavailable
from chatfiles.rules.address_policy import AddressPolicy, IPAddress
from chatfiles.rules.urls import WorkspaceURL, parse_workspace_url
from chatfiles.runtime.name_lookup import MAX_ADDRESSES, NameLookup, Owner
from chatfiles.runtime.tls.peers import PeerVerification

__all__ = ["AddressRefused", "CheckedEndpoint", "Dialer", "QuietFactory"]

#: Maximum number of a name's addresses that are tried within one connect timeout.
MAX_ATTEMPTS = 8

#: The system's errors for a name that does not exist, or has no address.
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})

T = TypeVar("T")


class AddressRefused(ValueError):
    """
    The policy does not allow an address, or a name with such an address.

    :param reason: why, as a sentence for people.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class QuietFactory(Factory):
    """A factory that does not log that it starts and stops, which it does for each connection."""

    noisy = False


class Dialer:
    """
    Connects to workspaces.

    :param reactor: provides ``IReactorTCP`` too.
    :param policy: decides which addresses are allowed.
    :param lookups: looks up names.
    :param connect_timeout: seconds for look-up, connect and TLS handshake together.
    :param tls: verifies the peers of ``https``; by default with the system's certificates.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        policy: AddressPolicy,
        lookups: NameLookup,
        *,
        connect_timeout: float = 5.0,
        tls: IPolicyForHTTPS | None = None,
    ) -> None:
        self.reactor = reactor
        self.connect_timeout = connect_timeout
        self._policy = policy
        self._lookups = lookups
        self._tls = tls or PeerVerification()

    def endpoint(self, url: WorkspaceURL) -> CheckedEndpoint:
        """:return: an endpoint that connects to the host and port of *url*."""
        return CheckedEndpoint(self, url)

    async def check_host(self, url: WorkspaceURL) -> None:
        """
        Check the host of a URL that is being registered, as for a connection.

        :raise AddressRefused: the host is not allowed, or its name does not exist.
        :raise chatfiles.errors.Unavailable: the name service does not respond now.
        """
        try:
            await _within(self.connect_timeout, self.reactor, self.addresses(url))
        except (UnicodeError, socket.gaierror) as error:
            if isinstance(error, UnicodeError) or error.errno in _NO_SUCH_NAME:
                raise AddressRefused(f"the host {url.host} does not resolve") from error
            raise _no_answer() from error
        except (OSError, net_error.TimeoutError) as error:
            raise _no_answer() from error

    async def check_url(self, text: str) -> None:
        """
        Check a URL that is being registered: its form, then its host.

        :raise ValueError: the URL is not allowed; the text is a sentence for people.
        :raise chatfiles.errors.Unavailable: the name service does not respond now.
        """
        await self.check_host(parse_workspace_url(text))

    async def addresses(self, url: WorkspaceURL, owner: Owner = None) -> Sequence[IPAddress]:
        """
        Look up the host of *url*, and check every address.

        :param owner: see `NameLookup.addresses`.
        :return: all addresses of the host, at least one; all are allowed.
        :raise AddressRefused: an address is not allowed.
        :raise OSError: the name cannot be looked up.
        """
        if url.address is not None:
            found: Sequence[IPAddress] = (url.address,)
        else:
            found = await self._lookups.addresses(url.host, owner)
        if not found:
            raise socket.gaierror(socket.EAI_NODATA, "no address")
        if len(found) > MAX_ADDRESSES:
            raise AddressRefused(f"the host {url.host} has more than {MAX_ADDRESSES} addresses")
        for address in found:
            if (kind := self._policy.refused_kind(address)) is not None:
                # The text must not name the address: a client that may register would learn the
                # addresses of an internal network.
                what = url.host if url.address else f"an address of the host {url.host}"
                raise AddressRefused(f"{what} is {kind}")
        return found

    def tls_creator(self, url: WorkspaceURL) -> IOpenSSLClientConnectionCreator:
        """
        :return: a creator of TLS connections that verify that the peer is the host of *url*.
        """
        creator: IOpenSSLClientConnectionCreator = self._tls.creatorForNetloc(
            url.host.encode("ascii"), url.port
        )
        return creator


@implementer(IStreamClientEndpoint)
class CheckedEndpoint:
    """
    Connects to an allowed address of one host; see `Dialer.endpoint`.

    :param owner: see `NameLookup.addresses`.
    """

    def __init__(self, dialer: Dialer, url: WorkspaceURL, owner: Owner = None) -> None:
        self._dialer = dialer
        self._url = url
        self._owner = owner

    def owned_by(self, owner: Owner) -> CheckedEndpoint:
        """:return: the same endpoint, whose name look-ups are counted for *owner*."""
        return CheckedEndpoint(self._dialer, self._url, owner)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect to one of the host's addresses.

        :return: the protocol, once it is connected and, for ``https``, the peer is verified.  Fails
            with `AddressRefused`, or with the error of the last address that was tried.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        clock = self._dialer.reactor
        deadline = clock.seconds() + self._dialer.connect_timeout
        found = await _within(
            self._dialer.connect_timeout, clock, self._dialer.addresses(self._url, self._owner)
        )
        left = found[:MAX_ATTEMPTS]
        while True:
            # Each address has a share of the time.  Otherwise one that drops packets would use all
            # of it.
            share = (deadline - clock.seconds()) / len(left)
            try:
                return await _within(share, clock, self._attempt(left[0], factory))
            except net_error.ConnectingCancelledError:
                raise CancelledError from None
            except Exception as error:
                left = left[1:]
                if not left or isinstance(error, (AddressRefused, CancelledError)):
                    raise

    async def _attempt(self, address: IPAddress, factory: IProtocolFactory) -> IProtocol:
        endpoint = TCP4ClientEndpoint if address.version == 4 else TCP6ClientEndpoint
        tcp = endpoint(
            self._dialer.reactor, str(address), self._url.port, self._dialer.connect_timeout
        )
        if self._url.scheme == "http":
            return await tcp.connect(factory)
        verified: Deferred[IProtocol] = Deferred()
        handshake = QuietFactory.forProtocol(partial(_Handshake, factory, verified))
        creator = self._dialer.tls_creator(self._url)
        tls = await tcp.connect(TLSMemoryBIOFactory(creator, True, handshake))
        try:
            return await verified
        except CancelledError:
            if isinstance(tls, TLSMemoryBIOProtocol):
                tls.abortConnection()
            raise


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """Waits until TLS has verified the peer; then the real protocol replaces it."""

    def __init__(self, factory: IProtocolFactory, verified: Deferred[IProtocol]) -> None:
        self._factory = factory
        self._verified = verified

    def handshakeCompleted(self) -> None:
        tls: Any = self.transport
        protocol = self._factory.buildProtocol(tls.getPeer())
        if protocol is None:
            self._verified.errback(net_error.NoProtocol())
            tls.abortConnection()
            return
        tls.wrappedProtocol = protocol
        protocol.makeConnection(tls)
        self._verified.callback(protocol)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._verified.called:
            self._verified.errback(reason)


def _within(seconds: float, clock: IReactorTime, work: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Run *work*; after *seconds*, cancel it and fail with Twisted's ``TimeoutError``."""
    return Deferred.fromCoroutine(work).addTimeout(max(0.0, seconds), clock, _too_late)


def _too_late(_result: object, _seconds: float) -> Failure:
    return Failure(net_error.TimeoutError())


def _no_answer() -> Unavailable:
    return Unavailable("the host of the URL could not be looked up — retry shortly", retry_after=5)
