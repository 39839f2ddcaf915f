"""
What the platform's routes work with: everything comes in by argument.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from chatfiles.http.server.endpoint import Endpoint
from chatfiles.model import new_secret
from chatfiles.platform.authentication import Authenticator
from chatfiles.platform.forwarding.interface import IWorkspaceGateway
from chatfiles.platform.forwarding.resolver import Resolver
from chatfiles.platform.last_seen import LastSeenBuffer
from chatfiles.platform.registry.interface import IWorkspaceRegistry

__all__ = ["PlatformContext", "PlatformEndpoint", "UploadLimits"]


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """
    What one upload may hold (CONTRACT 7), in bytes and files.
    """

    per_file_bytes: int
    per_request_bytes: int
    max_files_per_request: int = 64
    max_attachments_per_message: int = 10


@dataclass(frozen=True, slots=True)
class PlatformContext:
    """
    :param heartbeats: when workspaces were last heard of.
    :param check_url: raises `ValueError` with the reason when a workspace's URL is not allowed;
        looks its host up (CONTRACT 8).
    :param idle_timeout: seconds without progress after which a transfer is cut.
    :param open_registration: see CONTRACT 2.
    :param make_secret: mints tokens and secrets.
    """

    registry: IWorkspaceRegistry
    authenticator: Authenticator
    heartbeats: LastSeenBuffer
    resolver: Resolver
    gateway: IWorkspaceGateway
    check_url: Callable[[str], Awaitable[None]]
    clock: IReactorTime
    idle_timeout: float
    limits: UploadLimits
    open_registration: bool = False
    make_secret: Callable[[], str] = new_secret


class PlatformEndpoint(Endpoint):
    """
    A route of the platform.

    :param context: what it works with.
    """

    def __init__(self, context: PlatformContext) -> None:
        super().__init__()
        self._context = context
