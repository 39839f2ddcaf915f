"""
The command line's client of the platform's HTTP API: the driver of the client library that blocks,
with the errors and the texts of the command line.

So a slow disk or pipe slows the socket by itself, and Ctrl-C ends a running operation.
"""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from chatfiles.cli.errors import CliError
from chatfiles.cli.http.error_responses import Errors
from chatfiles.client.blocking.driver import Driver, SendBody
from chatfiles.client.blocking.response import BlockingResponse
from chatfiles.client.core.answers import LIST_LIMIT, ask_json, header, read_json, refusal
from chatfiles.client.core.context import Context
from chatfiles.client.core.errors import ClientError, Unreachable
from chatfiles.client.core.retries import Retries
from chatfiles.client.core.steps import Request, Steps

__all__ = ["Client"]

T = TypeVar("T")


class Client:
    """
    Sends requests to one platform with one credential.  Several threads may use it.

    :param platform: its base URL, as `chatfiles.rules.urls.parse_base_url` returns it.
    :param token: a bearer token of visible ASCII characters.
    :param timeout: seconds without a byte after which a request fails.
    :param on_401: the hint when the token is refused.
    :param ca: a file of certificate authorities to trust besides the machine's; empty for none.
    :ivar now: returns seconds since the epoch.
    :ivar errors: turns errors of the client library into those of the command line.
    """

    def __init__(
        self, platform: str, token: str, *, timeout: float, on_401: str | None = None, ca: str = ""
    ) -> None:
        self.platform = platform
        self._token = token
        self._timeout = timeout
        self._on_401 = on_401
        self._ca = ca
        self.errors = Errors(platform, timeout, on_401)
        self._driver = Driver(
            platform,
            token,
            ca=ca,
            connect_timeout=timeout,
            idle_timeout=timeout,
            trust_env=True,
            proxies_loopback=False,
        )
        self.now = time.time
        self.pause = time.sleep

    @property
    def pause(self) -> Callable[[float], object]:
        """Sleeps for a number of seconds between two requests of an operation."""
        return self._driver.pause

    @pause.setter
    def pause(self, pause: Callable[[float], object]) -> None:
        self._driver.pause = pause

    def context(self, workspace: str) -> Context:
        """
        :param workspace: its id.
        :return: what operations of the client library need to know; they send each request once.
        """
        return Context(self.platform, workspace, 0)

    def run(self, steps: Steps[T]) -> T:
        """
        :param steps: an operation of the client library that emits nothing.
        :return: its result.
        :raise CliError: it has failed.
        """
        with self.translated():
            return self._driver.run(steps)

    def iterate(self, steps: Steps[None]) -> Iterator[T]:
        """
        :param steps: an operation of the client library that emits values of the type T.
        :return: these values.
        :raise CliError: it has failed.
        """
        with self.translated():
            yield from self._driver.iterate(steps)

    def open(
        self,
        request: Request,
        send: SendBody | None = None,
        failed: Callable[[OSError], CliError] | None = None,
    ) -> BlockingResponse:
        """
        Send one request and wait for the headers of its response.

        :param send: sends the body on the connection.
        :param failed: returns the error for a connection that breaks before there is a response.
        :return: the response, with any status, to be closed after use.
        :raise CliError: there was no response.
        """
        with self.translated():
            try:
                return self._driver.open(request, send)
            except Unreachable as error:
                cause = error.__cause__
                if failed is None or not (error.connected and isinstance(cause, OSError)):
                    raise
                raise failed(cause) from error

    def json(self, response: BlockingResponse, limit: int) -> object:
        """
        :param limit: maximum length of the body in bytes.
        :return: the JSON value of the body.
        :raise CliError: the body is incomplete, not JSON, or too long.
        """
        value: object = self.run(read_json(response, limit))
        return value

    def call(
        self,
        method: str,
        route: str,
        body: object = None,
        conditions: Mapping[str, str] | None = None,
    ) -> object:
        """
        Send one request with a JSON body, and read a JSON response.

        :param body: sent as JSON unless it is ``None``.
        :param conditions: further headers, such as ``If-Match``.
        :return: the JSON value of the response; ``None`` for 204.
        :raise CliError: there was no response, it was an error, or it was not JSON.
        """
        headers = {"Accept": "application/json", **(conditions or {})}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = Request(method, route, headers, data)
        expected = (200, 201, 202, 204)
        _, value = self.run(ask_json(request, expected, Retries(0), self.now, LIST_LIMIT))
        return value

    def within(self, timeout: float) -> Client:
        """
        :param timeout: seconds without a byte.
        :return: a client with the same credential that waits no longer than that.
        """
        shortest = min(timeout, self._timeout)
        return Client(
            self.platform, self._token, timeout=shortest, on_401=self._on_401, ca=self._ca
        )

    def refusal(self, response: BlockingResponse) -> CliError:
        """:return: the error for a response that is not a success; its body is read here."""
        error = self.run(refusal(response, self.now()))
        # A response may have no body that says who sent it (RFC 9110, 9.3.2).
        return self.errors.of(error, is_of_platform=bool(header(response, "Tus-Resumable")))

    def abort(self) -> None:
        """End all requests, which other threads may be waiting for, and send no others."""
        self._driver.interrupt()

    def seal(self, data: bytes) -> bytes:
        """:return: the HMAC-SHA256 of *data*, which only a holder of the token can make."""
        return hmac.digest(self._token.encode("ascii"), b"chatfiles\0" + data, "sha256")

    @contextmanager
    def translated(self) -> Iterator[None]:
        """A context in which errors of the client library become those of the command line."""
        try:
            yield
        except ClientError as error:
            raise self.errors.of(error) from error
