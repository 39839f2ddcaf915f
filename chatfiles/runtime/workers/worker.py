"""
The side of a worker: it listens on sockets that the first process has opened.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from chatfiles.runtime.role_service import RoleService
from chatfiles.runtime.systemd_endpoint import SYSTEMD
from chatfiles.runtime.workers.descriptors import (
    COMMANDS,
    FIRST_LISTENER,
    LOADS,
    REGISTER_AGAIN,
    REGISTERED,
    REPORTS,
    STOP_NOW,
    STOPPED_LISTENING,
)
from chatfiles.runtime.workers.load import Load, SharedLoads
from chatfiles.runtime.workers.shared_port import SharedPort

__all__ = ["Supervisor", "inherited_endpoint"]


class Supervisor(Protocol):
    """
    A worker's connection to the first process.

    The first process passes on SIGTERM.  Ctrl-C reaches all processes of a terminal, so workers
    ignore SIGINT.

    :param reactor: provides ``IReactorFDSet``.
    :param number: of the worker.
    :ivar number: *number*.
    :ivar load: of the worker.
    :ivar shared_fd: a file that all workers have open.
    :ivar is_first: whether it is the first of the workers.
    :ivar service: the role, which is stopped at the command of the first process, and if it ends.
    """

    service: RoleService
    shared_fd = LOADS

    def __init__(self, reactor: Any, number: int) -> None:
        self.number = number
        self.is_first = number == 1
        self._is_registered = False
        self._registered: Callable[[], object] = lambda: None
        self.load = Load(SharedLoads(LOADS), number, lambda: self.service.connections)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        channel: Any = StandardIO  # its stub has neither descriptors nor reactor
        channel(self, COMMANDS, REPORTS, reactor=reactor)

    def dataReceived(self, data: bytes) -> None:
        """Carry out a command."""
        if REGISTERED in data:
            self._is_registered = True
            self._registered()
        if STOP_NOW in data:
            self.service.stop_now()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The first process has ended: drain, so that another one can listen on the same ports."""
        os.kill(os.getpid(), signal.SIGTERM)

    def ready(self, missing: str) -> None:
        """
        Report that the worker accepts connections.

        :param missing: why ``/ready`` is not 200; empty if it is.
        """
        self._report(" ".join(missing.splitlines()).encode())

    def stopped_listening(self) -> None:
        """Report that the worker accepts no more connections."""
        self._report(STOPPED_LISTENING)

    def register(self) -> None:
        """Report that another registration is needed."""
        self._report(REGISTER_AGAIN)

    def when_registered(self, call: Callable[[], object]) -> None:
        """See `ReadyReport`."""
        self._registered = call
        if self._is_registered:
            call()

    def _report(self, line: bytes) -> None:
        assert self.transport is not None
        self.transport.write(line + b"\n")


def inherited_endpoint(
    reactor: Any, load: Load, description: str, index: int
) -> IStreamServerEndpoint:
    """
    :param reactor: of the worker.
    :param load: of the worker.
    :param description: the endpoint string of a listener.
    :param index: its index among the listeners.
    :return: an endpoint that accepts from the socket of the first process.
    :raise Exception: Twisted does not accept the string.
    """
    opener = _InheritedSocket(reactor, load, FIRST_LISTENER + index)
    if description.startswith(SYSTEMD):  # only the first process has the descriptors of systemd
        return _InheritedEndpoint(opener)
    endpoint: IStreamServerEndpoint = serverFromString(opener, description)
    return endpoint


class _InheritedSocket:
    """
    The reactor, for an endpoint: whatever the endpoint would open, it gets the inherited socket.

    :param reactor: the reactor itself.
    :param load: of the worker.
    :param fd: the socket.
    """

    #: Tells the endpoint `chatfiles-tls:` that the first process reports what happens to files.
    is_worker = True

    def __init__(self, reactor: Any, load: Load, fd: int) -> None:
        self._reactor = reactor
        self._load = load
        self._fd = fd

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, _port: int, factory: IProtocolFactory, *_: Any, **__: Any) -> SharedPort:
        """See `IReactorTCP`."""
        listener = socket.socket(fileno=self._fd)
        port = SharedPort(self._reactor, listener, factory, self._load)
        port.startListening()
        return port

    def listenSSL(
        self, port: int, factory: IProtocolFactory, contextFactory: Any, *_: Any, **__: Any
    ) -> SharedPort:
        """See `IReactorSSL`."""
        return self.listenTCP(port, TLSMemoryBIOFactory(contextFactory, False, factory))

    def listenUNIX(self, _path: Any, factory: IProtocolFactory, *_: Any, **__: Any) -> SharedPort:
        """See `IReactorUNIX`."""
        return self.listenTCP(0, factory)


@implementer(IStreamServerEndpoint)
class _InheritedEndpoint:
    """
    :param opener: has the socket.
    """

    def __init__(self, opener: _InheritedSocket) -> None:
        self._opener = opener

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen on the socket."""
        return succeed(self._opener.listenTCP(0, protocolFactory))
