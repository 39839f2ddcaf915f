"""
What the handlers of the platform's routes work with.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from chatfiles.model import new_secret
from chatfiles.platform.authentication import Authenticator
from chatfiles.platform.forwarding.interface import IWorkspaceGateway
from chatfiles.platform.forwarding.resolver import Resolver
from chatfiles.platform.last_seen import LastSeenBuffer
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.rules.upload_head import MAX_FILES

__all__ = ["PlatformContext", "UploadLimits"]


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """
    What one upload may contain, in bytes and in numbers of files.
    """

    per_file_bytes: int
    per_request_bytes: int
    max_files_per_request: int = MAX_FILES
    max_attachments_per_message: int = 10


@dataclass(frozen=True, slots=True)
class PlatformContext:
    """
    :param registry: the workspaces and their tokens.
    :param authenticator: checks credentials.
    :param heartbeats: when each workspace was last heard of.
    :param resolver: finds the address of a workspace.
    :param gateway: sends requests to workspaces.
    :param check_url: raises `ValueError` with the reason if a workspace may not have that URL;
        looks up its host name.
    :param clock: for timers.
    :param idle_timeout: seconds without progress after which a transfer is aborted.
    :param limits: of uploads.
    :param make_secret: makes tokens and inbound secrets.
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
    make_secret: Callable[[], str] = new_secret
