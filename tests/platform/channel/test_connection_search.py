"""
Tests for `chatfiles.platform.channel.connection_search`: connections through other nodes.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from twisted.python.failure import Failure

from chatfiles.errors import UpstreamFailed
from chatfiles.platform.error_texts import workspace_busy
from tests.contract.registry_case import FIRST
from tests.platform.channel.channel_case import CONNECT_TIMEOUT, OTHER_NODE, ChannelCase

URL = "http://b:1"


class SearchTests(ChannelCase):
    """A workspace that is connected to another node."""

    def setUp(self) -> None:
        super().setUp()
        self.get(self.registry.enter_node(OTHER_NODE, URL))
        self.get(self.registry.open_channel(FIRST, OTHER_NODE))

    def test_relayed(self) -> None:
        """The other node is asked, and its connection is the result."""
        result = self.connect()
        ((url, relayed),) = self.relayed
        self.assertEqual(url, URL)
        found: Any = object()
        relayed.callback(found)
        self.assertIs(self.successResultOf(result), found)

    def test_nothing_left(self) -> None:
        """A request that has ended does not wait for changes any more, however it has ended."""
        found: Any = object()
        for outcome in (found, Failure(workspace_busy())):
            result = self.connect()
            self.relayed[-1][1].callback(outcome)
            result.addErrback(lambda _: None)
            self.assertEqual(self.node._hearing, {})
        result = self.connect()
        result.addErrback(lambda _: None)
        result.cancel()
        self.assertEqual(self.node._hearing, {})

    def test_here_first(self) -> None:
        """An idle connection here is used, and no other node is asked."""
        wire = self.park()
        self.is_of(self.connect(), wire)
        self.assertEqual(self.relayed, [])

    def test_here_meanwhile(self) -> None:
        """A connection that becomes idle here while another node is asked is the result."""
        result = self.connect()
        wire = self.park()
        self.is_of(result, wire)
        ((_, relayed),) = self.relayed
        self.assertTrue(relayed.called, "it was cancelled")
        relayed.addErrback(lambda _: None)

    def test_busy_here(self) -> None:
        """If there are connections here, another node is asked only after a moment."""
        self.park()
        self.channels.take(FIRST)
        result = self.connect()
        self.assertEqual(self.relayed, [])
        self.reactor.advance(0.06)
        self.turn()
        self.assertEqual(len(self.relayed), 1)
        found: Any = object()
        self.relayed[0][1].callback(found)
        self.assertIs(self.successResultOf(result), found)

    def test_busy_there(self) -> None:
        """If the workspace is busy at the other node, it is busy."""
        result = self.connect()
        self.relayed[0][1].errback(Failure(workspace_busy()))
        self.fails(result, "workspace_busy")

    def test_gone(self) -> None:
        """If the other node is gone, a connection is waited for, as the workspace makes one."""
        result = self.connect()
        self.relayed[0][1].errback(Failure(UpstreamFailed()))
        self.turn()
        self.assertNoResult(result)
        self.is_of(result, self.park())

    def test_gone_for_good(self) -> None:
        """If none comes, the workspace is offline."""
        result = self.connect()
        self.relayed[0][1].errback(Failure(UpstreamFailed()))
        self.advance(5.5)
        self.fails(result, "workspace_offline")

    def test_moved(self) -> None:
        """While a request waits, a node to which the workspace connects is asked."""
        result = self.connect()
        self.relayed[0][1].errback(Failure(UpstreamFailed()))
        self.turn()
        self.get(self.registry.enter_node(OTHER_NODE, "http://c:1"))
        self.get(self.registry.open_channel(FIRST, OTHER_NODE))
        self.turn()
        self.assertEqual(self.relayed[-1][0], "http://c:1")
        self.assertNoResult(result)
        result.addErrback(lambda _: None)
        result.cancel()

    def test_dead_node(self) -> None:
        """A node that was not seen for 30 seconds is not asked."""
        self.advance(31)
        self.fails(self.connect(), "workspace_offline")
        self.assertEqual(self.relayed, [])

    def test_silent_node(self) -> None:
        """A node that does not respond, as its machine is gone, has a share of the time."""
        later = UUID(int=0xC)
        self.get(self.registry.enter_node(later, "http://c:1"))
        self.advance(1)
        self.get(self.registry.open_channel(FIRST, later))
        result = self.connect()
        self.assertEqual([url for url, _ in self.relayed], ["http://c:1"])
        self.advance(CONNECT_TIMEOUT / 2)
        self.assertEqual([url for url, _ in self.relayed], ["http://c:1", URL])
        found: Any = object()
        self.relayed[1][1].callback(found)
        self.assertIs(self.successResultOf(result), found)

    def test_silent_node_is_forgotten(self) -> None:
        """It is not asked any more when it is dead, though nothing in the registry changes."""
        for _ in range(6):
            self.fails_after(CONNECT_TIMEOUT + 0.5, "workspace_busy")
        asked = len(self.relayed)
        self.fails(self.connect(), "workspace_offline")
        self.assertEqual(len(self.relayed), asked)

    def fails_after(self, seconds: float, code: str) -> None:
        """A request fails when the time is over."""
        result = self.connect()
        self.advance(seconds)
        self.fails(result, code)

    def test_no_url(self) -> None:
        """A node that has no URL is not asked; the error says so."""
        self.get(self.registry.enter_node(OTHER_NODE, None))
        self.get(self.registry.open_channel(FIRST, OTHER_NODE))
        result = self.connect()
        self.advance(5.5)
        error = self.fails(result, "workspace_offline")
        self.assertIn("--node-url", str(error.detail))
        self.assertEqual(self.relayed, [])

    def test_registry_down(self) -> None:
        """Without the registry, a workspace that is not connected here is not found."""
        self.registry.failing = True
        self.fails(self.connect(), "platform_unavailable")
        wire = self.park()
        self.is_of(self.connect(), wire)
