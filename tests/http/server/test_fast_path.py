"""
The fast path: which requests are usual, and how they are served.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import Unavailable
from chatfiles.http.message_head.request import MAX_HEAD_BYTES
from chatfiles.http.message_head.rules import MAX_HEADER_LINES
from chatfiles.http.server import fast_path
from chatfiles.http.server.connection import EAGER_BYTES
from chatfiles.http.server.connection_state import (
    NEXT_STATES,
    SECONDS,
    Event,
    State,
    UnexpectedEvent,
)
from chatfiles.http.server.fast_path import MAX_TARGET, FastPath, FastRequest
from chatfiles.http.server.observers import TransferEnded
from chatfiles.http.server.request import Request
from chatfiles.model import token_hash
from chatfiles.streams.outcome import Outcome
from tests.http.server.test_observers import Failing, Recorder
from tests.support.memory_client import HEADER_TIMEOUT, IDLE_TIMEOUT, Caller, Echo, get, post
from tests.support.resources import Endpoint

AUTH = b"Authorization: Bearer abc"
USUAL = get(b"/p", AUTH)
PEER = "192.168.1.1"  # of `StringTransport`
FIELDS = b"Content-Length: 2\r\n"


class Serving:
    """
    Serves usual requests, or declines them.

    :param serve: returns whether it serves the request.
    """

    def __init__(self, serve: Callable[[FastRequest], bool] | None = None) -> None:
        self.serve_one = serve or answer
        self.requests: list[FastRequest] = []

    def serve(self, request: FastRequest) -> bool:
        """Record it."""
        self.requests.append(request)
        return self.serve_one(request)


def answer(request: FastRequest) -> bool:
    """Respond at once."""
    request.operation = "fast"
    request.respond(200, b"200 OK", FIELDS, b"" if request.method == b"HEAD" else b"ok")
    return True


def later(request: FastRequest) -> bool:
    """Serve it, but do not respond yet."""
    request.operation = "fast"
    return True


def decline(request: FastRequest) -> bool:
    """Do not serve it."""
    request.operation = "declined"
    return False


class Heads(Endpoint):
    """Records requests of the ordinary path; responds with the names and values it received."""

    isLeaf = True
    operation = "ordinary"

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []

    async def render_GET(self, request: Request) -> None:
        self.requests.append(request)
        request.setHeader(b"Content-Length", b"2")
        request.write(b"ok")

    render_HEAD = render_POST = render_GET


class FastCase(SynchronousTestCase):
    """A client of a site with a fast path."""

    def setUp(self) -> None:
        self.recorder = Recorder()
        self.ordinary = Heads()

    def caller(self, serving: Serving | None = None, **more: Any) -> Caller:
        self.serving = serving or Serving()
        more = {"observers": (self.recorder,), "fast_routes": self.serving, **more}
        return Caller(self.ordinary, **more)

    def channel(self) -> Any:
        """:return: a new connection of a new site."""
        return self.caller().channel

    def ended(self) -> TransferEnded:
        """:return: the only event."""
        (event,) = self.recorder.events
        assert isinstance(event, TransferEnded)
        return event


class UsualTests(FastCase):
    """Which requests are usual."""

    def recognised(self, received: bytes) -> FastRequest | None:
        return FastPath(Serving()).recognise(self.channel(), received)

    def test_usual(self) -> None:
        """GET and HEAD with one bearer token and no body are usual, with any other headers."""
        for request in (
            USUAL,
            get(b"/p", AUTH, method=b"HEAD"),
            get(b"/", AUTH),
            get(b'/!"$%&~?a=b&c=%20', AUTH),
            get(b"/p", b"authorization:bearer   abc"),
            get(b"/p", AUTH, b"Connection: keep-alive"),
            get(b"/p", AUTH, b"Connection: close"),
            get(b"/p", AUTH, b"Content-Length: 0"),
            get(b"/p", AUTH, b"Range: bytes=0-0", b"If-None-Match: *"),
            get(b"/p", AUTH, b"Upgrade: h2c", b"Cookie: a=b", b"X-Y: \xff\tz"),
            get(b"/" + b"a" * (MAX_TARGET - 1), AUTH),
            get(b"/p", AUTH, *[b"X: y"] * (MAX_HEADER_LINES - 3)),
        ):
            self.assertIsNotNone(self.recognised(request), request)

    def test_unusual(self) -> None:
        """All others are left to the ordinary path."""
        for request in (
            get(),
            b"GET /p HTTP/1.1\r\n\r\n",
            b"GET /p HTTP/1.1\r\n" + AUTH + b"\r\n\r\n",  # no Host
            get(b"/p", AUTH, version=b"1.0"),
            get(b"/p", AUTH, version=b"1.2"),
            get(b"/p", AUTH, method=b"POST"),
            get(b"/p", AUTH, method=b"get"),
            get(b"/p", AUTH, method=b"OPTIONS"),
            get(b"p", AUTH),
            get(b"http://h/p", AUTH),
            get(b"/a#b", AUTH),
            get(b"/\xff", AUTH),
            get(b"/a b", AUTH),
            get(b"/" + b"a" * MAX_TARGET, AUTH),
            get(b"/p", AUTH, AUTH),
            get(b"/p", b"Authorization: Basic abc"),
            get(b"/p", b"Authorization: Bearer"),
            get(b"/p", b"Authorization: Bearer a b"),
            get(b"/p", AUTH, b"Host: h"),
            get(b"/p", AUTH, b"Content-Length: 1"),
            get(b"/p", AUTH, b"Content-Length: 0", b"Content-Length: 0"),
            get(b"/p", AUTH, b"Transfer-Encoding: chunked"),
            get(b"/p", AUTH, b"Expect: 100-continue"),
            get(b"/p", AUTH, b"Expect: x"),
            get(b"/p", AUTH, b"X : y"),
            get(b"/p", AUTH, b" folded"),
            get(b"/p", AUTH, b"X: \0"),
            get(b"/p", AUTH, b"X: a\rb"),
            get(b"/p", AUTH, b"X: a\nContent-Length: 1"),
            get(b"/p", AUTH, *[b"X: y"] * (MAX_HEADER_LINES - 1)),
            get(b"/p", AUTH, b"X: " + b"a" * MAX_HEAD_BYTES),
            USUAL[:-1],
            USUAL[:-2],
            b"\r\n" + USUAL,
            USUAL + b"\r\n",
            USUAL + b"G",
            USUAL * 2,
            USUAL.replace(b"\r\n", b"\n"),
            b"",
        ):
            self.assertIsNone(self.recognised(request), request)

    def test_limit_of_bytes(self) -> None:
        """As many bytes as on the ordinary path are usual, and not one more."""
        room = MAX_HEAD_BYTES - len(get(b"/p", AUTH, b"X: ")) + len(b"\r\n\r\n")
        self.assertIsNotNone(self.recognised(get(b"/p", AUTH, b"X: " + b"a" * room)))
        self.assertIsNone(self.recognised(get(b"/p", AUTH, b"X: " + b"a" * (room + 1))))

    def test_lines_of_an_id(self) -> None:
        """The line of the id counts, too: no request with too many lines is served."""
        for count in range(MAX_HEADER_LINES - 4, MAX_HEADER_LINES + 2):
            request = get(b"/p", AUTH, *[b"X: y"] * count, b"X-Request-Id: a")
            status = self.caller().send(request).answer().status
            self.assertEqual(status, 200 if count + 3 <= MAX_HEADER_LINES else 431, count)

    def test_headers(self) -> None:
        """The meaning of the headers."""
        request = self.recognised(
            get(
                b"/p?q",
                b"AUTHORIZATION: BEARER a~b",
                b"via: 1.1 x",
                b"Range: bytes=0-1",
                b"range:bytes=2-3",
                b'If-Range: "x"',
                b"X-Forwarded-For: 1.2.3.4",
                b"X-Forwarded-For: 5.6.7.8",
                b"Connection: x, Close",
                method=b"HEAD",
            )
        )
        assert request is not None
        headers = request.headers
        self.assertEqual((request.method, request.target), (b"HEAD", b"/p?q"))
        self.assertEqual(headers.digest, token_hash("a~b"))
        self.assertEqual(headers.forwarded_for, (b"1.2.3.4", b"5.6.7.8"))
        self.assertEqual((headers.via, headers.persistent), (True, False))
        self.assertEqual(
            headers.conditions, {b"range": [b"bytes=0-1", b"bytes=2-3"], b"if-range": [b'"x"']}
        )

    @given(
        st.lists(
            st.sampled_from(
                (
                    AUTH,
                    b"Authorization: Bearer other",
                    b"Range: bytes=0-0",
                    b"Via: 1.1 x",
                    b"Connection: close",
                    b"Content-Length: 1",
                    b"X-Request-Id: given",
                    b"X-Request-Id: in valid",
                    b"x-request-id: lower",
                    b"X-Forwarded-For: 1.2.3.4",
                )
            ),
            max_size=5,
        )
    )
    def test_as_a_new_memo(self, lines: list[bytes]) -> None:
        """What was received before never changes what a request means."""
        memo, connection = self.memo, self.connection
        request = get(b"/p", *lines)
        with_memo = memo.recognise(connection, request)
        alone = FastPath(Serving()).recognise(self.channel(), request)
        assert (with_memo is None) is (alone is None)
        if with_memo is not None and alone is not None:
            assert with_memo.headers == alone.headers
            assert with_memo.head == alone.head
            is_new = with_memo.request_id.startswith("new-")
            assert alone.request_id.startswith("new-") is is_new
            assert is_new or with_memo.request_id == alone.request_id

    @property
    def memo(self) -> FastPath:
        """One for all examples."""
        if not hasattr(self, "_memo"):
            self._memo = FastPath(Serving())
        return self._memo

    @property
    def connection(self) -> Any:
        """One for all examples."""
        if not hasattr(self, "_connection"):
            self._connection = self.channel()
        return self._connection


class MemoTests(FastCase):
    """Header blocks whose meaning is remembered."""

    def setUp(self) -> None:
        super().setUp()
        self.connection = self.channel()
        self.path = FastPath(Serving())
        self.parsed = 0
        usual = fast_path._usual

        def counting(block: bytes) -> Any:
            self.parsed += 1
            return usual(block)

        self.patch(fast_path, "_usual", counting)

    def ids(self, *lines: bytes) -> str:
        request = self.path.recognise(self.connection, get(b"/p", AUTH, *lines))
        assert request is not None
        return request.request_id

    def test_remembered(self) -> None:
        """Equal blocks are parsed once, whatever the target; so are refused ones."""
        for request in (USUAL, get(b"/other", AUTH), get(b"/p?x", AUTH, method=b"HEAD")):
            self.path.recognise(self.connection, request)
        self.assertEqual(self.parsed, 1)
        for _ in range(3):
            self.path.recognise(self.connection, get(b"/p"))
        self.assertEqual(self.parsed, 2)
        self.connection = self.channel()
        for request in (USUAL, get(b"/p"), USUAL):
            self.path.recognise(self.connection, request)
        self.assertEqual(self.parsed, 2, "also on another connection")

    def test_id_at_the_end(self) -> None:
        """A proxy gives each request another id, as its last line: it is no part of the memo."""
        self.assertEqual(self.ids(b"X-Request-Id: a"), "a")
        self.assertEqual(self.ids(b"X-Request-Id: " + b"b" * 64), "b" * 64)
        self.assertEqual(self.ids(), "new-1")
        self.assertEqual(self.parsed, 1)

    def test_other_ids(self) -> None:
        """An invalid id, or more than one, is replaced, wherever it is."""
        for lines in (
            [b"X-Request-Id: " + b"b" * 65],
            [b"X-Request-Id: a b"],
            [b"X-Request-Id: "],
            [b"X-Request-Id: a", b"X-Request-Id: b"],
            [b"X-Request-Id: a", b"X-Request-Id: a"],
            [b"x-request-id: a", b"X: y", b"X-Request-Id: b"],
        ):
            self.assertTrue(self.ids(*lines).startswith("new-"), lines)
        self.assertEqual(self.ids(b"X-Request-Id: a", b"X: y"), "a")
        self.assertEqual(self.ids(b"x-request-id:  a"), "a")
        self.assertEqual(self.ids(b"X: X-Request-Id: b"), "new-7")

    def test_bounded(self) -> None:
        """Neither many nor long blocks fill the memory."""
        for number in range(fast_path._BLOCKS + 10):
            self.path.recognise(self.connection, get(b"/p", b"X: %d" % number))
        known = set(self.path._known)
        self.assertEqual(len(known), fast_path._BLOCKS)
        self.assertEqual({len(key) for key in known}, {32}, "hashes, not secrets")
        self.path.recognise(self.connection, get(b"/p", AUTH, b"X: " + b"a" * fast_path._LONGEST))
        self.assertEqual(set(self.path._known), known)
        self.assertLessEqual(len(self.connection.usual_headers[0]), fast_path._LONGEST)


class ServedTests(FastCase):
    """Requests on the fast path, from the first byte to the log."""

    def test_response(self) -> None:
        """The response has the headers of the ordinary path, in their order, and is logged."""
        caller = self.caller().send(USUAL)
        self.assertEqual(
            caller.wire.value(),
            b"HTTP/1.1 200 OK\r\nServer: chatfiles\r\nDate: Sun, 09 Sep 2001 01:46:40 GMT\r\n"
            b"X-Request-Id: new-1\r\nContent-Length: 2\r\n\r\nok",
        )
        self.assertEqual(
            self.ended()[:8], ("new-1", "-", "fast", 200, 2, 0.0, Outcome.COMPLETE, PEER)
        )
        self.assertEqual((caller.site.fast_path.served, self.ordinary.requests), (1, []))
        self.assertFalse(caller.lost)

    def test_trace(self) -> None:
        """A trace is known on the fast path, also when that of the next request is another."""
        paths = []
        caller = self.caller()
        for digit, name in ((b"1", b"traceparent"), (b"2", b"TraceParent"), (b"2", b"traceparent")):
            trace = b"00-%b-%b-01" % (digit * 32, digit * 16)
            lines = (b"%b: %b" % (name, trace), b"tracestate: a=b", AUTH)
            caller.send(get(b"/p", *lines), get(b"/p", *reversed(lines)))
            paths += [digit.decode() * 32] * 2
        caller.send(USUAL)
        ended = [event for event in self.recorder.events if isinstance(event, TransferEnded)]
        self.assertEqual([event.trace_id for event in ended], [*paths, ""])
        first = self.serving.requests[0].headers.trace
        assert first is not None
        self.assertEqual(
            first.lines,
            b"traceparent: 00-%b-%b-01\r\ntracestate: a=b\r\n" % (b"1" * 32, b"1" * 16),
        )
        self.assertEqual(self.ordinary.requests, [])

    def test_many_trace_lines(self) -> None:
        """Lines of a trace are header lines like all others: too many are refused."""
        lines = [b"tracestate: a=b"] * MAX_HEADER_LINES
        self.caller().send(get(b"/p", AUTH, *lines))
        self.assertEqual(self.serving.requests, [])

    def test_unavailable(self) -> None:
        """While operations are refused, all requests take the ordinary path."""
        caller = self.caller(refusal=Unavailable)
        caller.send(USUAL)
        self.assertEqual(len(self.ordinary.requests), 1)

    def test_as_the_ordinary_path(self) -> None:
        """Both paths send the same bytes, and keep or close the connection alike."""
        for lines in ((), (b"Connection: close",), (b"X-Request-Id: mine",)):
            for method in (b"GET", b"HEAD"):
                request = get(b"/p", AUTH, *lines, method=method)
                fast, slow = self.caller().send(request), self.caller(fast_routes=None)
                slow.send(request)
                self.assertEqual(fast.wire.value(), slow.wire.value(), request)
                self.assertEqual(fast.lost, slow.lost, request)

    def test_close(self) -> None:
        """``Connection: close`` is repeated, and the connection is closed."""
        caller = self.caller().send(get(b"/p", AUTH, b"Connection: close"))
        self.assertEqual(caller.answer().fields["connection"], "close")
        self.assertTrue(caller.lost)

    def test_one_after_the_other(self) -> None:
        """A connection serves many requests, on both paths."""
        caller = self.caller().send(USUAL, get(), USUAL, USUAL * 3, USUAL)
        self.assertEqual([answer.status for answer in caller.answers()], [200] * 7)
        # In a pipeline, only the last one stands alone.
        self.assertEqual((caller.site.fast_path.served, len(self.ordinary.requests)), (4, 3))

    def test_split(self) -> None:
        """Headers in two reads, and those after an empty line, take the ordinary path."""
        for pieces in (
            [USUAL[:20], USUAL[20:]],
            [USUAL[:-1], USUAL[-1:]],
            [b"\r\n", USUAL],
            [b"\r\n" + USUAL],
        ):
            before = len(self.ordinary.requests)
            caller = self.caller().send(*pieces)
            self.assertEqual(caller.answer().status, 200)
            self.assertEqual(len(self.ordinary.requests), before + 1, pieces)

    def test_deadline(self) -> None:
        """
        The deadline of the headers ends with them, on both paths: it is a new one for the next.
        """
        for serving in (Serving(), Serving(decline)):
            caller = self.caller(serving).send(USUAL)
            caller.advance(HEADER_TIMEOUT + 1)
            self.assertFalse(caller.lost)
            caller.send(b"G")
            caller.advance(HEADER_TIMEOUT - 1)
            self.assertEqual(len(caller.answers()), 1)
            caller.advance(1)
            self.assertEqual([answer.status for answer in caller.answers()], [200, 408])

    def test_no_deadline(self) -> None:
        """While a request is served, no deadline of its connection closes it."""
        caller = self.caller(Serving(later)).send(USUAL)
        caller.advance(2 * IDLE_TIMEOUT)
        self.assertFalse(caller.lost)
        answer(self.serving.requests[0])
        caller.advance(IDLE_TIMEOUT - 1)
        self.assertFalse(caller.lost)
        caller.advance(1)
        self.assertEqual((len(caller.answers()), caller.lost), (1, True))

    def test_sent_ahead(self) -> None:
        """A client that sends much more while its request is served is not read."""
        caller = self.caller(Serving(later)).send(USUAL)
        self.assertTrue(caller.reading)
        caller.send(b"x" * (EAGER_BYTES + 1))
        self.assertFalse(caller.reading)

    def test_declined(self) -> None:
        """A declined request takes the ordinary path, as if nothing had happened."""
        caller = self.caller(Serving(decline)).send(get(b"/p", AUTH, b"Connection: close"))
        self.assertEqual((caller.answer().status, caller.lost), (200, True))
        event = self.ended()
        self.assertEqual((event.operation, event.outcome), ("ordinary", Outcome.COMPLETE))
        self.assertEqual(caller.site.fast_path.served, 0)

    def test_declined_and_refused(self) -> None:
        """A persistent connection outlives declined requests; an invalid one still ends it."""
        caller = self.caller(Serving(decline)).send(USUAL, USUAL, get(b"/p", b"X : y"))
        self.assertEqual([answer.status for answer in caller.answers()], [200, 200, 400])
        self.assertTrue(caller.lost)

    def test_upload_afterwards(self) -> None:
        """A request with a body can follow on the same connection."""
        self.ordinary = Echo()  # type: ignore[assignment]
        caller = self.caller().send(USUAL, post(b"body", AUTH))
        self.assertEqual(caller.answers()[1].json["body"], "body")

    def test_pipelined_while_waiting(self) -> None:
        """A request that arrives while another one waits is served after it."""
        caller = self.caller(Serving(later)).send(USUAL, USUAL)
        self.assertEqual((caller.answers(), len(self.serving.requests)), ([], 1))
        answer(self.serving.requests[0])
        self.assertEqual((len(caller.answers()), len(self.serving.requests)), (1, 2))
        answer(self.serving.requests[1])
        self.assertEqual(len(caller.answers()), 2)

    def test_draining(self) -> None:
        """While the site drains, no request is usual; one that waits ends the connection."""
        caller = self.caller(Serving(later)).send(USUAL)
        new = Caller(site=caller.site)
        caller.site.drain(30)
        answer(self.serving.requests[0])
        caller.settle()
        received = caller.answer()
        self.assertEqual((received.status, received.fields["connection"]), (200, "close"))
        self.assertEqual((caller.lost, new.wire.disconnecting), (True, True))
        self.assertIsNone(caller.site.fast_path.recognise(new.channel, USUAL))

    def test_log_of_the_workspace(self) -> None:
        """The log names the workspace and the client; the time is that since the headers."""
        caller = self.caller(
            Serving(later),
            workspace="site",
            client_address=lambda peer, forwarded: b"/".join(forwarded).decode(),
        )
        caller.send(get(b"/p", AUTH, b"X-Forwarded-For: 1.2.3.4"))
        caller.advance(1.5)
        self.serving.requests[0].workspace = "mine"
        answer(self.serving.requests[0])
        event = self.ended()
        self.assertEqual((event.workspace, event.client, event.seconds), ("mine", "1.2.3.4", 1.5))

    def test_failing_observer(self) -> None:
        """An observer that raises does not affect the response, the connection or the others."""
        caller = self.caller(observers=(Failing(), self.recorder)).send(USUAL, USUAL)
        self.assertEqual(len(caller.answers()), 2)
        self.assertEqual(len(self.recorder.events), 2)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

    def test_a_fault(self) -> None:
        """
        An unexpected error of the fast path is logged.  The ordinary path serves the request, or
        the response was sent before.
        """

        def fail(request: FastRequest) -> bool:
            raise KeyError("before")

        def fail_late(request: FastRequest) -> bool:
            answer(request)
            raise KeyError("after")

        for serve, ordinary in ((fail, 2), (fail_late, 0)):
            self.ordinary.requests.clear()
            caller = self.caller(Serving(serve)).send(USUAL, USUAL)
            self.assertEqual([answer.status for answer in caller.answers()], [200, 200])
            self.assertEqual(len(self.ordinary.requests), ordinary)
            self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

    def test_relayed(self) -> None:
        """A trusted proxy gets the longer timeouts, as does one that the route has checked."""
        caller = self.caller(is_relayed=lambda peer: True).send(USUAL)
        self.assertTrue(self.serving.requests[0].relayed)
        self.caller().send(USUAL)
        (request,) = self.serving.requests
        self.assertFalse(request.relayed)
        request.via_proxy = True
        self.assertTrue(request.relayed)
        self.assertFalse(caller.lost)


class AbortedTests(FastCase):
    """Requests that end before their response."""

    def setUp(self) -> None:
        super().setUp()
        self.cancelled = 0

    def waiting(self) -> Caller:
        """:return: a client whose request waits."""

        def serve(request: FastRequest) -> bool:
            request.cancel = self.cancel
            return later(request)

        return self.caller(Serving(serve)).send(USUAL)

    def cancel(self) -> None:
        self.cancelled += 1

    def test_client_leaves(self) -> None:
        """The work for a client that leaves is cancelled once, and the log says why it ended."""
        caller = self.waiting()
        caller.advance(2)
        caller.leave(ConnectionLost())
        self.assertEqual(self.cancelled, 1)
        self.assertEqual(
            self.ended()[:8], ("new-1", "-", "fast", 0, 0, 2.0, Outcome.CLIENT_LEFT, PEER)
        )

    def test_shutdown(self) -> None:
        """A request that is still served when the site stops is aborted; the log says so."""
        caller = self.waiting()
        caller.site.drain(1)
        caller.advance(0.9)
        self.assertFalse(caller.lost)
        for _ in range(3):
            caller.advance(0.1)
        self.assertEqual((caller.wire.aborted, caller.answers()), (True, []))
        self.assertEqual(self.cancelled, 1)
        self.assertEqual(self.ended().outcome, Outcome.SHUTDOWN)

    def test_nothing_to_cancel(self) -> None:
        """A request without work to cancel can be aborted, too."""
        caller = self.caller(Serving(later)).send(USUAL)
        caller.leave()
        self.assertEqual(self.ended().outcome, Outcome.CLIENT_LEFT)


class HandedOverTests(FastCase):
    """Requests that begin on the fast path and continue on the ordinary one."""

    def handed_over(self, *lines: bytes, method: bytes = b"GET") -> tuple[Caller, Request]:
        caller = self.caller(Serving(later))
        caller.send(get(b"/p?a=b", AUTH, *lines, method=method))
        (request,) = self.serving.requests
        request.workspace, request.ends_with_client = "mine", True
        caller.advance(3)
        return caller, request.hand_over()

    def test_same_request(self) -> None:
        """The ordinary request has the same id, start, headers and names for the log."""
        for lines in ((), (b"X-Request-Id: given", b"X: y")):
            _, request = self.handed_over(*lines, method=b"HEAD")
            fast = self.serving.requests[0]
            self.assertEqual(request.request_id, fast.request_id)
            self.assertEqual(
                (request.method, request.path, request.query), (b"HEAD", b"/p", b"a=b")
            )
            self.assertEqual((request.started, request.ends_with_client), (0.0, True))
            self.assertEqual((request.operation, request.workspace), ("fast", "mine"))
            self.assertEqual(
                request.requestHeaders.getRawHeaders(b"authorization"), [b"Bearer abc"]
            )
            self.assertEqual(request.body.seen, 0)

    def test_response(self) -> None:
        """The response and the log are those of the ordinary path; the connection continues."""
        caller, request = self.handed_over()
        request.setHeader(b"Content-Length", b"2")
        request.write(b"ok")
        request.finish()
        received = caller.answer()
        self.assertEqual((received.status, received.fields["x-request-id"]), (200, "new-1"))
        event = self.ended()
        self.assertEqual((event.request_id, event.seconds, event.bytes), ("new-1", 3.0, 2))
        caller.send(USUAL)
        self.assertEqual(len(self.serving.requests), 2)

    def test_close(self) -> None:
        """``Connection: close`` is kept."""
        caller, request = self.handed_over(b"Connection: close")
        request.setHeader(b"Content-Length", b"0")
        request.finish()
        caller.settle()
        self.assertEqual((caller.answer().fields["connection"], caller.lost), ("close", True))

    def test_client_leaves(self) -> None:
        """A client that leaves afterwards is reported once, by the ordinary request."""
        caller, request = self.handed_over()
        caller.leave()
        self.assertEqual((self.ended().outcome, request.transfer.outcome), ("client_left",) * 2)


class StateTests(SynchronousTestCase):
    """The states of a connection that concern the fast path."""

    def test_declined(self) -> None:
        """After a declined request, the connection is in the state in which it was received."""
        served = NEXT_STATES[State.IDLE, Event.REQUEST]
        self.assertIs(NEXT_STATES[served, Event.DECLINED], State.IDLE)

    def test_unexpected(self) -> None:
        """An event that cannot happen is reported with its state."""
        error = self.assertRaises(UnexpectedEvent, lambda: NEXT_STATES[State.IDLE, Event.TURN])
        self.assertIn("turn", str(error))

    def test_seconds(self) -> None:
        """Every state that has a fixed duration is a state of the connection."""
        self.assertLessEqual(set(SECONDS), set(State))
