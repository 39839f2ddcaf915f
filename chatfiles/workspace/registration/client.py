"""
Requests of a workspace to its platform's registry: small JSON bodies, bounded in size and time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol as BodyProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.python.reflect import qual
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from chatfiles.rules.base_url import parse_base_url

__all__ = ["Answer", "HTTPClient", "RegistryClient", "why_no_answer"]

#: Seconds that one request may take, its answer's body included.
REQUEST_TIMEOUT: Final = 10.0
#: Bytes of an answer's body that are taken.
MAX_ANSWER: Final = 65536
#: The most seconds that a platform's Retry-After makes us wait.
MAX_RETRY_AFTER: Final = 300
#: Characters of a platform's error text that are shown.
MAX_TOLD: Final = 200


class HTTPClient(Protocol):
    """What is used of `treq.client.HTTPClient`."""

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
        """:return: the response, before its body."""


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What the platform said.

    :param retry_after: seconds that it asks to wait; 0 when it does not, or names a date.
    :param fields: the JSON object of the body, ``None`` when it is none; may hold secrets.
    """

    status: int
    retry_after: int
    fields: Mapping[str, object] | None = field(repr=False)

    @property
    def good(self) -> bool:
        """Whether it is a success, told in JSON."""
        return 200 <= self.status < 300 and self.fields is not None

    def complaint(self) -> str:
        """:return: what the log says of an answer that is not good; no control characters."""
        if 200 <= self.status < 300:
            return f"answered {self.status}, but not with a JSON object"
        if 300 <= self.status < 400:
            return f"answered {self.status}: a redirect, which is not followed; correct the URL"
        told = (self.fields or {}).get("error")
        if not isinstance(told, str):
            return f"answered {self.status}"
        shown = "".join(character for character in told if character.isprintable())
        return f"answered {self.status}: {shown[:MAX_TOLD]}"


class RegistryClient:
    """
    :param clock: the reactor, or a clock.
    :param client: made over the agent to use, which verifies certificates.
    :param platform_url: base URL, ``http`` or ``https``; may have a path, nothing after that.
    :raise ValueError: *platform_url* is not such a URL.
    """

    def __init__(self, clock: IReactorTime, client: HTTPClient, platform_url: str) -> None:
        self._clock = clock
        self._client = client
        #: The base URL, with one slash at its end.
        self.base = parse_base_url(platform_url) + "/"

    async def post(self, route: str, body: Mapping[str, object], token: str | None) -> Answer:
        """
        :param route: what follows the base URL, without a slash before it.
        :param token: the bearer to present, or ``None``.
        :return: the answer, whatever its status; a redirect is not followed.
        :raise Exception: whatever kept a whole answer from coming within 10 seconds.
        """
        exchange = Deferred.fromCoroutine(self._exchange(route, body, token))
        exchange.addTimeout(REQUEST_TIMEOUT, self._clock)
        return await exchange

    async def _exchange(self, route: str, body: Mapping[str, object], token: str | None) -> Answer:
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
        return Answer(response.code, _retry_after(response.headers), _json_object(content))


class _Body(BodyProtocol):
    """
    Collects the body of an answer, up to `MAX_ANSWER`.

    :ivar whole: fires with the body; fails if it is cut or too long.  Cancelling it ends the
        connection.
    """

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self._stop())
        self._content = bytearray()

    def dataReceived(self, data: bytes) -> None:
        if self.whole.called:
            return
        self._content += data
        if len(self._content) > MAX_ANSWER:
            self.whole.errback(ValueError(f"an answer of more than {MAX_ANSWER} bytes"))
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


def why_no_answer(error: BaseException) -> str:
    """
    :param error: what `RegistryClient.post` failed with.
    :return: a text for the log, without anything that the other end may have sent.
    """
    reasons = getattr(error, "reasons", None)
    inner = reasons[0].value if reasons else error
    if isinstance(inner, (CancelledError, DeadlineError)):
        return f"none within {REQUEST_TIMEOUT:g} seconds"
    told_by_us = isinstance(inner, (ConnectError, DNSLookupError))
    if told_by_us or type(inner).__module__.split(".")[0] in ("OpenSSL", "service_identity"):
        return f"{qual(type(inner))}: {inner}"
    return qual(type(inner))


def _json_object(content: bytes) -> Mapping[str, object] | None:
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
