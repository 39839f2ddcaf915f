"""
The platform's errors (reference/resolution, "Resolution table"): each text and code in one place.
"""

from __future__ import annotations

from datetime import datetime

from chatfiles.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    NotImplementedHere,
    Unauthorized,
    Unavailable,
    UpstreamFailed,
)

__all__ = [
    "credentials_refused",
    "invalid_id",
    "invalid_response",
    "invalid_token",
    "missing_token",
    "no_workspace",
    "out_of_scope",
    "unsupported_operation",
    "url_not_allowed",
    "workspace_busy",
    "workspace_offline",
]


def missing_token() -> Unauthorized:
    """:return: the error for a request without a credential, where one is required."""
    return Unauthorized("missing workspace auth token", code="missing_token")


def invalid_token() -> Unauthorized:
    """:return: the error for a credential that is not valid, or not valid for this workspace."""
    return Unauthorized("invalid workspace auth token", code="invalid_token")


def out_of_scope() -> Forbidden:
    """:return: the error for a token that lacks the required scope."""
    return Forbidden("token does not allow this", code="insufficient_scope")


def invalid_id() -> BadRequest:
    """:return: the error for a workspace id that is not a UUID."""
    return BadRequest("invalid workspace ID", code="invalid_workspace_id")


def no_workspace() -> NotFound:
    """:return: the error for a workspace that does not exist, or has been removed."""
    return NotFound("workspace not found", code="workspace_not_found")


def url_not_allowed(reason: str) -> UpstreamFailed:
    """
    :param reason: why the platform must not connect to the URL or address
        (reference/workspace-urls, "Addresses"), as a sentence for people.
    :return: the error.
    """
    return UpstreamFailed(
        "workspace URL not allowed", code="workspace_url_not_allowed", detail=reason
    )


def invalid_response(detail: str) -> UpstreamFailed:
    """
    :param detail: why the workspace's response cannot be relayed.
    :return: the error.
    """
    return UpstreamFailed(
        "workspace answered badly", code="workspace_answered_badly", detail=detail
    )


def credentials_refused() -> UpstreamFailed:
    """:return: the error for a workspace that refuses the secret in the registry."""
    return UpstreamFailed(
        "workspace refused the platform's credentials", code="workspace_refused_credentials"
    )


def unsupported_operation() -> NotImplementedHere:
    """:return: the error for a workspace that lacks the route of an operation."""
    return NotImplementedHere(
        "workspace does not support this operation", code="operation_unsupported"
    )


def workspace_busy() -> Unavailable:
    """:return: the error for a workspace all of whose connections are in use."""
    return Unavailable("workspace is busy", code="workspace_busy", retry_after=1)


def workspace_offline(seen_at: datetime | None, unreachable_node: bool = False) -> Unavailable:
    """
    :param seen_at: when the workspace was last known to be connected.
    :param unreachable_node: whether it is connected to a node that this one cannot reach.
    :return: the error for a workspace that connects by itself, and is not connected.
    """
    detail = None if seen_at is None else f"last seen {seen_at:%Y-%m-%dT%H:%M:%SZ}"
    if unreachable_node:
        detail = "it is connected to another node of the platform, which has no --node-url"
    return Unavailable(
        "workspace is not connected", code="workspace_offline", retry_after=5, detail=detail
    )
