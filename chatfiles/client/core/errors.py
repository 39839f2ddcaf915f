"""
The errors of the client library (reference/client, "Errors").

Each can be pickled, so that it reaches the program of a process pool.
"""

from __future__ import annotations

import errno
from typing import Any

__all__ = [
    "BadAnswer",
    "Busy",
    "Changed",
    "ClientError",
    "Conflict",
    "DigestMismatch",
    "Forbidden",
    "Incomplete",
    "NotFound",
    "PreconditionFailed",
    "Refused",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "Unsupported",
    "refused_class",
]


class ClientError(Exception):
    """
    An operation has failed.  Its text is for people.

    :ivar transient: whether the same request may succeed if it is sent again.
    """

    transient = False

    def __init__(self, text: str = "", *, transient: bool = False) -> None:
        super().__init__(text)
        if transient:
            self.transient = True

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class Refused(ClientError):
    """
    The response is an error: its status is 400 or greater.

    :ivar status: the HTTP status; each other attribute is ``None`` if the response does not have
        it.
    :ivar code: the machine code (reference/errors).
    :ivar text: the sentence for people.
    :ivar request_id: names the request in the logs of both roles.
    :ivar retry_after: seconds after which the request may be sent again.
    :ivar detail: more about the error: text, or names and values.
    """

    def __init__(
        self,
        message: str = "",
        *,
        status: int = 0,
        code: str | None = None,
        text: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        detail: Any = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.text = text
        self.request_id = request_id
        self.retry_after = retry_after
        self.detail = detail
        self.transient = status in _TRANSIENT


class Unauthorized(Refused):
    """401: the token is not valid for this workspace."""


class Forbidden(Refused, PermissionError):
    """403: the token does not allow the operation, or the file must not be read or written."""

    def __init__(self, message: str = "", **fields: Any) -> None:
        super().__init__(message, **fields)
        self.errno = errno.EACCES


class NotFound(Refused, FileNotFoundError):
    """404: nothing of that name exists."""

    def __init__(self, message: str = "", **fields: Any) -> None:
        super().__init__(message, **fields)
        self.errno = errno.ENOENT


class Conflict(Refused):
    """409: what is there does not permit the operation."""


class PreconditionFailed(Refused):
    """412: a condition, such as ``if_match``, does not hold."""


class TooLarge(Refused):
    """413: a limit is exceeded."""


class Busy(Refused):
    """429: the client, its token, the workspace or the platform is at a limit."""


class Unsupported(Refused):
    """501: this workspace does not support the operation."""


class Unavailable(Refused):
    """502, 503 or 504: the workspace or the platform cannot serve the request now."""


class Unreachable(ClientError, ConnectionError):
    """
    There was no response: connection refused, name unknown, TLS failed, or a timeout.

    :ivar connected: whether there was a connection, so that the request may have arrived.
    """

    def __init__(self, text: str = "", *, transient: bool = False, connected: bool = False) -> None:
        super().__init__(text, transient=transient)
        self.connected = connected


class Incomplete(ClientError):
    """
    A response was interrupted, or cannot be proved to be complete.

    :ivar done: the bytes, or for ``walk`` the entries, that have arrived.
    :ivar total: how many there are; ``None`` if that is not known.
    """

    def __init__(
        self, text: str = "", *, done: int = 0, total: int | None = None, transient: bool = False
    ) -> None:
        super().__init__(text, transient=transient)
        self.done = done
        self.total = total


class Changed(ClientError):
    """The file has changed since the first byte, so the rest belongs to another version."""


class DigestMismatch(ClientError):
    """
    The bytes do not have the SHA-256 that they should have.

    :ivar expected: it in hexadecimal digits.
    :ivar actual: that of the bytes.
    """

    def __init__(self, text: str = "", *, expected: str = "", actual: str = "") -> None:
        super().__init__(text)
        self.expected = expected
        self.actual = actual


class BadAnswer(ClientError):
    """
    The response is not one that a platform may send: a redirect, other bytes, no JSON.

    :ivar location: where a redirect leads, as the response says it; ``None`` if it is none.
    """

    def __init__(self, text: str = "", *, location: str | None = None) -> None:
        super().__init__(text)
        self.location = location


_TRANSIENT = frozenset({429, 502, 503, 504})
_CLASSES: dict[int, type[Refused]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    413: TooLarge,
    429: Busy,
    501: Unsupported,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def refused_class(status: int) -> type[Refused]:
    """:return: the class of the error for a status of 400 or greater."""
    return _CLASSES.get(status, Refused)
