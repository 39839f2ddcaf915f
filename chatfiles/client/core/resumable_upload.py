"""
The decisions of a client that uploads a file in several requests (tus 1.0.0; reference/resumable).

No I/O: a driver sends what `ResumableUpload.next` returns, and passes on what comes back.  ::

    while (request := upload.next()) is not None:
        verdict = upload.received(response.status, response.header)  # or upload.interrupted()

An upload that a later run of the program continues is remembered as an `UploadRecord`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum, auto
from typing import Final

from chatfiles.errors import BadRequest
from chatfiles.rules.digest_fields import REPR_DIGEST, given_sha256
from chatfiles.rules.upload_metadata import encode_metadata, parse_metadata

__all__ = [
    "Finished",
    "ResumableUpload",
    "UntrustedResponse",
    "UploadRecord",
    "UploadRequest",
    "UploadService",
    "Verdict",
]

VERSION: Final = "1.0.0"
CHUNK_TYPE: Final = "application/offset+octet-stream"

#: Returns the value of a response's header; empty if it has none.
Header = Callable[[str], str]

#: Statuses after which the same request may succeed: tus locks, overload, and an unavailable role.
_TRANSIENT: Final = frozenset({408, 423, 429, 502, 503, 504})
#: Statuses of an upload that does not exist, or not any more.
_GONE: Final = frozenset({404, 410})
#: Statuses of a creation that say that there are no such uploads here.
_UNSUPPORTED: Final = frozenset({404, 405, 501})
#: Statuses after which an upload can never end: its condition is false, or its digest is wrong.
_LOST: Final = frozenset({412, 422})

_NUMBER = re.compile(r"[0-9]{1,18}")
_ID = re.compile(r"[0-9a-f]{32}")
_LOCATION = re.compile(r"(?:[^?#]*/)?uploads/([0-9a-f]{32})")
_URI = "workspace:/"


class UntrustedResponse(Exception):
    """A response breaks a rule of the protocol.  Its text continues the sentence "it …"."""


class Verdict(Enum):
    """What a response, or its absence, means."""

    #: Send the next request.
    PROCEED = auto()
    #: Send the next request after a pause; `ResumableUpload.failures` counts these.
    AGAIN = auto()
    #: The upload does not exist any more, or is of another file.  The next request creates one.
    RESTARTED = auto()
    #: There are no resumable uploads here; send the file in one request.
    UNSUPPORTED = auto()
    #: The response is an error.  The upload, if there is one, can be continued later.
    REFUSED = auto()
    #: The response is an error, after which the upload cannot be continued.
    LOST = auto()


@dataclass(frozen=True, slots=True)
class UploadService:
    """
    What a platform says of its resumable uploads.

    :param max_bytes: the most bytes of a file; ``None`` if it does not say.
    """

    max_bytes: int | None

    @staticmethod
    def of(status: int, header: Header) -> UploadService | None:
        """
        :param status: of the response to ``OPTIONS``.
        :param header: returns a header of it.
        :return: the service; ``None`` if there is none that can create uploads.
        """
        versions, extensions = (_items(header(f"Tus-{name}")) for name in ("Version", "Extension"))
        if status not in (200, 204) or VERSION not in versions or "creation" not in extensions:
            return None
        return UploadService(_number(header("Tus-Max-Size")))


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """
    What a later run needs to continue an upload: where it is, and which file it is of.  It has no
    credential.

    :param url: of the upload.
    :param size: bytes of the file.
    :param mtime: when the file was modified, in nanoseconds since the epoch.
    :param inode: its number in its file system.
    """

    url: str
    size: int
    mtime: int
    inode: int

    def encode(self) -> bytes:
        """:return: the record as a JSON object."""
        return json.dumps(asdict(self)).encode("ascii")

    @staticmethod
    def decode(content: bytes) -> UploadRecord | None:
        """:return: the record that *content* is; ``None`` if it is anything else."""
        try:
            value = json.loads(content)
            record = UploadRecord(value["url"], value["size"], value["mtime"], value["inode"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        numbers = (record.size, record.mtime, record.inode)
        is_valid = isinstance(record.url, str) and all(type(each) is int for each in numbers)
        return record if is_valid else None

    def is_of(self, size: int, mtime: int, inode: int) -> bool:
        """:return: whether a file with these facts is the one that the upload was begun with."""
        return (self.size, self.mtime, self.inode) == (size, mtime, inode)


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """
    A request to send.  `Content-Length`, ``Transfer-Encoding`` and the credential are the driver's.

    :param url: the target, below the same base URL as the URL of the creation.
    :param headers: the headers of the protocol.
    :param offset: the body is the file from this byte to its end; ``None`` if there is no body.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """
    The file as it was stored.

    :param uri: ``workspace:…``, percent-encoded.
    :param sha256: of the stored file, 64 hexadecimal digits; ``None`` if the server sent none.
    """

    uri: str
    sha256: str | None


@dataclass(slots=True)
class ResumableUpload:
    """
    One upload, from its creation to its end.

    :param create_url: where uploads are created, with the query ``?path=…`` of a file with a path.
    :param size: bytes of the file; ``None`` if they are known at its end only, see `end_at`.
    :param metadata: of the file, such as ``{b"filename": b"a.txt", b"sha256": b"…"}``.
    :param conditions: headers of the creation, such as ``If-None-Match``.
    :param url: of an upload that an earlier run has begun; one that is not below *create_url* is
        ignored.
    :ivar url: of the upload; ``None`` if there is none now.
    :ivar offset: the bytes that the server has; ``None`` if it has to be asked.
    :ivar finished: the stored file, at the end.
    :ivar failures: how many times in a row something failed without progress.
    """

    create_url: str
    size: int | None
    metadata: Mapping[bytes, bytes] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)
    url: str | None = None
    offset: int | None = None
    finished: Finished | None = None
    failures: int = 0
    _sent: UploadRequest | None = field(default=None, init=False, repr=False)
    _most: int = field(default=0, init=False, repr=False)
    _is_new: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.url is not None and not self._is_below(self.url):
            self.url = None  # the token must not go elsewhere

    def end_at(self, size: int) -> None:
        """The source has ended after *size* bytes, which was not known before."""
        self.size = size

    def next(self) -> UploadRequest | None:
        """:return: the request to send; ``None`` when the file is stored."""
        if self.finished is not None:
            return None
        if self.url is None:
            self._sent = self._creation()
        elif self.offset is None:
            self._sent = UploadRequest("HEAD", self.url, {"Tus-Resumable": VERSION})
        else:
            self._sent = self._chunk(self.url, self.offset)
        return self._sent

    def received(self, status: int, header: Header, sent: int = 0) -> Verdict:
        """
        Validate the response to the last request.

        :param status: of the response.
        :param header: returns a header of it.
        :param sent: bytes of the request's body that were sent.
        :return: what to do.
        :raise UntrustedResponse: the response breaks a rule.
        """
        request = self._sent
        assert request is not None
        if request.method == "POST":
            return self._created(status, header)
        if status in _GONE:
            return self._restart()
        if request.method == "HEAD":
            return self._described(status, header)
        return self._appended(request, status, header, sent)

    def interrupted(self) -> Verdict:
        """The connection of the last request broke: the server has to be asked what it has."""
        return self._again()

    def is_stuck(self, retries: int) -> bool:
        """
        :param retries: the most failures in a row without progress.
        :return: whether there were more.  After a chunk was interrupted, the server is asked first,
            because there may be progress; but not if there are no retries.
        """
        asks = self._sent is not None and self._sent.method == "PATCH" and self.offset is None
        return self.failures > retries and not (asks and retries)

    def removal(self) -> UploadRequest | None:
        """:return: the request that removes an unfinished upload; ``None`` if there is none."""
        if self.url is None:
            return None
        return UploadRequest("DELETE", self.url, {"Tus-Resumable": VERSION})

    @property
    def _uploads(self) -> str:
        """What the URLs of all uploads begin with."""
        return self.create_url.partition("?")[0] + "/"

    def _is_below(self, url: str) -> bool:
        return url.startswith(self._uploads) and bool(_ID.fullmatch(url[len(self._uploads) :]))

    # -- requests

    def _creation(self) -> UploadRequest:
        headers = {"Tus-Resumable": VERSION, **self.conditions}
        if self.size is None:
            headers["Upload-Defer-Length"] = "1"
        else:
            headers["Upload-Length"] = str(self.size)
        if self.metadata:
            encoded = encode_metadata(self.metadata.items())
            headers["Upload-Metadata"] = encoded.decode("ascii")
        return UploadRequest("POST", self.create_url, headers)

    def _chunk(self, url: str, offset: int) -> UploadRequest:
        headers = {
            "Tus-Resumable": VERSION,
            "Upload-Offset": str(offset),
            "Content-Type": CHUNK_TYPE,
        }
        if self.size is not None:  # the server takes it again if it knows it
            headers["Upload-Length"] = str(self.size)
        return UploadRequest("PATCH", url, headers, offset)

    # -- responses

    def _created(self, status: int, header: Header) -> Verdict:
        if status in _TRANSIENT:
            return self._again()
        if status != 201:
            is_refused = status not in _UNSUPPORTED
            return Verdict.REFUSED if is_refused else Verdict.UNSUPPORTED
        # Only the id is taken: a proxy may have another idea of the address.
        found = _LOCATION.fullmatch(header("Location"))
        if found is None:
            raise UntrustedResponse("does not say where the upload is")
        self.url = self._uploads + found[1]
        if not self._is_new:  # otherwise a server that forgets all uploads is never given up
            self.failures = 0
        self.offset, self._most, self._is_new = 0, 0, True
        if header("Chatfiles-Uri"):  # an empty file
            self._finish(header)
        return Verdict.PROCEED

    def _described(self, status: int, header: Header) -> Verdict:
        if status != 200:
            return self._again() if status in _TRANSIENT else Verdict.REFUSED
        offset = _offset(header)
        if not self._is_ours(header) or (self.size is not None and offset > self.size):
            return self._restart()
        if header("Chatfiles-Uri"):
            self._finish(header)
        self._reach(offset)
        return Verdict.PROCEED

    def _is_ours(self, header: Header) -> bool:
        """:return: whether the upload is of this file, as far as the response says."""
        length = _number(header("Upload-Length"))
        if length is not None and length != self.size:
            return False
        try:
            there = parse_metadata([header("Upload-Metadata").encode("latin-1")]).values
        except BadRequest:
            raise UntrustedResponse("has malformed metadata") from None
        return there.get(b"sha256") == self.metadata.get(b"sha256")

    def _appended(self, request: UploadRequest, status: int, header: Header, sent: int) -> Verdict:
        if status == 409 and _number(header("Upload-Offset")) is not None:
            return self._moved(_offset(header))
        if status in _TRANSIENT or status == 409:
            return self._again()
        if status != 204:
            return Verdict.LOST if status in _LOST else Verdict.REFUSED
        offset = _offset(header)
        if offset > (request.offset or 0) + sent:
            raise UntrustedResponse("has more bytes than were sent")
        if sent and offset <= (request.offset or 0):  # otherwise it would be sent for ever
            raise UntrustedResponse("has taken nothing of what was sent")
        self._reach(offset)
        if "Upload-Length" in request.headers and offset == self.size:
            self._finish(header)
        return Verdict.PROCEED

    def _moved(self, offset: int) -> Verdict:
        """The upload has another offset than the request said."""
        self.failures += 1
        self._reach(offset)
        return Verdict.AGAIN

    def _again(self) -> Verdict:
        self.failures += 1
        self.offset = None
        return Verdict.AGAIN

    def _restart(self) -> Verdict:
        self.failures += self._is_new  # that of an earlier run may have expired
        self.url = self.offset = None
        return Verdict.RESTARTED

    def _reach(self, offset: int) -> None:
        if offset > self._most:
            self.failures, self._most = 0, offset
        self.offset = offset

    def _finish(self, header: Header) -> None:
        uri, digest = header("Chatfiles-Uri"), header(REPR_DIGEST.decode("ascii"))
        if not uri.startswith(_URI):
            raise UntrustedResponse("does not say where the file is")
        sha256 = given_sha256([digest.encode("latin-1")]) if digest else None
        self.finished = Finished(uri, None if sha256 is None else sha256.hex())


def _offset(header: Header) -> int:
    """
    :raise UntrustedResponse: the response has no offset.
    """
    offset = _number(header("Upload-Offset"))
    if offset is None:
        raise UntrustedResponse("does not say how much has arrived")
    return offset


def _number(value: str) -> int | None:
    return int(value) if _NUMBER.fullmatch(value) else None


def _items(value: str) -> list[str]:
    return [item.strip() for item in value.split(",")]
