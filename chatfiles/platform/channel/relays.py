"""
Connections to workspaces that are connected to another node, through that node.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from chatfiles.errors import ChatfilesError, UpstreamFailed
from chatfiles.platform.error_texts import workspace_busy
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.upstream.channels import RELAY
from chatfiles.platform.upstream.connection import Keeper, WorkspaceConnection
from chatfiles.platform.upstream.dialer import QuietFactory
from chatfiles.rules.channel_upgrade import RELAY_PROTOCOL, response_fault, upgrade_request
from chatfiles.rules.header_fields import HeaderValues, read_fields
from chatfiles.streams.memory_budget import MemoryBudget
from chatfiles.streams.transports import hand_over, is_plain

__all__ = ["HOPS", "RELAY_PATH", "Relays"]

#: The route of a node for other nodes; the id of the workspace follows.
RELAY_PATH: Final = "/internal/channel/"
#: Says that no other node is between the one that asks and the one that is asked.
HOPS: Final = (b"Chatfiles-Hops", b"1")
#: Bytes of a response that are read at most.
_MOST: Final = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2})(?: [^\r\n]*)?")


class RelayedConnection(WorkspaceConnection):
    """A connection to a workspace through another node, for one request."""

    via = RELAY

    def connectionMade(self) -> None:
        """The other node copies all bytes from now on."""
        self._plain = is_plain(self.transport)
        super().connectionMade()


class Relays(Keeper):
    """
    Makes connections through other nodes.

    :param reactor: connects.
    :param registry: has the secrets of workspaces, which nodes show each other.
    :param connect_timeout: seconds to connect to another node.
    :ivar open: number of these connections.
    """

    def __init__(self, reactor: Any, registry: IWorkspaceRegistry, connect_timeout: float) -> None:
        self.open = 0
        self._reactor = reactor
        self._registry = registry
        self._connect_timeout = connect_timeout
        self._budget = MemoryBudget()

    async def connect(self, url: str, workspace_id: UUID) -> WorkspaceConnection:
        """
        :param url: of the other node: ``http://HOST:PORT`` or ``unix:PATH``.
        :param workspace_id: the workspace.
        :return: a connection on which the workspace has just responded.
        :raise UpstreamFailed: there is none through that node.
        :raise chatfiles.errors.Unavailable: the workspace is busy there.
        """
        workspace = await self._registry.workspace(workspace_id)
        secret = workspace.inbound_secret if workspace is not None else None
        if not secret:
            raise UpstreamFailed
        connection = RelayedConnection(self, self._budget, workspace_id, plain=False)
        asking = _Asking(connection, _request(url, workspace_id, secret))
        try:
            await self._endpoint(url).connect(QuietFactory.forProtocol(lambda: asking))
        except ConnectingCancelledError:
            raise CancelledError from None
        except (CancelledError, ChatfilesError):
            raise
        except Exception as error:
            raise UpstreamFailed from error
        return await asking.result

    def _endpoint(self, url: str) -> IStreamClientEndpoint:
        reactor, timeout = self._reactor, self._connect_timeout
        if url.startswith("unix:"):
            return UNIXClientEndpoint(reactor, url.removeprefix("unix:"), timeout)
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("ascii")
        return HostnameEndpoint(reactor, host, parts.port or 80, timeout)

    # -- for the connections (Keeper)

    def put(self, connection: WorkspaceConnection) -> None:
        """The response is complete: the connection is for one request only."""
        connection.disconnect()

    def drop(self, connection: WorkspaceConnection) -> None:
        """It is lost."""

    def counts(self) -> tuple[int, int]:
        """:return: how many are idle, which none is, and how many there are in all."""
        return 0, self.open


def _request(url: str, workspace_id: UUID, secret: str) -> bytes:
    host = b"node.invalid" if url.startswith("unix:") else urlsplit(url).netloc.encode("ascii")
    path = (RELAY_PATH + str(workspace_id)).encode("ascii")
    bearer = "".join(secret.split()).encode()
    return upgrade_request(path, host, bearer, [HOPS], RELAY_PROTOCOL)


class _Asking(Protocol):
    """
    Asks another node for a connection.

    :param connection: takes the place of this protocol if there is one.
    :param request: of the upgrade.
    :ivar result: the connection.
    """

    def __init__(self, connection: WorkspaceConnection, request: bytes) -> None:
        self.result: Deferred[WorkspaceConnection] = Deferred(lambda _: self._close())
        self._connection = connection
        self._request = request
        self._received = b""

    def connectionMade(self) -> None:
        """Ask."""
        assert self.transport is not None
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """A part of the response."""
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if len(self._received) > _MOST:
            self._fail()
        elif end:
            self._read(head, rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The node is gone."""
        self._fail()

    def _read(self, head: bytes, rest: bytes) -> None:
        line, _, block = head.partition(b"\r\n")
        status, fields = _STATUS.fullmatch(line), read_fields(block + b"\r\n")
        if status is None or fields is None:
            self._fail()
            return
        values = HeaderValues()
        for name, value in fields:
            values.setdefault(name, []).append(value)
        if status[1] == b"101" and not rest and not response_fault(values, RELAY_PROTOCOL):
            hand_over(self.transport, self._connection)
            self.result.callback(self._connection)
        elif status[1] != b"503":
            self._fail()
        elif rest.endswith(b"}\n"):
            self._fail(workspace_busy() if _code(rest) == workspace_busy().code else None)

    def _fail(self, error: ChatfilesError | None = None) -> None:
        if not self.result.called:
            self.result.errback(Failure(error or UpstreamFailed()))
        self._close()

    def _close(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.abortConnection()


def _code(body: bytes) -> object:
    try:
        return json.loads(body)["code"]
    except (ValueError, LookupError, TypeError):
        return None
