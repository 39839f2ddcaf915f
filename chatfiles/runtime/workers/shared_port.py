"""
A listening socket that several processes share.

Twisted's own ports are not fit for this.  They accept up to a hundred connections at a time.  One
on a Unix socket resets the mode of the socket, and removes it at its end.
"""

from __future__ import annotations

import errno
import socket
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory
from twisted.logger import Logger
from zope.interface import implementer

from chatfiles.runtime.workers.load import Load

__all__ = ["SharedPort"]

#: Errors of accept that mean that this process or machine has no room for a connection.
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
#: Seconds until the next attempt then.  Meanwhile other processes may accept the connection.
_PAUSE: Final = 0.1
#: Seconds in which a worker with fewer connections may accept those that wait.  It may hang, so
#: after that any worker accepts up to this many of them.
_PATIENCE: Final = 0.005
_AT_A_TIME: Final = 4


@implementer(IListeningPort)
class SharedPort(FileDescriptor):
    """
    Accepts connections from a socket that another process has opened, a few at a time.

    :param reactor: of this process.
    :param listener: the socket, which is listening and non-blocking; it is closed at the end.
    :param factory: makes the protocols.
    :param load: of this process.
    """

    _logger = Logger()

    def __init__(
        self, reactor: Any, listener: socket.socket, factory: IProtocolFactory, load: Load
    ) -> None:
        super().__init__(reactor)
        self._sockets = reactor
        self._listener = listener
        self._factory = factory
        self._load = load
        self._allowed = 0
        self._is_full = False
        self.fileno = listener.fileno  # type: ignore[method-assign]

    def startListening(self) -> None:
        """Begin to accept connections."""
        self._factory.doStart()
        self._load.is_ahead()  # from now on, this worker counts
        self.connected = True
        self.startReading()

    def getHost(self) -> IAddress:
        """Not available: the first process knows the address."""
        raise NotImplementedError

    def stopListening(self) -> Deferred[None]:
        """
        Close the socket in this process.  Connections that wait to be accepted stay in its queue
        as long as another process has it open.

        :return: has fired.
        """
        if self.connected:
            self.connected = False
            self.stopReading()
            self._load.forget()
            self._listener.close()
            self._factory.doStop()
        return succeed(None)

    def logPrefix(self) -> str:
        """:return: the name in messages of the reactor."""
        return "listener"

    def doRead(self) -> None:
        """Accept a few connections.  Another process may have been faster."""
        if self._load.is_ahead() and not self._allowed:
            self._allowed = _AT_A_TIME
            self._pause(_PATIENCE)
            return
        for _ in range(_AT_A_TIME):
            self._allowed = max(0, self._allowed - 1)
            if not self._accept() or self._load.is_ahead():
                return

    def _accept(self) -> bool:
        """:return: whether there was a connection."""
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            self._not_accepted(error)
            return False
        self._is_full = False
        with connection:  # the transport has a duplicate
            connection.setblocking(False)
            try:
                self._sockets.adoptStreamConnection(
                    connection.fileno(), connection.family, self._factory
                )
            except OSError as error:  # the client has left, or there is no descriptor
                self._not_accepted(error)
                return False
        return True

    def _not_accepted(self, error: OSError) -> None:
        if error.errno not in _NO_ROOM:  # nothing to accept, or the client has left
            self._allowed = 0
            return
        if not self._is_full:
            self._logger.warn("cannot accept connections: {reason}", reason=error.strerror)
        self._is_full = True
        self._pause(_PAUSE)

    def _pause(self, seconds: float) -> None:
        self.stopReading()
        self._sockets.callLater(seconds, self._resume)

    def _resume(self) -> None:
        if self.connected:
            self.startReading()
