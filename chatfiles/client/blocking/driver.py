"""
Takes the steps of operations, and blocks.

No thread and no reactor is started.  Several threads may use a driver; a connection serves one of
them at a time.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any, TypeVar, cast
from weakref import WeakSet

import h11

from chatfiles import __version__
from chatfiles.client.blocking.connection import Connection, ResponseBegun
from chatfiles.client.blocking.endpoint import Endpoint, UnusableProxy
from chatfiles.client.blocking.response import BlockingResponse
from chatfiles.client.core.errors import BadAnswer, ClientError, Unreachable
from chatfiles.client.core.settings import CA_HINT
from chatfiles.client.core.steps import (
    Body,
    Emit,
    Local,
    Pull,
    Receive,
    Request,
    Send,
    Sleep,
    Steps,
)

__all__ = ["Driver"]

T = TypeVar("T")
#: Sends the body of a request on a connection.
SendBody = Callable[[Connection], object]

#: Minimum bytes of a body for which the request has ``Expect: 100-continue``.
EXPECT_CONTINUE_FROM = 1024 * 1024
#: Seconds to wait for ``100 Continue``; after that the body is sent without it.
CONTINUE_TIMEOUT = 1.0
#: The most idle connections.
KEPT = 8
#: The errors of OpenSSL about a certificate that no known authority has signed: it is signed by
#: itself, or its issuer is missing (openssl-verification-options(1)).
_UNKNOWN_AUTHORITY = frozenset({18, 19, 20, 21})


class Driver:
    """
    Sends the requests of one client.

    :param base_url: of the platform.
    :param token: the credential.
    :param ca: a file of certificate authorities; empty for none.
    :param connect_timeout: seconds to connect.
    :param idle_timeout: seconds without progress after which a request fails.
    :param trust_env: whether the environment may name a proxy.
    :param proxies_loopback: see `Endpoint`.
    :ivar pause: waits for a number of seconds; by default no longer than until `close`.
    :raise OSError: the file of certificate authorities cannot be read.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        ca: str,
        connect_timeout: float,
        idle_timeout: float,
        trust_env: bool,
        proxies_loopback: bool = True,
    ) -> None:
        self._base_url = base_url
        self._token = token
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._interrupted = False
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self.pause: Callable[[float], object] = self._closed.wait
        self._kept: list[Connection] = []
        self._process = os.getpid()
        self._endpoint = Endpoint(
            base_url,
            idle_timeout,
            ca,
            connect_timeout=connect_timeout,
            trust_env=trust_env,
            proxies_loopback=proxies_loopback,
            opened=self._opened,
        )
        if ca:
            self._endpoint.load_authorities()

    # -- operations

    def run(self, steps: Steps[T]) -> T:
        """:return: the result of an operation that emits nothing."""
        iterator = self._iterate(steps)
        try:
            next(iterator)
        except StopIteration as end:
            return cast("T", end.value)
        raise AssertionError("the operation emits values")

    def iterate(self, steps: Steps[None]) -> Iterator[Any]:
        """:return: what an operation emits.  To close the iterator ends the operation."""
        return self._iterate(steps)

    def _iterate(self, steps: Steps[T]) -> Generator[Any, None, T]:
        advance: Callable[[], Any] = lambda: next(steps)  # noqa: E731
        try:
            while True:
                try:
                    step = advance()
                except StopIteration as end:
                    return cast("T", end.value)
                if isinstance(step, Emit):
                    yield step.value
                    advance = lambda: steps.send(None)  # noqa: E731
                    continue
                advance = self._take(steps, step)
        except ClientError:
            raise
        except BaseException:  # cancelled
            self._drop_kept()
            raise
        finally:
            steps.close()

    def _take(self, steps: Steps[T], step: Any) -> Callable[[], Any]:
        """:return: what passes the step's result, or its error, to the operation."""
        self.check_open()
        try:
            result = self._perform(step)
        except Exception as error:
            failed = self._error(error)
            return lambda: steps.throw(failed)
        return lambda: steps.send(result)

    def _error(self, error: Exception) -> Exception:
        if self._closed.is_set():
            closed = _closed()
            closed.__cause__ = error
            return closed
        return error

    def _perform(self, step: Any) -> Any:
        if isinstance(step, Receive):
            return cast("BlockingResponse", step.response).receive()
        if isinstance(step, Local):
            return step.function()
        if isinstance(step, Send):
            return self.open(step.request)
        if isinstance(step, Sleep):
            self.pause(step.seconds)
            return None
        assert isinstance(step, Pull)
        return next(cast("Iterator[bytes]", step.iterator), None)

    # -- requests

    def open(self, request: Request, send: SendBody | None = None) -> BlockingResponse:
        """
        Send a request, and wait for the headers of its response.

        :param send: sends the pieces of the body of *request* on the connection, in place of
            `Body.pieces`.
        :raise Unreachable: there was no response.
        :raise BadAnswer: what came is no response.
        """
        kept = self._take_kept() if request.repeatable else None
        try:
            if kept is not None:
                # The server may have closed it at this moment; then a new one is used.
                with suppress(ConnectionError, ssl.SSLError):
                    return self._exchange(kept, request, None)
            return self._exchange(self._connect(), request, send)
        except _BodyFailed as failed:
            raise failed.error from failed.error.__cause__
        except h11.RemoteProtocolError as error:
            raise self._not_http(error) from error
        except ClientError:  # some are also an OSError
            raise
        except OSError as error:
            raise self._unreachable(error, connected=True) from error

    def _exchange(
        self, connection: Connection, request: Request, send: SendBody | None
    ) -> BlockingResponse:
        with ExitStack() as stack:
            stack.callback(connection.close)
            with suppress(ResponseBegun):
                connection.send(self._head(request))
                if isinstance(request.body, Body):
                    self._send_body(connection, request.body, send)
                elif request.body:
                    connection.send(h11.Data(data=request.body))
                connection.send(h11.EndOfMessage())
            head = connection.response()
            stack.pop_all()
        has_body = request.method != "HEAD"
        return BlockingResponse(connection, head, self._release, has_body=has_body)

    def _send_body(self, connection: Connection, body: Body, send: SendBody | None) -> None:
        if _expects(body):
            connection.wait_for_continue(CONTINUE_TIMEOUT)
        if send is not None:
            send(connection)
            return
        with closing(self._iterate(body.pieces())) as pieces:
            while (piece := _next(pieces)) is not None:
                connection.send(h11.Data(data=piece))

    def _head(self, request: Request) -> h11.Request:
        headers = {
            **self._endpoint.headers,
            "Authorization": f"Bearer {self._token}",
            "Accept-Encoding": "identity",
            "User-Agent": f"chatfiles/{__version__}",
            **request.headers,
        }
        if isinstance(request.body, Body):
            if request.body.length is None:
                headers["Transfer-Encoding"] = "chunked"
            else:
                headers["Content-Length"] = str(request.body.length)
            if _expects(request.body):
                headers["Expect"] = "100-continue"
        elif request.method not in ("GET", "HEAD", "DELETE"):
            headers["Content-Length"] = str(len(request.body or b""))
        if not request.repeatable:
            headers["Connection"] = "close"
        target = self._endpoint.prefix + request.route
        return h11.Request(method=request.method, target=target, headers=list(headers.items()))

    # -- connections

    def close(self) -> None:
        """End all requests, which other threads may be waiting for, and send no others."""
        self._closed.set()
        self.interrupt()
        self._drop_kept()

    def interrupt(self) -> None:
        """
        Let all requests fail, which other threads may be waiting for, as if their connections were
        interrupted: what has arrived can still be received.  Later requests fail, too.
        """
        with self._lock:
            self._interrupted = True
            for sock in self._sockets:
                _shut(sock)

    def _drop_kept(self) -> None:
        with self._lock:
            kept, self._kept = self._kept, []
        for connection in kept:
            connection.close()

    def check_open(self) -> None:
        """:raise RuntimeError: the client was closed."""
        if self._closed.is_set():
            raise _closed()

    def _opened(self, sock: socket.socket) -> None:
        with self._lock:
            self._sockets.add(sock)
        self._check_connecting()

    def _check_connecting(self) -> None:
        self.check_open()
        if self._interrupted:
            raise ConnectionAbortedError("all requests were interrupted")

    def _connect(self) -> Connection:
        try:
            with ExitStack() as stack:
                connection = self._endpoint.connect()
                stack.callback(connection.close)
                self._check_connecting()
                stack.pop_all()
            return connection
        except UnusableProxy as error:
            raise Unreachable(f"the environment names {error}") from error
        except h11.RemoteProtocolError as error:
            raise self._not_http(error) from error
        except OSError as error:  # also about a certificate, which is a ValueError too
            raise self._unreachable(error) from error
        except ValueError as error:  # the host name is not valid
            raise Unreachable(f"{self._base_url} cannot be reached: {error}") from error

    def _take_kept(self) -> Connection | None:
        """:return: a connection that is kept for another request, if there is one."""
        with self._lock:
            if self._process != os.getpid():  # those of the parent process belong to it
                self._process = os.getpid()
                self._kept.clear()
            while self._kept:
                connection = self._kept.pop()
                if connection.is_idle():
                    return connection
                connection.close()
        return None

    def _release(self, connection: Connection) -> None:
        """Keep a connection whose response has been read to its end; close any other."""
        with self._lock:
            room = len(self._kept) < KEPT and not self._closed.is_set()
            if room and connection.renew():
                self._kept.append(connection)
                return
        connection.close()

    def _not_http(self, error: h11.RemoteProtocolError) -> BadAnswer:
        return BadAnswer(f"{self._base_url} does not speak HTTP as it should: {error}")

    def _unreachable(self, error: OSError, *, connected: bool = False) -> Unreachable:
        if isinstance(error, ssl.SSLCertVerificationError):
            text = f"the certificate of {self._base_url} is not trusted: {error.verify_message}"
            hint = f"; {CA_HINT}" if error.verify_code in _UNKNOWN_AUTHORITY else ""
            return Unreachable(text + hint)
        why = error.strerror or str(error)
        if isinstance(error, TimeoutError):
            why = "no response in time"
        text = f"{self._base_url} cannot be reached: {why}"
        return Unreachable(text, transient=True, connected=connected)


class _BodyFailed(Exception):
    """The body could not be had: its source or the program's function has raised *error*."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def _next(pieces: Iterator[bytes]) -> bytes | None:
    try:
        return next(pieces, None)
    except Exception as error:
        raise _BodyFailed(error) from error


def _expects(body: Body) -> bool:
    return body.length is None or body.length >= EXPECT_CONTINUE_FROM


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        # Not the method of `ssl.SSLSocket`: after that, it would return encrypted bytes.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _closed() -> RuntimeError:
    return RuntimeError("the client was closed")
