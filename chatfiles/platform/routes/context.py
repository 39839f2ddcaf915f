"""
The context of the platform's routes: the objects that their handlers use.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from twisted.internet.interfaces import IReactorTime

from chatfiles.model import new_secret
from chatfiles.platform.authentication import Authenticator
from chatfiles.platform.channel.channels import Channels
from chatfiles.platform.channel.node import Node
from chatfiles.platform.forwarding.interface import IWorkspaceGateway
from chatfiles.platform.forwarding.resolver import Resolver
from chatfiles.platform.last_seen import LastSeenBuffer
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.signed_links import Links
from chatfiles.platform.transfer_limits import TransferLimits
from chatfiles.rules.upload_head import MAX_FILES
from chatfiles.streams.splice import Splicer

__all__ = ["PlatformContext", "UploadLimits"]


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """
    The limits of one upload, in bytes and in numbers of files.
    """

    per_file_bytes: int
    per_request_bytes: int
    max_files_per_request: int = MAX_FILES
    max_attachments_per_message: int = 10
    resumable_bytes: int = 10 << 30


@dataclass(frozen=True, slots=True)
class PlatformContext:
    """
    The objects that the handlers use.

    :param registry: stores the workspaces and their tokens.
    :param authenticator: checks credentials.
    :param heartbeats: buffers the time of each workspace's last heartbeat.
    :param resolver: finds the address of a workspace.
    :param gateway: sends requests to workspaces.
    :param links: makes and checks signed links.
    :param check_url: raises `ValueError` with the reason if a workspace may not have this URL;
        looks up its host name.
    :param clock: runs timers.
    :param idle_timeout: seconds without progress after which a transfer is aborted.
    :param limits: the limits of one upload.
    :param channels: holds the connections that workspaces have made.
    :param node: this node of the platform.
    :param transfers: counts and limits the transfers that run.
    :param make_secret: returns a new token or inbound secret.
    :param splicer: lets the kernel relay large files.
    :param ui: whether the web page is served.
    :param allowed_origins: the origins whose pages may use resumable uploads.
    :param has_prefix: whether the URL of the platform for clients has a path.
    """

    registry: IWorkspaceRegistry
    authenticator: Authenticator
    heartbeats: LastSeenBuffer
    resolver: Resolver
    gateway: IWorkspaceGateway
    links: Links
    check_url: Callable[[str], Awaitable[None]]
    clock: IReactorTime
    idle_timeout: float
    limits: UploadLimits
    channels: Channels
    node: Node
    transfers: TransferLimits = field(default_factory=TransferLimits)
    make_secret: Callable[[], str] = new_secret
    splicer: Splicer = field(default_factory=Splicer)
    ui: bool = True
    allowed_origins: frozenset[bytes] = frozenset()
    has_prefix: bool = False
