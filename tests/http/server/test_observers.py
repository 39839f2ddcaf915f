"""
Observers of a site: each request is reported exactly once, however it ends.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from chatfiles.errors import Forbidden
from chatfiles.http.server.access_log import AccessLog
from chatfiles.http.server.observers import RequestRefused, TransferEnded
from chatfiles.http.server.request import Request
from chatfiles.http.server.responses import JSONResponse
from chatfiles.streams.body_relay import UpstreamInterrupted
from chatfiles.streams.file_source import FileChanged
from chatfiles.streams.outcome import Outcome
from tests.http.server.test_responses import always, probes
from tests.support.memory_client import IDLE_TIMEOUT, Caller, Held, Wire, get, post, tree

Event = TransferEnded | RequestRefused


class Recorder:
    """Records its events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def transfer_ended(self, event: TransferEnded) -> None:
        self.events.append(event)

    def request_refused(self, event: RequestRefused) -> None:
        self.events.append(event)


class Failing:
    """Fails at each event."""

    def transfer_ended(self, event: TransferEnded) -> None:
        raise KeyError("ended")

    def request_refused(self, event: RequestRefused) -> None:
        raise KeyError("refused")


class Broken(Resource):
    """Raises, as a third-party resource may that is mounted beside ours."""

    isLeaf = True

    def render(self, request: object) -> int:
        raise KeyError("broken")


class Doing(Held):
    """Does something with its request, then responds when the test says so."""

    def __init__(self, do: Callable[[Request], object]) -> None:
        super().__init__()
        self.do = do

    async def render_GET(self, request: Request) -> JSONResponse | None:
        self.do(request)
        return await super().render_GET(request)

    render_POST = render_GET


def _raise(error: Exception) -> Callable[[Request], object]:
    def raising(request: Request) -> None:
        raise error

    return raising


def _some(request: Request) -> None:
    request.setHeader(b"Content-Length", b"10")
    request.write(b"some")


def _some_then(error: Exception) -> Callable[[Request], object]:
    def raising(request: Request) -> None:
        _some(request)
        raise error

    return raising


def _stall(request: Request) -> None:
    _some(request)
    clock = request.site.reactor
    request.transfer.watch_client(clock, IDLE_TIMEOUT, lambda taken: taken)


def _upstream_stalls(request: Request) -> None:
    _some(request)
    clock = request.site.reactor
    request.transfer.watch(clock, IDLE_TIMEOUT, lambda: 0, Outcome.UPSTREAM_STALLED)


def _not_modified(request: Request) -> None:
    request.setResponseCode(304)
    request.finish()


def _leave(caller: Caller, _: Doing) -> None:
    caller.leave()


def _wait(caller: Caller, _: Doing) -> None:
    caller.advance(IDLE_TIMEOUT)


def _drain(caller: Caller, _: Doing) -> None:
    caller.site.drain(1.0)
    caller.advance(2.0)


def _answer(_: Caller, root: Doing) -> None:
    root.answer(JSONResponse(200, {}))


def _nothing(*_: object) -> None:
    pass


#: The request, what its handler does, what happens then; the status, outcome and bytes
#: (``None``: as many as the client has received).
ENDS: list[
    tuple[bytes, Callable[[Request], object], Callable[..., object], int, str, int | None]
] = [
    (get(), _nothing, _answer, 200, "complete", 3),
    (get(method=b"HEAD"), _nothing, _answer, 200, "complete", 0),
    (get(), _not_modified, _nothing, 304, "complete", 0),
    (get(), _raise(Forbidden()), _nothing, 403, "permission_denied", None),
    (get(method=b"PUT"), _nothing, _nothing, 405, "method_not_allowed", None),
    (get(), _nothing, _leave, 0, "client_left", 0),
    (get(), _some, _leave, 200, "client_left", 4),
    (post(b"hello")[:-1], _nothing, _leave, 0, "client_left", 4),
    (post(b"hello")[:-1], _nothing, _answer, 200, "complete", 4),
    (get(), _stall, _wait, 200, "client_stalled", 4),
    (get(), _upstream_stalls, _wait, 200, "upstream_stalled", 4),
    (get(), _nothing, _drain, 0, "shutdown", 0),
    (get(), _some, _drain, 200, "shutdown", 4),
    (get(), _some_then(FileChanged()), _nothing, 200, "file_changed", 4),
    (get(), _some_then(UpstreamInterrupted()), _nothing, 200, "upstream_cut", 4),
    (get(), _some_then(Forbidden()), _nothing, 200, "permission_denied", 4),
    (get(), _some_then(ValueError()), _nothing, 200, "internal_error", 4),
    (get(), _raise(ValueError()), _nothing, 500, "internal", None),
]


class ObserverTests(SynchronousTestCase):
    """The contract of observers."""

    def setUp(self) -> None:
        self.recorder = Recorder()

    def caller(self, root: Resource) -> Caller:
        return Caller(root, observers=[self.recorder], workspace="w1")

    def one_event(self, caller: Caller) -> Event:
        """:return: the only event, after all timeouts and a disconnect."""
        caller.advance(10 * IDLE_TIMEOUT)
        if not caller.lost:
            caller.leave()
        caller.advance(10 * IDLE_TIMEOUT)
        (event,) = self.recorder.events
        self.recorder.events.clear()
        self.assertEqual(caller.site.running, 0)
        return event

    def test_ends(self) -> None:
        """
        Each request is reported once, with its status, outcome and bytes, for metrics and audit.
        """
        for raw, do, then, status, outcome, size in ENDS:
            root = Doing(do)
            caller = self.caller(root).send(raw)
            then(caller, root)
            caller.settle()
            event = self.one_event(caller)
            assert isinstance(event, TransferEnded)
            what = (raw, outcome)
            self.assertEqual((event.status, event.outcome), (status, outcome), what)
            self.assertIs(type(event.status), int)
            sent = len(caller.answer().body) if size is None else size
            self.assertEqual(event.bytes, sent, what)
            self.assertEqual(
                (event.request_id, event.workspace, event.operation, event.client),
                ("new-1", "w1", "held", "192.168.1.1"),
                what,
            )
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_never_a_request(self) -> None:
        """A request that is rejected before it is complete is reported."""
        event = self.one_event(self.caller(Held()).send(b"GET\r\n"))
        self.assertEqual(
            event, RequestRefused("new-1", "w1", 400, "malformed_request", "192.168.1.1")
        )

    def test_probe(self) -> None:
        """The log has no line for a probe, but a metric counts it."""
        event = self.one_event(self.caller(probes("platform", always)).send(get(b"/health")))
        assert isinstance(event, TransferEnded)
        self.assertEqual((event.operation, event.status), ("", 200))

    def test_several_requests(self) -> None:
        """Each request of a connection is reported, in order."""
        self.caller(Doing(_not_modified)).send(get() + get(), b"BAD\r\n")
        ids = [event.request_id for event in self.recorder.events]
        self.assertEqual(ids, ["new-1", "new-2", "new-3"])

    def test_resource_raises(self) -> None:
        """
        If a resource raises, its client is disconnected, and the request before it is reported too.
        """
        held = Held()
        caller = self.caller(tree(slow=held, broken=Broken()))
        caller.send(get(b"/slow") + get(b"/broken"))
        held.answer()
        caller.settle()
        ends = [event for event in self.recorder.events if isinstance(event, TransferEnded)]
        self.assertEqual([end.outcome for end in ends], ["complete", "internal_error"])
        self.assertTrue(caller.wire.aborted)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_observer_fails(self) -> None:
        """An observer that fails affects neither the other observers nor the response."""
        caller = Caller(Doing(_not_modified), observers=[Failing(), self.recorder], wire=Wire())
        caller.send(get(), b"BAD\r\n")
        self.assertEqual([answer.status for answer in caller.answers()], [304, 400])
        self.assertEqual(len(self.recorder.events), 2)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

    def test_none(self) -> None:
        """A site works without observers."""
        caller = Caller(Doing(_not_modified), observers=[]).send(get(), b"BAD\r\n")
        self.assertEqual([answer.status for answer in caller.answers()], [304, 400])


class AccessLogTests(SynchronousTestCase):
    """The access log; its lines are tested in `tests.http.server.test_site`."""

    def test_default(self) -> None:
        """A site has an access log by default."""
        site = Caller(Held()).site
        self.assertEqual([type(observer) for observer in site._observers], [AccessLog])
