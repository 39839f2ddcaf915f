"""
The endpoint ``chatfiles-tls:`` (reference/tls, "Listeners").
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.logger import Logger
from twisted.plugin import IPlugin
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from chatfiles.runtime.file_watch import FileWatch
from chatfiles.runtime.tls.files import SILENT
from chatfiles.runtime.tls.server import ServerCertificates

__all__ = ["PREFIX", "TLSEndpoint", "TLSEndpointParser"]

PREFIX = "chatfiles-tls"

_log = Logger()


@implementer(IStreamServerEndpoint)
class TLSEndpoint:
    """
    Listens with TLS.

    :param reactor: provides ``IReactorTCP``, ``IReactorTime`` and ``IReactorFromThreads``.
    :param port: the TCP port.
    :param certificates: serve the clients; renewed while the endpoint listens.
    :param backlog: connections that may wait to be accepted.
    :param interface: the address to listen on; empty for all IPv4 addresses.
    :ivar certificates: serve the clients.
    """

    def __init__(
        self,
        reactor: Any,
        port: int,
        certificates: ServerCertificates,
        *,
        backlog: int = 50,
        interface: str = "",
    ) -> None:
        self.certificates = certificates
        self._watch = FileWatch(reactor, certificates.look)
        self._listen = partial(reactor.listenTCP, port, backlog=backlog, interface=interface)

    def look_now(self) -> Deferred[None]:
        """:return: fires when the files of the certificates have been looked at."""
        return self._watch.look_now()

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen, and look at the files until the port is closed."""
        factory = _WatchingFactory(self.certificates, protocolFactory, self._watch)
        return execute(self._listen, factory)


class _WatchingFactory(TLSMemoryBIOFactory):
    """A port starts and stops its factory, wherever the port comes from."""

    def __init__(
        self, certificates: ServerCertificates, factory: IProtocolFactory, watch: FileWatch
    ) -> None:
        super().__init__(certificates, False, factory)
        self._watch = watch

    def doStart(self) -> None:
        """The port listens."""
        super().doStart()
        self._watch.start()

    def doStop(self) -> None:
        """The port is closed."""
        self._watch.stop()
        super().doStop()


@implementer(IPlugin, IStreamServerEndpointStringParser)
class TLSEndpointParser:
    """Makes the endpoint from its string; ``serverFromString`` finds it as a plugin."""

    prefix = PREFIX

    def parseStreamServer(  # type: ignore[override]
        self,
        reactor: Any,
        port: str,
        certificate: str = "",
        key: str = "",
        client_ca: str = "",
        interface: str = "",
        backlog: str = "50",
    ) -> TLSEndpoint:
        """
        :param reactor: see `TLSEndpoint`.
        :param port: the TCP port.
        :param certificate: see `ServerCertificates`; so are *key* and *client_ca*.
        :param interface: see `TLSEndpoint`; so is *backlog*.
        :raise ValueError: a parameter is not valid, or a file cannot be used.
        """
        if not certificate:
            raise ValueError("certificate= names the file or directory of the certificate")
        # Of several processes, the first one reports.
        log = SILENT if getattr(reactor, "is_worker", False) else _log
        # twistd may change the directory later.
        pem, key, ca = (path and os.path.abspath(path) for path in (certificate, key, client_ca))
        certificates = ServerCertificates(pem, key, ca, log)
        return TLSEndpoint(
            reactor, int(port), certificates, backlog=int(backlog), interface=interface
        )
