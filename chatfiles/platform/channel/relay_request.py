"""
Asks another node for a connection to a workspace.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from chatfiles.errors import ChatfilesError, UpstreamFailed
from chatfiles.platform.error_texts import workspace_busy
from chatfiles.platform.upstream.connection import WorkspaceConnection
from chatfiles.rules.channel_upgrade import RELAY_PROTOCOL, response_fault, upgrade_request
from chatfiles.rules.header_fields import HeaderValues, read_fields
from chatfiles.streams.transports import hand_over

__all__ = ["HOPS", "RELAY_PATH", "RelayRequest", "relay_request"]

#: The route of a node for other nodes; the id of the workspace follows.
RELAY_PATH: Final = "/internal/channel/"
#: Says that no other node is between the one that asks and the one that is asked.
HOPS: Final = (b"Chatfiles-Hops", b"1")
#: Bytes of a response that are read at most.
_MOST: Final = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2})(?: [^\r\n]*)?")


def relay_request(url: str, workspace_id: UUID, secret: str) -> bytes:
    """
    :param url: of the node.
    :param workspace_id: the workspace.
    :param secret: its inbound secret.
    :return: the request of the upgrade.
    """
    host = b"node.invalid" if url.startswith("unix:") else urlsplit(url).netloc.encode("ascii")
    path = (RELAY_PATH + str(workspace_id)).encode("ascii")
    bearer = "".join(secret.split()).encode()
    return upgrade_request(path, host, bearer, [HOPS], RELAY_PROTOCOL)


class RelayRequest(Protocol):
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
        error = UpstreamFailed()
        error.__cause__ = reason.value
        self._fail(error)

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
