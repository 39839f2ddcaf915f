"""
The platform's errors (reference/resolution, "Resolution table"): each text and code in one place.
"""

from __future__ import annotations

from chatfiles.errors import (
    BadRequest,
    Forbidden,
    NotFound,
    NotImplementedHere,
    Unauthorized,
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
