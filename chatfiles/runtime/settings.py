"""
The settings of the two roles, as validated options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "ChannelSettings",
    "PeerFiles",
    "PlatformSettings",
    "SharedSettings",
    "WorkspaceSettings",
]


@dataclass(frozen=True, slots=True)
class PeerFiles:
    """
    Files in PEM format; an empty path for none.

    :ivar authorities: certificate authorities to trust.
    :ivar only: whether these replace those of the machine; else they are added.
    :ivar certificate: presented to servers that want one, with its chain.
    :ivar key: its private key; empty if *certificate* holds both.
    """

    authorities: str = ""
    only: bool = False
    certificate: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class SharedSettings:
    """The settings of both roles: times in seconds, sizes in bytes."""

    listen: tuple[str, ...]
    max_request_bytes: int
    max_file_bytes: int
    connect_timeout: float
    header_timeout: float
    idle_timeout: float
    drain_timeout: float
    max_resumable_bytes: int = 10 << 30
    fast_path: bool = True
    workers: int = 1
    json_log: bool = False
    metrics_listen: str | None = None
    audit_log: str | None = None
    audit_required: bool = False


@dataclass(frozen=True, slots=True)
class PlatformSettings:
    """The settings of a platform: times in seconds."""

    shared: SharedSettings
    state_dir: str
    database: str
    registry_timeout: float
    admin_token_file: str
    upstream_allow: tuple[str, ...]
    trusted_proxy: tuple[str, ...]
    open_registration: bool
    drain_delay: float
    ui: bool = True
    public_url: str = ""
    allow_origin: tuple[bytes, ...] = ()
    max_transfers: int = 4096
    max_transfers_per_workspace: int = 512
    max_transfers_per_token: int = 64
    max_refusals_per_client: int = 20
    node_url: str | None = None
    node_listen: str | None = None
    role: ClassVar[str] = "platform"
    peers: PeerFiles = PeerFiles()


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """
    The connections that a workspace makes to its platform, to be reached over them.

    :ivar idle: how many wait for requests.
    :ivar most: how many there are in all.
    """

    idle: int
    most: int


@dataclass(frozen=True, slots=True)
class WorkspaceSettings:
    """
    The settings of a workspace: sizes in bytes; *channel* is ``None`` if the platform connects to
    it.
    """

    shared: SharedSettings
    roots: Mapping[bytes, str]
    configs_dir: str
    platform: str | None
    workspace_id: str | None
    advertise: str | None
    deny: tuple[bytes, ...]
    digest_inline_bytes: int
    archive_max_entries: int = 100_000
    archive_max_bytes: int = 1 << 40
    max_archives: int = 4
    max_list_entries: int = 1_000_000
    upload_expiry: float = 86400.0
    max_unfinished_uploads: int = 64
    writable: tuple[bytes, ...] = ()
    write_in_place: tuple[bytes, ...] = ()
    role: ClassVar[str] = "workspace"
    peers: PeerFiles = PeerFiles()
    channel: ChannelSettings | None = None
