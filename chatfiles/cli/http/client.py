"""
The command line's client of the platform's HTTP API.

The client blocks and uses no reactor.  So a slow disk or pipe slows the socket by itself, Ctrl-C
ends a running operation, and no code needs Twisted.  Redirects are not followed, and every status
is returned unchanged.
"""

from __future__ import annotations

import hmac
import json
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from weakref import WeakSet

import h11

from chatfiles import __version__
from chatfiles.cli.errors import CliError, Exit, untrusted
from chatfiles.cli.http.error_responses import refusal
from chatfiles.cli.http.response import Response
from chatfiles.client.blocking.connection import Connection, ResponseBegun
from chatfiles.client.blocking.endpoint import Endpoint, UnusableProxy

__all__ = ["JSON_LIMIT", "Client"]

#: Maximum bytes of a JSON response; a platform sends no longer response.
JSON_LIMIT = 64 * 1024 * 1024


class Client:
    """
    Sends requests to one platform with one credential, each on its own connection.  Several threads
    may use it.

    :param platform: its base URL, as `chatfiles.rules.urls.parse_base_url` returns it.
    :param token: a bearer token of visible ASCII characters.
    :param timeout: seconds without a byte after which a request fails.
    :param on_401: the hint when the token is refused.
    :ivar keeps_connections: whether a connection is used for the next request too.
    """

    def __init__(
        self, platform: str, token: str, *, timeout: float, on_401: str | None = None, ca: str = ""
    ) -> None:
        self.platform = platform
        self._token = token
        self._timeout = timeout
        self._on_401 = on_401
        self._endpoint = Endpoint(platform, timeout, ca)
        self.keeps_connections = False
        self._kept: list[Connection] = []
        self._connections: WeakSet[Connection] = WeakSet()
        self._lock = threading.Lock()
        self._aborted = False

    def open(
        self,
        method: str,
        route: str,
        *,
        headers: Mapping[str, str] | None = None,
        send: Callable[[Connection], object] | None = None,
        failed: Callable[[OSError], CliError] | None = None,
    ) -> Response:
        """
        Send one request and wait for the headers of its response.

        :param route: path and query below the base URL, percent-encoded.
        :param headers: further headers, besides the credential, ``Accept-Encoding: identity`` and
            those that HTTP needs.
        :param send: sends the body on the connection.
        :param failed: returns the error for a connection that breaks before there is a response.
        :return: the response, with any status, to be closed after use.
        :raise CliError: there was no response.
        """
        request = self._request(method, route, headers or {})
        kept = self._take() if send is None else None
        try:
            if kept is not None:
                # The server may have closed it at this moment; then a new one is used.
                with suppress(ConnectionError, ssl.SSLError):
                    return self._exchange(kept, request, None)
            return self._exchange(self._connect(), request, send)
        except h11.RemoteProtocolError as error:
            raise self._not_http() from error
        except OSError as error:
            raise (failed or self._unreachable)(error) from error

    def _exchange(
        self,
        connection: Connection,
        request: h11.Request,
        send: Callable[[Connection], object] | None,
    ) -> Response:
        with ExitStack() as stack:
            stack.callback(connection.close)
            with suppress(ResponseBegun):
                connection.send(request)
                if send is not None:
                    send(connection)
                connection.send(h11.EndOfMessage())
            response = Response(connection, connection.response(), self._release)
            stack.pop_all()
            return response

    def _take(self) -> Connection | None:
        """:return: a connection that is kept for another request, if there is one."""
        with self._lock:
            while self._kept:
                connection = self._kept.pop()
                if connection.is_idle():
                    return connection
                connection.close()
        return None

    def _release(self, connection: Connection) -> None:
        """Keep a connection whose response has been read to its end; close any other."""
        if self.keeps_connections and connection.renew():
            with self._lock:
                self._kept.append(connection)
        else:
            connection.close()

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
        send = None
        if body is not None:
            data = json.dumps(body).encode()
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
            send = lambda connection: connection.send(h11.Data(data=data))  # noqa: E731
        with self.open(method, route, headers=headers, send=send) as response:
            if response.status == 204:
                return None
            if response.status not in (200, 201, 202):
                raise self.refusal(response)
            return response.json(JSON_LIMIT)

    def within(self, timeout: float) -> Client:
        """
        :param timeout: seconds without a byte.
        :return: a client with the same credential that waits no longer than that.
        """
        shortest = min(timeout, self._timeout)
        return Client(self.platform, self._token, timeout=shortest, on_401=self._on_401)

    def refusal(self, response: Response) -> CliError:
        """:return: the error for a response that is not a success (`error_responses.refusal`)."""
        return refusal(response, self._on_401)

    def abort(self) -> None:
        """End all requests, which other threads may be waiting for, and send no others."""
        with self._lock:
            self._aborted = True
            for connection in self._connections:
                connection.abort()

    def seal(self, data: bytes) -> bytes:
        """:return: the HMAC-SHA256 of *data*, which only a holder of the token can make."""
        return hmac.digest(self._token.encode("ascii"), b"chatfiles\0" + data, "sha256")

    def _request(self, method: str, route: str, headers: Mapping[str, str]) -> h11.Request:
        all_headers = {
            **self._endpoint.headers,
            "Connection": "keep-alive" if self.keeps_connections else "close",
            "Authorization": f"Bearer {self._token}",
            "Accept-Encoding": "identity",
            "User-Agent": f"chatfiles/{__version__}",
            **headers,
        }
        target = self._endpoint.prefix + route
        return h11.Request(method=method, target=target, headers=list(all_headers.items()))

    def _connect(self) -> Connection:
        connection = self._new_connection()
        with self._lock:
            self._connections.add(connection)
            if self._aborted:
                connection.abort()
        return connection

    def _new_connection(self) -> Connection:
        try:
            return self._endpoint.connect()
        except UnusableProxy as error:
            raise CliError(
                f"cannot reach the platform at {self.platform}: the environment names {error}",
                Exit.UNAVAILABLE,
                hint="give the proxy as http://HOST:PORT, or list the host in NO_PROXY",
            ) from error
        except h11.RemoteProtocolError as error:
            raise self._not_http() from error
        except (OSError, ValueError) as error:  # ValueError: the host name is not valid
            raise self._unreachable(error) from error

    def _not_http(self) -> CliError:
        return untrusted(f"{self.platform} does not speak HTTP as it should")

    def _unreachable(self, error: OSError | ValueError) -> CliError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return CliError(
                f"the certificate of {self.platform} is not trusted: {error.verify_message}",
                Exit.UNAVAILABLE,
                hint="--ca FILE or CHATFILES_CA names a file of authorities to trust",
            )
        hint = "is it running, and is this its address? Give it with --platform URL or "
        hint += "CHATFILES_PLATFORM"
        if isinstance(error, ssl.SSLError):
            hint = "does it speak TLS there, or is it an http:// address?"
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if isinstance(error, TimeoutError):
            why = f"no response within {self._timeout:g} seconds"
        return CliError(
            f"cannot reach the platform at {self.platform}: {why}",
            Exit.UNAVAILABLE,
            hint=hint,
            transient=True,
        )
