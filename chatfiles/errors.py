"""
Every error that a caller may be told about, as one tree.

::

    ChatfilesError
    ├── BadRequest 400            the request itself is wrong
    │   ├── InvalidPath           a virtual path breaks a rule of form (reference/paths, "Form")
    │   └── NotARegularFile       the path names something that is not a regular file
    ├── Unauthorized 401          no credential, or one that is not valid here
    ├── Forbidden 403             a valid credential that does not allow this
    ├── NotFound 404
    ├── MethodNotAllowed 405
    ├── RequestTimeout 408
    ├── Conflict 409
    ├── ConstraintViolated 409    a rule that somebody has given the registry's tables
    ├── PreconditionFailed 412
    ├── TooLarge 413
    ├── URITooLong 414
    ├── UnsupportedMediaType 415
    ├── RangeNotSatisfiable 416
    ├── ExpectationFailed 417
    ├── NotDeliverable 422        the workspace cannot be reached by design
    ├── HeadTooLarge 431
    ├── ReadFailed 500            this machine failed, not the caller
    ├── WriteFailed 500
    ├── NotImplementedHere 501
    ├── UpstreamFailed 502        the workspace, or the way to it, failed
    ├── UpstreamTimeout 504
    ├── Unavailable 503           try again later; knows when
    │   ├── RegistryUnavailable
    │   └── Misconfigured         not before an operator has done something
    ├── VersionNotSupported 505
    └── NoSpace 507

An error carries its status and machine code and knows nothing of HTTP beyond these numbers; one
place (`chatfiles.http.server.endpoint`) turns it into an answer.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import ClassVar

__all__ = [
    "NOT_NOW",
    "BadRequest",
    "ChatfilesError",
    "Conflict",
    "ConstraintViolated",
    "ExpectationFailed",
    "Forbidden",
    "HeadTooLarge",
    "InvalidPath",
    "MethodNotAllowed",
    "Misconfigured",
    "NoSpace",
    "NotARegularFile",
    "NotDeliverable",
    "NotFound",
    "NotImplementedHere",
    "PreconditionFailed",
    "RangeNotSatisfiable",
    "ReadFailed",
    "RegistryUnavailable",
    "RequestTimeout",
    "TooLarge",
    "URITooLong",
    "Unauthorized",
    "Unavailable",
    "UnsupportedMediaType",
    "UpstreamFailed",
    "UpstreamTimeout",
    "VersionNotSupported",
    "WriteFailed",
]

#: What the system says when it could do so at another time: a 503, whatever was to be done.
NOT_NOW = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})


class ChatfilesError(Exception):
    """
    An answer other than success.

    :param text: one sentence for a person; never a secret, never a path of this machine.
    :param code: the machine code, when the class's own is not precise enough.
    :param detail: a longer explanation for the answer's ``detail``.
    :param retry_after: whole seconds after which the caller may try again.
    """

    status: ClassVar[int] = 500
    code: str = "internal"
    text: str = "internal error"

    def __init__(
        self,
        text: str | None = None,
        *,
        code: str | None = None,
        detail: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        self.text = text if text is not None else type(self).text
        self.code = code if code is not None else type(self).code
        self.detail = detail
        self.retry_after = retry_after
        super().__init__(self.text)


class BadRequest(ChatfilesError):
    """The request is malformed; sending it again will not help."""

    status = 400
    code = "bad_request"
    text = "bad request"


class InvalidPath(BadRequest):
    """A virtual path breaks a rule of form (reference/paths, "Form")."""

    code = "invalid_path"
    text = "invalid path"


class NotARegularFile(BadRequest):
    """The path names a directory, symlink, FIFO, socket or device, or leads through a symlink."""

    code = "not_a_regular_file"
    text = "path is not a regular file"


class Unauthorized(ChatfilesError):
    """No credential was given, or it is not valid here.  Answered with a Bearer challenge."""

    status = 401
    code = "unauthorized"
    text = "unauthorized"


class Forbidden(ChatfilesError):
    """A valid credential that does not allow the operation, or a file that may not be read."""

    status = 403
    code = "permission_denied"
    text = "permission denied"


class NotFound(ChatfilesError):
    """There is nothing of that name that the caller may know of."""

    status = 404
    code = "not_found"
    text = "not found"


class MethodNotAllowed(ChatfilesError):
    """
    A known route with a method it does not have.

    :param allowed: the methods it has, for the ``Allow`` header.
    """

    status = 405
    code = "method_not_allowed"
    text = "method not allowed"

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__()
        self.allowed = tuple(allowed)


class RequestTimeout(ChatfilesError):
    """The caller did not send its request in time."""

    status = 408
    code = "request_timeout"
    text = "request was not received in time"


class Conflict(ChatfilesError):
    """What was to be created exists already."""

    status = 409
    code = "conflict"
    text = "already exists"


class ConstraintViolated(ChatfilesError):
    """A rule that others have given the registry's tables is against it; ``detail`` says which."""

    status = 409
    code = "constraint_violated"
    text = "the registry has a rule against this"


class PreconditionFailed(ChatfilesError):
    """A condition of the request does not hold (RFC 9110, 13)."""

    status = 412
    code = "precondition_failed"
    text = "precondition failed"


class TooLarge(ChatfilesError):
    """A body, or a part of it, is over a limit."""

    status = 413
    code = "too_large"
    text = "request body too large"


class URITooLong(ChatfilesError):
    """
    The request line is over the limit for a head (reference/limits-and-shutdown, "Sizes and
    timeouts").
    """

    status = 414
    code = "uri_too_long"
    text = "request target too long"


class UnsupportedMediaType(ChatfilesError):
    """The body's media type or coding is not one this route takes."""

    status = 415
    code = "unsupported_media_type"
    text = "unsupported media type"


class RangeNotSatisfiable(ChatfilesError):
    """No byte of the file is in the range that was asked for (RFC 9110, 14.1.2)."""

    status = 416
    code = "range_not_satisfiable"
    text = "range not satisfiable"


class ExpectationFailed(ChatfilesError):
    """An ``Expect`` other than ``100-continue`` (RFC 9110, 10.1.1)."""

    status = 417
    code = "expectation_failed"
    text = "only 100-continue can be expected"


class NotDeliverable(ChatfilesError):
    """The workspace is not one that can be called (reference/resolution, "Resolution table")."""

    status = 422
    code = "no_callback_url"
    text = "workspace has no callback URL"


class HeadTooLarge(ChatfilesError):
    """Too many header bytes or lines (reference/limits-and-shutdown, "Sizes and timeouts")."""

    status = 431
    code = "header_fields_too_large"
    text = "request header fields too large"


class ReadFailed(ChatfilesError):
    """This machine could not read what it should have been able to read."""

    status = 500
    code = "read_failed"
    text = "read failed"


class WriteFailed(ChatfilesError):
    """This machine could not store what it should have been able to store."""

    status = 500
    code = "write_failed"
    text = "failed to write file"


class NotImplementedHere(ChatfilesError):
    """A method that no resource of ours will ever see (CONNECT, TRACE)."""

    status = 501
    code = "not_implemented"
    text = "method not implemented"


class UpstreamFailed(ChatfilesError):
    """The workspace, or the way to it, failed."""

    status = 502
    code = "workspace_unreachable"
    text = "workspace unreachable"


class Unavailable(ChatfilesError):
    """Not now; later, perhaps."""

    status = 503
    code = "unavailable"
    text = "temporarily unavailable"


class RegistryUnavailable(Unavailable):
    """
    The registry cannot be reached, or is too slow (reference/resolution, "Resolution table": never
    taken for an absence).
    """

    code = "platform_unavailable"
    text = "platform datastore unavailable — retry shortly"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail=detail, retry_after=5)


class Misconfigured(Unavailable):
    """The registry's tables want something that chatfiles does not know; ``detail`` says what."""

    code = "platform_misconfigured"
    text = "the registry cannot store this"


class UpstreamTimeout(ChatfilesError):
    """The workspace did not answer in time."""

    status = 504
    code = "workspace_timeout"
    text = "workspace did not answer"


class VersionNotSupported(ChatfilesError):
    """An HTTP major version other than 1, or HTTP/1.0 for what only HTTP/1.1 can carry."""

    status = 505
    code = "version_not_supported"
    text = "HTTP version not supported"


class NoSpace(ChatfilesError):
    """The file system of the workspace is full (ENOSPC, EDQUOT)."""

    status = 507
    code = "no_space"
    text = "no space left"
