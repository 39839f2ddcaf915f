"""
Tests for `chatfiles.platform.routes.channel`, and of what ``/ready`` says of other nodes.  What
needs a connection is in `tests.live.test_channel`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import Mock

from chatfiles.http.server.request import Request
from tests.contract.registry_case import FIRST, SECOND
from tests.platform.memory_platform import MemoryPlatformCase
from tests.support.memory_client import get

UPGRADE = (b"Connection: upgrade", b"Upgrade: ptth", b"ALPN: http%2F1.1")


class ChannelRouteTests(MemoryPlatformCase):
    """A platform with one workspace."""

    def setUp(self) -> None:
        super().setUp()
        self.add(FIRST)
        self.channels: Any = Mock(draining=False)
        self.node: Any = Mock(warnings=())
        self.context = replace(self.context, channels=self.channels, node=self.node)

    def test_draining(self) -> None:
        """While the platform drains, a workspace may connect to another node soon."""
        self.channels.draining = True
        bearer = f"Authorization: Bearer {FIRST}".encode()
        response = self.ask(get(b"/registry/channel", bearer, *UPGRADE))
        self.assertEqual((response.status, response.json["code"]), (503, "draining"))
        self.assertEqual(response.fields["retry-after"], "1")

    def test_full_meanwhile(self) -> None:
        """Connections that are parked while the registry is asked count, too."""
        self.add(SECOND, url=None, delivery_mode="poll")
        for_channel = self.context.authenticator.for_channel
        lookups = []

        async def noted(request: Request) -> Any:
            lookups.append(request)
            self.channels.has_room.return_value = len(lookups) < 3
            return await for_channel(request)

        self.patch(self.context.authenticator, "for_channel", noted)
        bearer = f"Authorization: Bearer {SECOND}".encode()
        response = self.ask(get(b"/registry/channel", bearer, *UPGRADE))
        self.assertEqual((response.status, response.json["code"]), (429, "too_many_channels"))

    def test_warnings(self) -> None:
        """``/ready`` shows what is wrong with the nodes, and nothing otherwise."""
        self.assertNotIn("warnings", self.get("/ready").json)
        self.node.warnings = ("another node shares the database",)
        response = self.get("/ready")
        self.assertEqual(response.status, 200)
        self.assertEqual(response.json["warnings"], ["another node shares the database"])
