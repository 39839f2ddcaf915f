"""
Every error that a response can report to a client, as one tree.

::

    ChatfilesError
    ├── BadRequest 400            the request itself is wrong
    │   ├── InvalidPath           a virtual path breaks a rule of form (reference/paths, "Form")
    │   ├── NotADirectory         the path names something that is not a directory
    │   └── NotARegularFile       the path names something that is not a regular file
    ├── Unauthorized 401          no credential, or one that is not valid here
    ├── Forbidden 403             a valid credential that does not allow this
    ├── NotFound 404
    ├── MethodNotAllowed 405
    ├── RequestTimeout 408
    ├── Conflict 409
    ├── LengthRequired 411
    ├── ConstraintViolated 409    a constraint that a third party added to the registry's tables
    ├── PreconditionFailed 412
    ├── TooLarge 413
    ├── URITooLong 414
    ├── UnsupportedMediaType 415
    ├── RangeNotSatisfiable 416
    ├── ExpectationFailed 417
    ├── DigestMismatch 422        the bytes are not those of the digest
    ├── NotDeliverable 422        the workspace cannot be reached by design
    ├── Locked 423                another request uses the upload
    ├── UpgradeRequired 426
    ├── TooManyRequests 429       a limit per client; says after how many seconds to retry
    ├── HeadTooLarge 431
    ├── ChecksumMismatch 460      the bytes of one chunk are not those of its checksum (tus)
    ├── ReadFailed 500            this machine failed, not the client
    │   └── UnknownLength         a file of procfs or FUSE does not announce its length
    ├── WriteFailed 500
    ├── NotImplementedHere 501
    ├── UpstreamFailed 502        the workspace, or the connection to it, failed
    ├── UpstreamTimeout 504
    ├── Unavailable 503           retry later; may say after how many seconds
    │   ├── FileBusy              another program has a lease on the file
    │   ├── RegistryUnavailable
    │   └── Misconfigured         an operator has to change something first
    ├── VersionNotSupported 505
    └── NoSpace 507

An error has a status and a machine code, and depends on nothing else of HTTP.  One module
(`chatfiles.http.server.responses`) turns errors into responses.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence

__all__ = [
    "NOT_NOW",
    "BadRequest",
    "ChatfilesError",
    "ChecksumMismatch",
    "Conflict",
    "ConstraintViolated",
    "DigestMismatch",
    "ExpectationFailed",
    "FileBusy",
    "Forbidden",
    "HeadTooLarge",
    "InvalidPath",
    "LengthRequired",
    "Locked",
    "MethodNotAllowed",
    "Misconfigured",
    "NoSpace",
    "NotADirectory",
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
    "TooManyRequests",
    "URITooLong",
    "Unauthorized",
    "Unavailable",
    "UnknownLength",
    "UnsupportedMediaType",
    "UpgradeRequired",
    "UpstreamFailed",
    "UpstreamTimeout",
    "VersionNotSupported",
    "WriteFailed",
]

#: Error numbers of a temporary lack of resources.  They become 503, whatever the operation was.
NOT_NOW = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})


class ChatfilesError(Exception):
    """
    A response other than success.

    :param text: one sentence for people.  It contains no secret and no path of this machine.
    :param code: the machine code, if that of the class is not precise enough.
    :param detail: a longer explanation, for ``detail`` in the response: a text, or an object.
    :param retry_after: whole seconds after which the client may retry.
    :ivar place: the directory of the operator in which this happened.  It is only for the log.
    :ivar fields: further headers of the response.
    :ivar reason: what an operator can act on, such as a certificate.  It is only for the log.
    """

    status: int = 500
    code: str = "internal"
    text: str = "internal error"
    place: str = ""
    reason: str = ""
    fields: Sequence[tuple[bytes, bytes]] = ()

    def __init__(
        self,
        text: str | None = None,
        *,
        code: str | None = None,
        detail: str | Mapping[str, object] | None = None,
        retry_after: int | None = None,
    ) -> None:
        self.text = text if text is not None else type(self).text
        self.code = code if code is not None else type(self).code
        self.detail = detail
        self.retry_after = retry_after
        super().__init__(self.text)


class BadRequest(ChatfilesError):
    """The request is malformed.  A retry will fail, too."""

    status = 400
    code = "bad_request"
    text = "bad request"


class InvalidPath(BadRequest):
    """A virtual path breaks a rule of form (reference/paths, "Form")."""

    code = "invalid_path"
    text = "invalid path"


class NotADirectory(BadRequest):
    """The path names a file, symlink, FIFO, socket or device, or leads through a symlink."""

    code = "not_a_directory"
    text = "path is not a directory"


class NotARegularFile(BadRequest):
    """The path names a directory, symlink, FIFO, socket or device, or leads through a symlink."""

    code = "not_a_regular_file"
    text = "path is not a regular file"


class Unauthorized(ChatfilesError):
    """
    The request has no credential, or one that is not valid here.  The response has a Bearer
    challenge.
    """

    status = 401
    code = "unauthorized"
    text = "unauthorized"


class Forbidden(ChatfilesError):
    """The credential is valid but does not allow the operation, or the file must not be read."""

    status = 403
    code = "permission_denied"
    text = "permission denied"


class NotFound(ChatfilesError):
    """Nothing of that name exists, or the client may not learn that it exists."""

    status = 404
    code = "not_found"
    text = "not found"


class MethodNotAllowed(ChatfilesError):
    """
    The route exists but does not support the method.

    :param allowed: the methods that the route supports, for the ``Allow`` header.
    """

    status = 405
    code = "method_not_allowed"
    text = "method not allowed"

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__()
        self.allowed = tuple(allowed)


class RequestTimeout(ChatfilesError):
    """The client did not send its request in time."""

    status = 408
    code = "request_timeout"
    text = "request was not received in time"


class Conflict(ChatfilesError):
    """The object that the request would create exists already."""

    status = 409
    code = "conflict"
    text = "already exists"


class ConstraintViolated(ChatfilesError):
    """
    A constraint that a third party added to the registry's tables forbids the change.  ``detail``
    names the constraint.
    """

    status = 409
    code = "constraint_violated"
    text = "the registry has a rule against this"


class LengthRequired(ChatfilesError):
    """The request has neither a length nor chunks, so its body could be incomplete."""

    status = 411
    code = "length_required"
    text = "Content-Length or chunks required"


class PreconditionFailed(ChatfilesError):
    """A condition of the request does not hold (RFC 9110, 13)."""

    status = 412
    code = "precondition_failed"
    text = "precondition failed"


class TooLarge(ChatfilesError):
    """A body, or a part of it, exceeds a limit."""

    status = 413
    code = "too_large"
    text = "request body too large"


class URITooLong(ChatfilesError):
    """The request line exceeds its limit (reference/limits-and-shutdown, "Sizes and timeouts")."""

    status = 414
    code = "uri_too_long"
    text = "request target too long"


class UnsupportedMediaType(ChatfilesError):
    """The route does not accept the media type or the coding of the body."""

    status = 415
    code = "unsupported_media_type"
    text = "unsupported media type"


class RangeNotSatisfiable(ChatfilesError):
    """The requested range contains no byte of the file (RFC 9110, 14.1.2)."""

    status = 416
    code = "range_not_satisfiable"
    text = "range not satisfiable"


class ExpectationFailed(ChatfilesError):
    """The request has an ``Expect`` other than ``100-continue`` (RFC 9110, 10.1.1)."""

    status = 417
    code = "expectation_failed"
    text = "only 100-continue can be expected"


class DigestMismatch(ChatfilesError):
    """
    The bytes of an upload do not have the digest that the client sent.

    :param expected: the SHA-256 that the client sent, bytes.
    :param actual: the SHA-256 of the received bytes.
    """

    status = 422
    code = "digest_mismatch"
    text = "digest mismatch"

    def __init__(self, expected: bytes, actual: bytes) -> None:
        super().__init__(detail={"expected": expected.hex(), "actual": actual.hex()})


class Locked(ChatfilesError):
    """Another request uses the upload, and does not end."""

    status = 423
    code = "upload_locked"
    text = "upload is locked"

    def __init__(self) -> None:
        super().__init__(retry_after=1)


class ChecksumMismatch(ChatfilesError):
    """A chunk of an upload does not have its checksum (tus 1.0.0, "Checksum")."""

    status = 460
    code = "checksum_mismatch"
    text = "checksum mismatch"


class NotDeliverable(ChatfilesError):
    """The platform cannot call this workspace (reference/resolution, "Resolution table")."""

    status = 422
    code = "no_callback_url"
    text = "workspace has no callback URL"


class UpgradeRequired(ChatfilesError):
    """The request does not ask for the upgrade that the route is for (RFC 9110, 15.5.22)."""

    status = 426
    code = "upgrade_required"
    text = "upgrade required"


class TooManyRequests(ChatfilesError):
    """A client, token, workspace or node is at a limit (reference/limits-and-shutdown)."""

    status = 429
    code = "too_many_transfers"
    text = "too many transfers"


class HeadTooLarge(ChatfilesError):
    """The headers have too many bytes or lines (reference/limits-and-shutdown)."""

    status = 431
    code = "header_fields_too_large"
    text = "request header fields too large"


class ReadFailed(ChatfilesError):
    """This machine failed to read a file or directory that should be readable."""

    status = 500
    code = "read_failed"
    text = "read failed"


class UnknownLength(ReadFailed):
    """The file has content and announces none, as some of procfs and FUSE do."""


class WriteFailed(ChatfilesError):
    """This machine failed to store a file."""

    status = 500
    code = "write_failed"
    text = "failed to write file"


class NotImplementedHere(ChatfilesError):
    """The method is refused for every resource (CONNECT, TRACE)."""

    status = 501
    code = "not_implemented"
    text = "method not implemented"


class UpstreamFailed(ChatfilesError):
    """The workspace, or the connection to it, failed."""

    status = 502
    code = "workspace_unreachable"
    text = "workspace unreachable"


class Unavailable(ChatfilesError):
    """The request cannot be served now.  A later retry may succeed."""

    status = 503
    code = "unavailable"
    text = "temporarily unavailable"


class FileBusy(Unavailable):
    """Another program has a lease on the file, and was asked to release it, or moves it."""


class RegistryUnavailable(Unavailable):
    """
    The registry is unreachable or too slow.  This never counts as "not found"
    (reference/resolution, "Resolution table").

    :param detail: as for `ChatfilesError`.
    """

    code = "platform_unavailable"
    text = "platform datastore unavailable — retry shortly"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail=detail, retry_after=5)


class Misconfigured(Unavailable):
    """The registry's tables require a value that chatfiles does not know; ``detail`` names it."""

    code = "platform_misconfigured"
    text = "the registry cannot store this"


class UpstreamTimeout(ChatfilesError):
    """The workspace did not respond in time."""

    status = 504
    code = "workspace_timeout"
    text = "workspace did not answer"


class VersionNotSupported(ChatfilesError):
    """The HTTP major version is not 1, or an HTTP/1.0 request needs a feature of HTTP/1.1."""

    status = 505
    code = "version_not_supported"
    text = "HTTP version not supported"


class NoSpace(ChatfilesError):
    """The file system of the workspace is full (ENOSPC, EDQUOT)."""

    status = 507
    code = "no_space"
    text = "no space left"
