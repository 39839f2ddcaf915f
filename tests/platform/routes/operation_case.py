"""
A platform whose network is in memory, and the requests of the tests of its operations.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

from chatfiles.http.server.observers import TransferEnded
from chatfiles.platform.forwarding.gateway import WorkspaceGateway
from chatfiles.platform.forwarding.resolver import Resolver
from chatfiles.platform.routes.route_table import platform_tree
from chatfiles.platform.upstream.agent import UpstreamAgent
from chatfiles.platform.upstream.dialer import Dialer
from chatfiles.rules.address_policy import AddressPolicy
from chatfiles.runtime.name_lookup import NameLookup
from tests.contract.registry_case import FIRST
from tests.http.server.test_observers import Recorder
from tests.platform.memory_platform import MemoryPlatformCase
from tests.platform.upstream.upstream_case import Wire
from tests.support.memory_client import Caller, Received, get, post

__all__ = ["AUTH", "OperationCase", "response", "stream"]

AUTH = f"Authorization: Bearer {FIRST}".encode()
JSON = b"Content-Type: application/json"


def response(status: bytes = b"200 OK", *lines: bytes, body: bytes = b"{}") -> bytes:
    """:return: a response of a workspace, with a length."""
    top = (b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *lines, b"", b"")
    return b"\r\n".join(top) + body


def stream(*lines: bytes, chunks: bytes, status: bytes = b"200 OK") -> bytes:
    """:return: a response of a workspace, in chunks."""
    top = (b"HTTP/1.1 " + status, b"Transfer-Encoding: chunked", *lines, b"", b"")
    return b"\r\n".join(top) + chunks


class OperationCase(MemoryPlatformCase):
    """A platform with one workspace, whose connections are in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.reactor = MemoryReactorClock()
        lookups = NameLookup(lambda _lookup, _host: self.fail("a name"), clock=Clock())
        dialer = Dialer(self.reactor, AddressPolicy(), lookups, connect_timeout=5.0)
        agent = UpstreamAgent(dialer, header_timeout=30.0, idle_timeout=20.0)
        self.addCleanup(agent.close)
        self.context = replace(
            self.context,
            resolver=Resolver(self.context.registry, AddressPolicy()),
            gateway=WorkspaceGateway(agent, self.reactor),
        )
        self.recorder = Recorder()
        self.add(FIRST, "secret", url="http://8.8.8.8:8000")

    def caller(self) -> Caller:
        """:return: a client of the platform."""
        caller = Caller(platform_tree(self.context), observers=(self.recorder,))
        caller.site.new_request_id = lambda: "new"
        return caller

    def accept(self) -> Wire:
        """:return: the connection to the workspace that was made last."""
        return Wire(self.reactor, self.reactor.tcpClients[-1][2].buildProtocol(None))

    @property
    def connections(self) -> int:
        """How many connections to a workspace were made."""
        return len(self.reactor.tcpClients)

    def events(self) -> list[TransferEnded]:
        """:return: the ended transfers since the last call."""
        events, self.recorder.events = self.recorder.events, []
        return [event for event in events if isinstance(event, TransferEnded)]

    def begin(self, request: bytes) -> tuple[Caller, Wire]:
        """:return: the client, and the connection to the workspace, which has the request."""
        before = self.connections
        caller = self.caller().send(request)
        self.assertEqual(self.connections, before + 1, request)
        return caller, self.accept()

    def exchange(self, request: bytes, *pieces: bytes) -> tuple[bytes, Received]:
        """
        Make a request whose workspace sends *pieces* and then closes.

        :return: what the workspace received, and what the client received.
        """
        caller, wire = self.begin(request)
        sent = wire.sent()
        for piece in pieces:
            wire.send(piece)
        wire.lose(ConnectionLost())
        caller.settle()
        return sent, caller.answer(head=request.startswith(b"HEAD"))

    def target(self, operation: str) -> bytes:
        """:return: the target of an operation of the workspace."""
        return f"/workspaces/{FIRST}/fs/{operation}".encode()

    def get(self, operation: str, *lines: bytes, **more: Any) -> bytes:  # type: ignore[override]
        """:return: a request of a client that may make it."""
        return get(self.target(operation), AUTH, *lines, **more)

    def post(self, operation: str, body: bytes, *lines: bytes) -> bytes:
        """:return: as `get`, with a body."""
        return post(body, AUTH, *lines, path=self.target(operation))

    def refused(self, request: bytes) -> tuple[int, str]:
        """
        :return: the status and code of a response that is made without asking the workspace.
        """
        before = self.connections
        answer = self.caller().send(request).answer()
        self.assertEqual(self.connections, before, request)
        return answer.status, answer.json["code"]
