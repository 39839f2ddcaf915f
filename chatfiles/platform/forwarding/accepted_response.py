"""
What a workspace may respond to an operation, and what the platform relays of it
(reference/operations, "Relayed headers").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from twisted.web.http_headers import Headers

from chatfiles.rules.file_headers import CSP_ATTACHMENT

__all__ = ["NUMBER", "IsValid", "ResponseForm"]

#: Whether the value of a header has its form.
IsValid = Callable[[bytes], object]

#: Whether a value is a number.
NUMBER: IsValid = re.compile(rb"[0-9]{1,19}").fullmatch

#: The headers that an error may have.
_OF_ERRORS: Mapping[bytes, IsValid] = {b"Content-Type": bool, b"Retry-After": NUMBER}


@dataclass(frozen=True, slots=True)
class ResponseForm:
    """
    The responses that an operation may have.

    :param media_type: the only media type of a success with a body, in lower case; empty if a
        success has no body.
    :param statuses: the statuses of a success.
    :param fields: headers of every success, with their values.
    :param relayed: headers of a workspace's success that are relayed if it sends them once and the
        value has this form.  They replace `fields`.
    :param on_errors: headers of an error that are relayed as well, in the same way.
    :param is_stream: whether the length of a success is not known in advance.
    """

    media_type: bytes
    statuses: tuple[int, ...] = (200,)
    fields: Mapping[bytes, bytes] = field(default_factory=dict)
    relayed: Mapping[bytes, IsValid] = field(default_factory=dict)
    on_errors: Mapping[bytes, IsValid] = field(default_factory=dict)
    is_stream: bool = False

    def fault(self, code: int, given: Headers) -> str | None:
        """
        :param code: the status of a workspace's response.
        :param given: its headers.
        :return: why it must not be relayed; ``None`` if it may.
        """
        if 400 <= code < 600:
            return None
        if code not in self.statuses:
            return f"status {code}"
        if code == 204 or not self.media_type:
            return None
        types = given.getRawHeaders(b"content-type", ())
        if [_essence(each) for each in types] != [self.media_type]:
            return f"the media type is not {self.media_type.decode('ascii')}"
        return None

    def headers(
        self, method: bytes, code: int, length: int | None, given: Headers
    ) -> dict[bytes, bytes]:
        """
        The platform does not trust a workspace: only what an operation needs is relayed, and only
        in the form that it must have.

        :param method: of the request.
        :param code: the status of a workspace's response.
        :param length: of its body in bytes; ``None`` if it is chunked.
        :param given: its headers.
        :return: the headers of the platform's response.
        """
        success = code in self.statuses
        headers: dict[bytes, bytes] = {}
        if method == b"HEAD":
            headers |= _valid({b"Content-Length": NUMBER}, given)
        elif length is not None and code != 204:
            headers[b"Content-Length"] = b"%d" % length
        if success and code != 204 and self.media_type:
            headers |= {b"Content-Type": self.media_type, **self.fields}
        relayed = self.relayed if success else {**_OF_ERRORS, **self.on_errors}
        headers |= _valid(relayed, given)
        headers[b"Cache-Control"] = b"no-store"
        headers[b"X-Content-Type-Options"] = b"nosniff"
        headers[b"Content-Security-Policy"] = CSP_ATTACHMENT
        return headers


def _essence(content_type: bytes) -> bytes:
    return content_type.partition(b";")[0].strip().lower()


def _valid(forms: Mapping[bytes, IsValid], given: Headers) -> dict[bytes, bytes]:
    """:return: the headers that are given once, and whose value has its form."""
    found = {}
    for name, is_valid in forms.items():
        values = given.getRawHeaders(name, ())
        if len(values) == 1 and is_valid(values[0]):
            found[name] = values[0]
    return found
