"""
Sends a workspace's requests to the registry of its platform: JSON, with limits of size and time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol as BodyProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from chatfiles.rules.urls import parse_base_url
from chatfiles.runtime.connection_problems import connection_problem

__all__ = ["HTTPClient", "RegistryClient", "RegistryResponse", "json_object", "why_no_response"]

#: Seconds for one request, including the body of its response.
REQUEST_TIMEOUT: Final = 10.0
#: Largest response body, in bytes.
MAX_RESPONSE: Final = 65536
#: Longest wait in seconds that a Retry-After header can demand.
MAX_RETRY_AFTER: Final = 300
#: Characters of a platform's error text that are logged.
MAX_ERROR_TEXT: Final = 200


class HTTPClient(Protocol):
    """The used part of `treq.client.HTTPClient`."""

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Headers,
        data: bytes,
        allow_redirects: bool,
        unbuffered: bool,
        reactor: Any,
    ) -> Deferred[Any]:
        """:return: the response, when its headers are complete."""


@dataclass(frozen=True, slots=True)
class RegistryResponse:
    """
    The response of the platform.

    :param status: the HTTP status.
    :param retry_after: seconds to wait, from Retry-After; 0 if it is absent or a date.
    :param fields: the JSON object in the body; ``None`` if it is not one.  May hold secrets.
    """

    status: int
    retry_after: int
    fields: Mapping[str, object] | None = field(repr=False)

    @property
    def good(self) -> bool:
        """Whether the status is 2xx and the body is a JSON object."""
        return 200 <= self.status < 300 and self.fields is not None

    def complaint(self) -> str:
        """:return: a text for the log about a response that is not `good`, on one line."""
        if 200 <= self.status < 300:
            return f"responded {self.status}, but not with a JSON object"
        if 300 <= self.status < 400:
            return f"responded {self.status}: a redirect, which is not followed; correct the URL"
        text = (self.fields or {}).get("error")
        if not isinstance(text, str):
            return f"responded {self.status}"
        shown = "".join(character for character in text if character.isprintable())
        return f"responded {self.status}: {shown[:MAX_ERROR_TEXT]}"


class RegistryClient:
    """
    Sends requests to the registry.

    :param clock: the reactor, or a clock.
    :param client: an HTTP client that verifies certificates.
    :param platform_url: base URL, ``http`` or ``https``; it may have a path, but no query.
    :raise ValueError: *platform_url* is not such a URL.
    """

    def __init__(self, clock: IReactorTime, client: HTTPClient, platform_url: str) -> None:
        self._clock = clock
        self._client = client
        #: The base URL, with one slash at its end.
        self.base = parse_base_url(platform_url) + "/"

    async def post(
        self, route: str, body: Mapping[str, object], token: str | None
    ) -> RegistryResponse:
        """
        Send a POST request.

        :param route: the path after the base URL, without a leading slash.
        :param body: the JSON object to send.
        :param token: the bearer token to present, or ``None``.
        :return: the response, with any status; redirects are not followed.
        :raise Exception: no complete response came within 10 seconds; the error says why.
        """
        exchange = Deferred.fromCoroutine(self._exchange(route, body, token))
        exchange.addTimeout(REQUEST_TIMEOUT, self._clock)
        return await exchange

    async def _exchange(
        self, route: str, body: Mapping[str, object], token: str | None
    ) -> RegistryResponse:
        headers = Headers({"Content-Type": ["application/json"], "Accept": ["application/json"]})
        if token is not None:
            headers.setRawHeaders("Authorization", [f"Bearer {token}"])
        response = await self._client.request(
            "POST",
            self.base + route,
            headers=headers,
            data=json.dumps(body).encode("ascii"),
            allow_redirects=False,
            unbuffered=True,
            reactor=self._clock,
        )
        collected = _Body()
        response.deliverBody(collected)
        content = await collected.whole
        return RegistryResponse(response.code, _retry_after(response.headers), json_object(content))


class _Body(BodyProtocol):
    """
    Collects a response body of at most `MAX_RESPONSE` bytes.

    :ivar whole: fires with the body; fails if it is interrupted or too long.  Cancelling it closes
        the connection.
    """

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self._stop())
        self._content = bytearray()

    def dataReceived(self, data: bytes) -> None:
        if self.whole.called:
            return
        self._content += data
        if len(self._content) > MAX_RESPONSE:
            self.whole.errback(ValueError(f"a response of more than {MAX_RESPONSE} bytes"))
            self._stop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if isinstance(reason.value, (ResponseDone, PotentialDataLoss)):
            self.whole.callback(bytes(self._content))
        else:
            self.whole.errback(reason)

    def _stop(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.stopProducing()


def why_no_response(error: BaseException) -> str:
    """
    :param error: the error of `RegistryClient.post`.
    :return: a text for the log, which quotes nothing that the platform sent.
    """
    reasons = getattr(error, "reasons", None)
    inner = reasons[0].value if reasons else error
    if isinstance(inner, (CancelledError, DeadlineError)):
        return f"none within {REQUEST_TIMEOUT:g} seconds"
    return connection_problem(inner)


def json_object(content: bytes) -> Mapping[str, object] | None:
    """:return: the JSON object that a body holds; ``None`` if it is not one."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _retry_after(headers: Headers) -> int:
    for value in headers.getRawHeaders("Retry-After", [])[-1:]:
        if value.isascii() and value.isdigit():
            return min(int(value[:9]), MAX_RETRY_AFTER)
    return 0
