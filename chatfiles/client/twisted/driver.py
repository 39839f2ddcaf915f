"""
Takes the steps of operations in the reactor.

A connection serves one request, so that it can be ended at any moment.  What may wait for the disk
runs in a thread of the reactor's pool.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from typing import Any, TypeVar, cast
from weakref import WeakSet

from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet import error as errors
from twisted.internet.defer import CancelledError, Deferred, DeferredList, FirstError
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.web.client import (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent

from chatfiles import __version__
from chatfiles.client.core.errors import BadAnswer, ClientError, Incomplete, Unreachable
from chatfiles.client.core.settings import CA_HINT, Settings
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
from chatfiles.client.twisted.agent import Exact, Platform
from chatfiles.client.twisted.body import PieceProducer
from chatfiles.client.twisted.exchange import Exchange
from chatfiles.client.twisted.response import AsyncResponse, early_response, response_of

__all__ = ["Driver"]

T = TypeVar("T")

#: What treq is given as URL; `Exact` has the right one.
_ANY_URL = "http://platform.invalid/"
_NETWORK = (
    errors.ConnectError,
    errors.DNSLookupError,
    errors.TimeoutError,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
    SSL.Error,
    OSError,
)


class Driver:
    """
    Sends the requests of one client.

    :param reactor: runs.
    :param settings: of the client.
    :param agent: sends the requests; ``None`` for one that checks responses strictly.
    :ivar pause: waits for a number of seconds.
    """

    def __init__(self, reactor: Any, settings: Settings, agent: IAgent | None) -> None:
        self._reactor = reactor
        self._settings = settings
        self._agent = agent
        self._platform = None
        if agent is None:
            self._platform = Platform(
                reactor, settings.base_url, settings.ca, settings.connect_timeout
            )
        self._closed = False
        self._exchanges: WeakSet[Exchange] = WeakSet()
        self._waiting: set[Deferred[Any]] = set()
        self.pause: Callable[[float], Deferred[None]] = lambda seconds: deferLater(reactor, seconds)

    # -- operations

    async def run(self, steps: Steps[T]) -> T:
        """:return: the result of an operation that emits nothing."""
        found: list[T] = []
        async for _ in self._iterate(steps, found.append):
            raise AssertionError("the operation emits values")
        return found[0]

    def iterate(self, steps: Steps[None]) -> AsyncGenerator[Any, None]:
        """:return: what an operation emits.  To close the iterator ends the operation."""
        return self._iterate(steps, lambda _: None)

    async def _iterate(
        self, steps: Steps[T], end: Callable[[T], object]
    ) -> AsyncGenerator[Any, None]:
        advance: Callable[[], Any] = lambda: next(steps)  # noqa: E731
        try:
            while True:
                try:
                    step = advance()
                except StopIteration as stop:
                    end(stop.value)
                    return
                if isinstance(step, Emit):
                    yield step.value
                    advance = lambda: steps.send(None)  # noqa: E731
                else:
                    advance = await self._take(steps, step)
        finally:
            steps.close()

    async def _take(self, steps: Steps[T], step: Any) -> Callable[[], Any]:
        """:return: what passes the step's result, or its error, to the operation."""
        self.check_open()
        try:
            result = await self._perform(step)
        except Exception as error:
            failed = self._error(error)
            return lambda: steps.throw(failed)
        return lambda: steps.send(result)

    def _error(self, error: BaseException) -> BaseException:
        if self._closed:
            closed = _closed()
            closed.__cause__ = error
            return closed
        return error

    async def _perform(self, step: Any) -> Any:
        if isinstance(step, Receive):
            return await self._receive(cast("AsyncResponse", step.response))
        if isinstance(step, Local):
            return await self._call(step.function)
        if isinstance(step, Send):
            return await self._send(step.request)
        if isinstance(step, Sleep):
            return await self._wait(self.pause(step.seconds))
        assert isinstance(step, Pull)
        if isinstance(step.iterator, AsyncIterator):
            return await anext(step.iterator, None)
        return next(step.iterator, None)

    # -- the disk

    async def _call(self, function: Callable[[], Any]) -> Any:
        """
        Call *function* in a thread.  If the operation is cancelled, it ends when the thread is
        done, because the thread uses its files.
        """
        if not IReactorThreads.providedBy(self._reactor):
            return function()
        running = deferToThreadPool(
            self._reactor, self._reactor.getThreadPool(), partial(_outcome, function)
        )
        cancelled: CancelledError | None = None
        outcome: tuple[Any, Exception | None] | None = None
        while outcome is None:
            waiting: Deferred[tuple[Any, Exception | None]] = Deferred()
            running.addCallback(_notify, waiting)
            try:
                outcome = await waiting
            except CancelledError as error:
                cancelled = error
        if failed := cancelled or outcome[1]:
            raise failed
        return outcome[0]

    # -- requests

    async def _send(self, request: Request) -> AsyncResponse:
        exchange = Exchange(request.method)
        self._exchanges.add(exchange)
        timer = _IdleTimer(self._reactor, self._settings.idle_timeout)
        producer = self._producer(request, timer, exchange)
        try:
            return await self._exchange(request, exchange, producer, timer)
        except BaseException:
            exchange.abort()
            raise
        finally:
            timer.stop()

    async def _exchange(
        self,
        request: Request,
        exchange: Exchange,
        producer: PieceProducer | bytes | None,
        timer: _IdleTimer,
    ) -> AsyncResponse:
        uri = (self._settings.base_url + request.route).encode("ascii")
        agent = self._agent if self._platform is None else self._platform.agent(exchange)
        assert agent is not None
        client = HTTPClient(Exact(agent, uri))
        sending = client.request(
            request.method,
            _ANY_URL,
            headers=self._headers(request),
            data=cast("Any", producer),
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        if not isinstance(producer, PieceProducer):
            exchange.sent()
        either: list[Deferred[Any]] = [sending, exchange.early]
        first = DeferredList(
            either, fireOnOneCallback=True, fireOnOneErrback=True, consumeErrors=True
        )
        timer.start(sending)
        try:
            result, index = cast("Any", await self._wait(_gate(first, exchange)))
        except BaseException as error:
            sending.cancel()
            raise self._failed(_first(error), exchange, producer, timer) from error
        if index == 1:
            exchange.abort()
            return early_response(result)
        return response_of(result, exchange)

    def _headers(self, request: Request) -> Headers:
        headers = Headers(
            {
                "Authorization": [f"Bearer {self._settings.token}"],
                "User-Agent": [f"chatfiles/{__version__}"],
            }
        )
        for name, value in request.headers.items():
            headers.setRawHeaders(name, [value])
        return headers

    def _producer(
        self, request: Request, timer: _IdleTimer, exchange: Exchange
    ) -> PieceProducer | bytes | None:
        body = request.body
        if isinstance(body, Body):
            pieces = self._iterate(body.pieces(), lambda _: None)
            return PieceProducer(body.length, pieces, timer.reset, exchange.sent)
        if body is None and request.method not in ("GET", "HEAD", "DELETE"):
            return b""
        return body

    def _failed(
        self, error: BaseException, exchange: Exchange, producer: object, timer: _IdleTimer
    ) -> BaseException:
        if isinstance(producer, PieceProducer) and producer.failure is not None:
            return producer.failure
        if exchange.fault is not None:
            return exchange.fault
        if exchange.cancelled:
            return CancelledError()
        cause = _cause(error)
        if isinstance(cause, ClientError) or not (timer.expired or isinstance(error, _NETWORK)):
            return cause or error
        if isinstance(cause, SSL.Error):
            return self._unreachable(f"TLS failed, or the certificate is not trusted; {CA_HINT}")
        why = "no response in time" if timer.expired else cause
        return self._unreachable(why, transient=True, connected=exchange.was_connected)

    def _unreachable(
        self, why: object, *, transient: bool = False, connected: bool = False
    ) -> Unreachable:
        text = f"{self._settings.base_url} cannot be reached: {why}"
        return Unreachable(text, transient=transient, connected=connected)

    async def _receive(self, response: AsyncResponse) -> bytes:
        reader = response.reader
        timer = _IdleTimer(self._reactor, self._settings.idle_timeout)
        available = reader.available()
        if not available.called:
            timer.start(available)
        try:
            await self._wait(available)
        except CancelledError:
            if timer.expired:
                raise response.interrupted("stalled") from None
            raise
        finally:
            timer.stop()
        piece = reader.take()
        response.received += len(piece)
        if piece or reader.is_complete:
            return piece
        if reader.is_unframed:
            raise Incomplete("the response may have been interrupted: it has no length")
        cause = _cause(cast("Failure", reader.ended).value)
        if not isinstance(cause, errors.ConnectionClosed | SSL.Error):
            raise BadAnswer("the response has a malformed chunk")
        raise response.interrupted("was interrupted")

    async def _wait(self, waiting: Deferred[T]) -> T:
        """Wait for what `close` ends."""
        self._waiting.add(waiting)
        try:
            return await waiting
        finally:
            self._waiting.discard(waiting)

    # -- the end

    async def close(self) -> None:
        """End all requests, and send no others."""
        self._closed = True
        for waiting in list(self._waiting):
            waiting.cancel()
        for exchange in list(self._exchanges):
            exchange.abort()
        for exchange in list(self._exchanges):
            await exchange.ended()

    def check_open(self) -> None:
        """:raise RuntimeError: the client was closed."""
        if self._closed:
            raise _closed()


class _IdleTimer:
    """
    Cancels a Deferred when nothing has happened for a while.

    :ivar expired: whether it has.
    """

    def __init__(self, reactor: Any, seconds: float) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._call: Any = None
        self.expired = False

    def start(self, waiting: Deferred[Any]) -> None:
        """Begin to wait for *waiting*."""
        self._call = self._reactor.callLater(self._seconds, self._expire, waiting)

    def reset(self) -> None:
        """Something has happened."""
        if self._call is not None and self._call.active():
            self._call.reset(self._seconds)

    def stop(self) -> None:
        """Wait no longer."""
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _expire(self, waiting: Deferred[Any]) -> None:
        self.expired = True
        waiting.cancel()


def _outcome(function: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """:return: the result of *function*, or its error."""
    try:
        return function(), None
    except Exception as error:
        return None, error


def _notify(result: T, waiting: Deferred[T]) -> T:
    if not waiting.called:
        waiting.callback(result)
    return result


def _gate(waiting: Deferred[Any], exchange: Exchange) -> Deferred[Any]:
    """
    :return: as *waiting*; *exchange* learns if it is cancelled.  Not each error of Twisted says
        that it is due to that.
    """

    def cancel(_: Deferred[Any]) -> None:
        exchange.cancelled = True
        waiting.cancel()

    gate: Deferred[Any] = Deferred(cancel)
    waiting.chainDeferred(gate)
    return gate


def _first(error: BaseException) -> BaseException:
    """:return: the error of what has failed first."""
    return error.subFailure.value or error if isinstance(error, FirstError) else error


def _cause(error: BaseException | None) -> BaseException | None:
    """:return: the first reason of an error of Twisted's client."""
    while reasons := getattr(error, "reasons", None):
        error = reasons[0].value
    return error


def _closed() -> RuntimeError:
    return RuntimeError("the client was closed")
