"""
Builds the channel of a workspace from its options.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.web.client import URI
from twisted.web.iweb import IPolicyForHTTPS

from chatfiles.http.server.site import Site
from chatfiles.rules.channel_upgrade import CHANNEL_PATH
from chatfiles.rules.urls import parse_base_url
from chatfiles.runtime.settings import ChannelSettings, WorkspaceSettings
from chatfiles.workspace.channel.service import ChannelService, PlatformAddress
from chatfiles.workspace.registration.platform_client import PlatformEndpoints

__all__ = ["channel_service"]


def channel_service(
    reactor: Any,
    settings: WorkspaceSettings,
    site: Site,
    tls: IPolicyForHTTPS,
    token: Callable[[], Awaitable[str | None]],
    register: Callable[[], object],
) -> ChannelService | None:
    """
    :param reactor: makes the connections.
    :param settings: the operator's options.
    :param site: serves the requests of the platform.
    :param tls: verifies the platform.
    :param token: see `ChannelService`.
    :param register: see `ChannelService`.
    :return: the channel, or this process's part of it; ``None`` if the workspace has none.
    """
    if settings.channel is None or settings.platform is None:
        return None
    base = parse_base_url(settings.platform)
    uri = URI.fromBytes(base.encode("ascii"))
    endpoints = PlatformEndpoints(reactor, settings.shared.connect_timeout, tls)
    path = uri.path.rstrip(b"/") + CHANNEL_PATH.encode("ascii")
    address = PlatformAddress(base, uri.netloc, path, endpoints.endpointForURI(uri))
    share = _share(settings.channel, settings.shared.workers)
    return ChannelService(reactor, address, site, share, token, register)


def _share(settings: ChannelSettings, workers: int) -> ChannelSettings:
    """:return: the connections of one of so many processes; each has at least one."""
    idle = -(-settings.idle // workers)
    return ChannelSettings(idle, max(idle, settings.most // workers))
