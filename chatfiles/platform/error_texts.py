"""
What the platform tells its callers when it refuses (reference/resolution, "Resolution table"): each
text and code in one place.
"""

from __future__ import annotations

from chatfiles.errors import BadRequest, Forbidden, NotFound, Unauthorized, UpstreamFailed

__all__ = [
    "answered_badly",
    "credentials_refused",
    "invalid_id",
    "invalid_token",
    "missing_token",
    "no_workspace",
    "out_of_scope",
    "url_not_allowed",
]


def missing_token() -> Unauthorized:
    """No credential that counts."""
    return Unauthorized("missing workspace auth token", code="missing_token")


def invalid_token() -> Unauthorized:
    """One that is not valid, or not for this workspace."""
    return Unauthorized("invalid workspace auth token", code="invalid_token")


def out_of_scope() -> Forbidden:
    """A token without the scope that this takes."""
    return Forbidden("token does not allow this", code="insufficient_scope")


def invalid_id() -> BadRequest:
    """The id of a workspace is not a UUID."""
    return BadRequest("invalid workspace ID", code="invalid_workspace_id")


def no_workspace() -> NotFound:
    """There is none of that id, or it has been removed."""
    return NotFound("workspace not found", code="workspace_not_found")


def url_not_allowed(reason: str) -> UpstreamFailed:
    """
    :param reason: why the URL or address must not be dialled (reference/workspace-urls,
        "Addresses"), a sentence for a person.
    """
    return UpstreamFailed(
        "workspace URL not allowed", code="workspace_url_not_allowed", detail=reason
    )


def answered_badly(detail: str) -> UpstreamFailed:
    """
    :param detail: why the answer cannot be relayed.
    """
    return UpstreamFailed(
        "workspace answered badly", code="workspace_answered_badly", detail=detail
    )


def credentials_refused() -> UpstreamFailed:
    """The workspace does not take the secret that the registry has."""
    return UpstreamFailed(
        "workspace refused the platform's credentials", code="workspace_refused_credentials"
    )
