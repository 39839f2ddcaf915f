"""
Asks for the SHA-256 of a file, and compares it (reference/digests).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from chatfiles.client.core.answers import as_object, header, integer, text
from chatfiles.client.core.context import Context
from chatfiles.client.core.errors import BadAnswer, Changed, DigestMismatch, PreconditionFailed
from chatfiles.client.core.names import VirtualPath, condition, path_bytes
from chatfiles.client.core.steps import Request, Response, Sleep, Steps
from chatfiles.client.core.values import Digest
from chatfiles.client.core.versions import is_strong
from chatfiles.rules.digest_fields import given_sha256

__all__ = ["WANTED", "Computing", "announced_sha256", "check_sha256", "digest", "digest_of_version"]

#: Is called with the bytes of which a digest has been computed, and with all.
Computing = Callable[[int, int], object]

#: The header of a download that asks for the digest of the whole file.
WANTED = {"Want-Repr-Digest": "sha-256=10"}
#: Seconds until the next question, unless the response says it; the shortest and longest wait.
PAUSE, SHORTEST_PAUSE, LONGEST_PAUSE = 2, 0.25, 30

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SECONDS = re.compile(r"[0-9]{1,9}")


def digest(context: Context, path: VirtualPath, if_match: str | None) -> Steps[Digest]:
    """:return: the operation ``digest``."""
    return _digest(context, path_bytes(path), condition(if_match))


def _digest(context: Context, path: bytes, headers: dict[str, str]) -> Steps[Digest]:
    value = yield from _ask(context, path, headers, None)
    return Digest(_sha256(value), integer(value, "size"), text(value, "etag"))


def _ask(
    context: Context, path: bytes, headers: dict[str, str], computing: Computing | None
) -> Steps[dict[str, Any]]:
    request = Request("GET", context.route("fs/digest", path), headers)
    retries = context.new_retries()
    while True:
        response, value = yield from context.ask(request, (200, 202), retries)
        if response.status == 200:
            return as_object(value)
        if computing is not None:
            computing(integer(as_object(value), "done"), integer(value, "size"))
        wait = header(response, "Retry-After")
        seconds = int(wait) if _SECONDS.fullmatch(wait) else PAUSE
        yield Sleep(max(SHORTEST_PAUSE, min(seconds, LONGEST_PAUSE)))


def _sha256(value: dict[str, Any]) -> str:
    sha256 = text(value, "sha256")
    if not _SHA256.fullmatch(sha256):
        raise BadAnswer("the response has no SHA-256")
    return sha256


def announced_sha256(response: Response) -> str | None:
    """:return: the SHA-256 in ``Repr-Digest``, in hexadecimal digits; ``None`` without one."""
    found = given_sha256([value.encode("latin-1") for value in response.values("Repr-Digest")])
    return None if found is None else found.hex()


def digest_of_version(
    context: Context, path: bytes, etag: str | None, computing: Computing | None = None
) -> Steps[str]:
    """
    :param etag: the validator of the version that was received, if it has one.
    :param computing: called with the bytes that the workspace has read, and with all, while it
        computes the digest.
    :return: its SHA-256 in hexadecimal digits, as the workspace computes it.
    :raise Changed: the file has another version now.
    :raise Refused: there is no digest.
    """
    try:
        match = condition(etag if is_strong(etag) else None)
        found = yield from _ask(context, path, match, computing)
    except PreconditionFailed as error:
        raise _changed() from error
    # A response to If-Match is of that version, even if it does not say so.
    is_known = etag is None or (is_strong(etag) and "etag" not in found)
    if not is_known and _opaque(text(found, "etag")) != _opaque(str(etag)):
        raise _changed()
    return _sha256(found)


def _changed() -> Changed:
    return Changed("the file has changed since it was downloaded, so it cannot be verified")


def _opaque(etag: str) -> str:
    """:return: what a weak comparison compares (RFC 9110, 8.8.3.2)."""
    return etag.removeprefix("W/")


def check_sha256(expected: str, actual: str) -> None:
    """:raise DigestMismatch: the two differ."""
    if expected != actual:
        raise DigestMismatch(
            f"the bytes have the SHA-256 {actual}, not {expected}", expected=expected, actual=actual
        )
