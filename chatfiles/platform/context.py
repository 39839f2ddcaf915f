"""
What the platform's routes work with: everything comes in by argument.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from chatfiles.interfaces import IWorkspaceGateway, IWorkspaceRegistry
from chatfiles.model import new_secret
from chatfiles.platform.moments import LatestMoments
from chatfiles.platform.resolve import Resolver
from chatfiles.platform.tokens import Authenticator

__all__ = ["PlatformContext", "UploadLimits"]


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
    heartbeats: LatestMoments
    resolver: Resolver
    gateway: IWorkspaceGateway
    check_url: Callable[[str], Awaitable[None]]
    clock: IReactorTime
    idle_timeout: float
    limits: UploadLimits
    open_registration: bool = False
    make_secret: Callable[[], str] = new_secret
