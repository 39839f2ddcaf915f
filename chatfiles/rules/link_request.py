"""
What a request for a signed link asks for (reference/links, "Making a link").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from chatfiles.errors import BadRequest
from chatfiles.model import Scope
from chatfiles.rules.archive_request import archive_format
from chatfiles.rules.json_path import invalid_field, named_path
from chatfiles.rules.parameters import invalid
from chatfiles.rules.signed_links import MAX_LIFETIME, LinkOperation, join_options

__all__ = ["LinkLimits", "LinkRequest", "link_operation", "link_request", "scope_of"]

#: Seconds for which a link is valid if the request does not say.
DEFAULT_LIFETIME: Final = 3600
#: The most characters of an entity tag, with its quotes.
MAX_ETAG: Final = 256

#: The member, the operation that has it, and the short name of the option that it becomes.
_MEMBERS: Final = (
    ("disposition", LinkOperation.FILE, "d"),
    ("format", LinkOperation.ARCHIVE, "f"),
    ("max_bytes", LinkOperation.UPLOAD, "mb"),
    ("max_files", LinkOperation.UPLOAD, "mf"),
    ("version", LinkOperation.FILE, "v"),
)
# A strong entity tag (RFC 9110, 8.8.3) of ASCII, without the character that divides options.
_ETAG = re.compile(r"\"([!#-:<-~]*)\"")


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """
    The limits of one upload at this platform.

    :param max_bytes: of a request.
    """

    max_bytes: int
    max_files: int


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """
    A request for a link.

    :param path: the virtual path; empty for an upload.
    :param options: see `chatfiles.rules.signed_links.join_options`.
    :param expires_in: seconds.
    """

    operation: LinkOperation
    path: bytes
    options: bytes
    expires_in: int


def scope_of(operation: LinkOperation) -> Scope:
    """:return: the scope that a token needs to make such a link, and for the link to remain."""
    return Scope.WRITE if operation is LinkOperation.UPLOAD else Scope.READ


def link_operation(body: Mapping[str, Any]) -> LinkOperation:
    """
    :param body: the JSON body of a request.
    :return: the operation of the link.
    :raise BadRequest: there is no such operation.
    """
    given = body.get("operation")
    try:
        return LinkOperation.FILE if given is None else LinkOperation(given)
    except ValueError:
        raise invalid("operation") from None


def link_request(
    body: Mapping[str, Any], operation: LinkOperation, limits: LinkLimits
) -> LinkRequest:
    """
    :param body: the JSON body of a request.
    :param operation: the result of `link_operation`.
    :return: what it asks for.
    :raise BadRequest: the first member that is wrong, in the order of the reference.
    """
    path = _path(body, operation)
    expires_in = _expires_in(body)
    read: dict[str, Callable[[Any], str]] = {
        "disposition": _disposition,
        "format": archive_format,
        "max_bytes": lambda given: _at_most("max_bytes", given, limits.max_bytes),
        "max_files": lambda given: _at_most("max_files", given, limits.max_files),
        "version": _version,
    }
    options = {}
    for name, owner, short in _MEMBERS:
        given = body.get(name)
        if given is not None:
            if operation is not owner:
                raise invalid_field(f"{name} does not belong to a link for operation {operation}")
            options[short] = str(read[name](given))
    if options.get("d") == "attachment":  # as without the member
        del options["d"]
    return LinkRequest(operation, path, join_options(options), expires_in)


def _path(body: Mapping[str, Any], operation: LinkOperation) -> bytes:
    if operation is not LinkOperation.UPLOAD:
        return named_path(body).raw
    if body.get("path") is not None or body.get("ref") is not None:
        raise invalid_field("an upload link has no path")
    return b""


def _expires_in(body: Mapping[str, Any]) -> int:
    # Unlike elsewhere, null does not count as absent: it could be meant as "never".
    given = body.get("expires_in", DEFAULT_LIFETIME)
    if type(given) is not int or not 1 <= given <= MAX_LIFETIME:
        text = f"expires_in must be 1 to {MAX_LIFETIME}"
        raise BadRequest(text, code="invalid_expires_in")
    return given


def _disposition(given: object) -> str:
    if given not in ("attachment", "inline"):
        raise invalid("disposition")
    return str(given)


def _at_most(name: str, given: object, limit: int) -> str:
    if type(given) is not int or not 1 <= given <= limit:
        raise invalid_field(f"{name} must be 1 to {limit}")
    return str(given)


def _version(given: object) -> str:
    match = _ETAG.fullmatch(given) if isinstance(given, str) else None
    if match is None or len(match[0]) > MAX_ETAG:
        raise invalid("version")
    return match[1]
