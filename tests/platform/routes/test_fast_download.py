"""
The platform's part of the fast path: which downloads it serves, and that it changes no response.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

from chatfiles.http.server.fast_path import FastRequest
from chatfiles.http.server.observers import TransferEnded
from chatfiles.model import Scope, token_hash
from chatfiles.platform.forwarding.gateway import WorkspaceGateway
from chatfiles.platform.forwarding.resolver import Resolver
from chatfiles.platform.registry.cache import CachedRegistry
from chatfiles.platform.routes import fast_download
from chatfiles.platform.routes.fast_download import FastDownload
from chatfiles.platform.routes.route_table import DOWNLOAD, platform_tree
from chatfiles.platform.upstream.agent import UpstreamAgent
from chatfiles.platform.upstream.dialer import Dialer
from chatfiles.rules.address_policy import AddressPolicy
from chatfiles.runtime.name_lookup import NameLookup
from tests.contract.registry_case import FIRST, SECOND, UNKNOWN, begun
from tests.http.server.test_observers import Recorder
from tests.platform.memory_platform import ADMIN, MemoryPlatformCase
from tests.platform.upstream.upstream_case import Wire
from tests.support.ended import comparable
from tests.support.memory_client import Caller, get

ORIGIN = "http://8.8.8.8:8000"
TARGET = f"/workspaces/{FIRST}/chat/download?path=/workspace/a.txt".encode()
AUTH = f"Authorization: Bearer {FIRST}".encode()
#: What our own workspace sends first.
FIRST_LINES = (
    b"Server: chatfiles",
    b"Date: Sun, 09 Sep 2001 01:46:40 GMT",
    b"X-Request-Id: new",
)
KNOWN = (
    b"Content-Type: text/plain",
    b'Content-Disposition: attachment; filename="a.txt"',
    b'ETag: "x"',
    b"Accept-Ranges: bytes",
    b"Cache-Control: private, no-cache",
)
DIGEST = b"Repr-Digest: sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"


def response(
    status: bytes = b"200 OK", *lines: bytes, body: bytes = b"abc", length: int | None = None
) -> bytes:
    """:return: a response of our own workspace."""
    count = b"Content-Length: %d" % (len(body) if length is None else length)
    top = (b"HTTP/1.1 " + status, *FIRST_LINES, count, *lines, b"", b"")
    return b"\r\n".join(top) + body


GOOD = response(b"200 OK", *KNOWN)
JSON = b'{"error":"no such file","code":"file_not_found"}\n'


class FastDownloadTests(MemoryPlatformCase):
    """A platform whose network is in memory; each request is made on both paths."""

    def setUp(self) -> None:
        super().setUp()
        self.used: list[UUID] = []
        self.cache: CachedRegistry = self.context.registry  # type: ignore[assignment]
        self.reactor = MemoryReactorClock()
        lookups = NameLookup(lambda _lookup, _host: self.fail("a name"), clock=Clock())
        dialer = Dialer(self.reactor, AddressPolicy(), lookups, connect_timeout=5.0)
        self.agent = UpstreamAgent(dialer, header_timeout=30.0, idle_timeout=20.0)
        self.addCleanup(self.agent.close)
        self.context = replace(
            self.context,
            authenticator=self.authenticator(self.cache, self.used.append),
            resolver=Resolver(self.cache, AddressPolicy()),
            gateway=WorkspaceGateway(self.agent, self.reactor),
        )
        self.recorder = Recorder()
        self.add(FIRST, "secret", url=ORIGIN)
        self.warm(FIRST)

    def warm(self, workspace_id: UUID, token: object = None) -> None:
        """Let the cache know a workspace and its token."""
        self.successResultOf(begun(self.cache.workspace(workspace_id)))
        self.successResultOf(begun(self.cache.token(token_hash(str(token or workspace_id)))))

    def caller(self, *, is_fast: bool = True) -> Caller:
        caller = Caller(
            platform_tree(self.context),
            fast_routes=FastDownload(self.context, self.cache, DOWNLOAD) if is_fast else None,
            observers=(self.recorder,),
        )
        caller.site.new_request_id = lambda: "new"
        return caller

    def accept(self) -> Wire:
        """:return: the connection to the workspace that was made last."""
        return Wire(self.reactor, self.reactor.tcpClients[-1][2].buildProtocol(None))

    def events(self) -> list[TransferEnded]:
        events, self.recorder.events = self.recorder.events, []
        return [comparable(event) for event in events if isinstance(event, TransferEnded)]

    def exchange(self, request: bytes, *pieces: bytes, is_fast: bool) -> tuple[Any, ...]:
        """
        Make a request whose workspace sends *pieces*.

        :return: whether the fast path sent the response; what the workspace and the client
            received, and the log.
        """
        caller, dialled = self.caller(is_fast=is_fast), len(self.reactor.tcpClients)
        caller.send(request)
        sent = b""
        if len(self.reactor.tcpClients) > dialled:
            wire = self.accept()
            sent = wire.sent()
            for piece in pieces:
                wire.send(piece)
            wire.lose(ConnectionLost())
        caller.settle()
        served = caller.site.fast_path.served if is_fast else 0
        return served, sent, caller.wire.value(), caller.lost, self.events()

    def is_served(self, request: bytes, *pieces: bytes) -> bool:
        """
        :return: whether the fast path sends the response; what the workspace and the client
            receive, and the log, are the same as on the ordinary path.
        """
        served, *fast = self.exchange(request, *pieces, is_fast=True)
        _, *slow = self.exchange(request, *pieces, is_fast=False)
        self.assertEqual(fast, slow, (request, pieces))
        return bool(served)

    def test_requests(self) -> None:
        """Downloads with a token that is in memory are served, in every form."""
        for request in (
            get(TARGET, AUTH),
            get(TARGET, AUTH, b"Connection: close"),
            get(TARGET, AUTH, b"X-Request-Id: mine"),
            get(TARGET, AUTH, b'If-None-Match: "y", W/"z"', b"If-Modified-Since: x"),
            get(TARGET, AUTH, b"Range: lines=1"),
            get(TARGET, AUTH, b"If-Range: x"),
            get(TARGET, AUTH, b"Cookie: a=b", b"Accept-Encoding: gzip", b"Via: 1.0 x"),
            get(TARGET, AUTH, b"Want-Repr-Digest: sha-256=1"),
            get(TARGET, AUTH, b"Want-Repr-Digest: sha-512=1", b"want-repr-digest: SHA"),
            get(TARGET + b"&disposition=inline", AUTH),
            get(TARGET.replace(b"a.txt", b"a%20%FF"), AUTH),
            get(TARGET.replace(str(FIRST).encode(), str(FIRST).upper().encode()), AUTH),
        ):
            self.assertTrue(self.is_served(request, GOOD), request)
            self.assertEqual(self.used.pop(), self.used.pop())
        self.assertTrue(
            self.is_served(
                get(TARGET, AUTH, method=b"HEAD"),
                response(*[b"200 OK", *KNOWN], body=b"", length=9),
            )
        )

    def test_digest(self) -> None:
        """The workspace receives the wish for a digest, and the client the digest."""
        request = get(TARGET, AUTH, b"Want-Repr-Digest: sha-256=1")
        for is_fast in (True, False):
            answer = response(b"200 OK", DIGEST, *KNOWN)
            served, sent, received, *_ = self.exchange(request, answer, is_fast=is_fast)
            self.assertEqual(bool(served), is_fast)
            self.assertIn(b"\r\nWant-Repr-Digest: sha-256=1\r\n", sent)
            self.assertIn(b"\r\n%b\r\n" % DIGEST, received)

    def test_declined(self) -> None:
        """All other requests are left to the ordinary path, and so are all errors."""
        self.add(SECOND, url=ORIGIN)
        self.warm(SECOND)
        second = str(SECOND).encode()
        for request in (
            get(TARGET, b"Authorization: Bearer " + ADMIN.encode()),
            get(TARGET, b"Authorization: Bearer unknown"),
            get(TARGET, b"Authorization: Bearer " + second),
            get(TARGET),
            get(TARGET.replace(str(FIRST).encode(), str(UNKNOWN).encode()), AUTH),
            get(TARGET.replace(str(FIRST).encode(), b"x"), AUTH),
            get(TARGET.replace(b"-", b""), AUTH),
            get(TARGET.replace(b"/chat/", b"/chat/x/"), AUTH),
            get(TARGET.replace(b"/chat/", b"/%63hat/"), AUTH),
            get(TARGET.replace(b"?", b"/?"), AUTH),
            get(TARGET.replace(b"/workspace/", b"/etc/"), AUTH),
            get(TARGET.replace(b"a.txt", b"../a"), AUTH),
            get(TARGET + b"&path=/workspace/b", AUTH),
            get(TARGET + b"&disposition=x", AUTH),
            get(TARGET.partition(b"?")[0], AUTH),
            get(b"/health", AUTH),
            get(b"/workspaces", AUTH),
            get(TARGET, AUTH, version=b"1.0"),
        ):
            self.assertFalse(self.is_served(request, GOOD), request)

    def test_scope(self) -> None:
        """A token without the scope to read is refused by the ordinary path."""
        self.add(SECOND, url=ORIGIN, scopes=frozenset(set(Scope) - {Scope.READ}))
        self.warm(SECOND)
        second = str(SECOND).encode()
        target = TARGET.replace(str(FIRST).encode(), second)
        request = get(target, b"Authorization: Bearer " + second)
        self.assertFalse(self.is_served(request, GOOD))
        self.assertEqual(self.caller().send(request).answer().status, 403)

    def test_not_cached(self) -> None:
        """
        While the cache cannot trust what it has, or does not have the token, the ordinary path asks
        the registry: a revoked token is not served.
        """
        request = get(TARGET, AUTH)
        self.registry.failing = True
        self.assertFalse(self.is_served(request, GOOD))
        self.registry.failing = False
        self.assertEqual(self.exchange(request, GOOD, is_fast=True)[0], 0)
        self.assertTrue(self.is_served(request, GOOD))
        (token,) = self.successResultOf(begun(self.registry.tokens(FIRST)))
        self.successResultOf(begun(self.registry.revoke_token(FIRST, token.id)))
        self.assertFalse(self.is_served(request, GOOD))
        self.assertEqual(self.caller().send(request).answer().status, 401)

    def test_addresses(self) -> None:
        """A workspace without an address, or with one that is not allowed, is left."""
        for number, url in enumerate((None, "http://127.0.0.1:1", "ftp://8.8.8.8", ORIGIN)):
            workspace_id = UUID(int=FIRST.int + 1 + number)
            self.add(workspace_id, url=url)
            self.warm(workspace_id)
            text = str(workspace_id).encode()
            target = TARGET.replace(str(FIRST).encode(), text)
            request = get(target, b"Authorization: Bearer " + text)
            self.assertIs(self.is_served(request, GOOD), url == ORIGIN, url)

    def test_responses(self) -> None:
        """Responses that arrive as a whole and need nothing but relaying are served."""
        ranges = get(TARGET, AUTH, b"Range: bytes=0-2")
        for request, answer in (
            (get(TARGET, AUTH), response()),
            (get(TARGET, AUTH), response(body=b"")),
            (get(TARGET, AUTH), response(b"404 Not Found", b"Content-Type: x/y", body=JSON)),
            (get(TARGET, AUTH), response(b"412 Precondition Failed", body=JSON)),
            (get(TARGET, AUTH), b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
            (get(TARGET, AUTH), b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
            (get(TARGET, AUTH), response(b"200 OK", b"Connection: close", *KNOWN)),
            (get(TARGET, AUTH), response(b"200 OK", b"Content-Encoding: identity")),
            (get(TARGET, AUTH), response(b"200 OK", b"Set-Cookie: a=b", b"Location: x")),
            (get(TARGET, AUTH), response(b"200 Great", b"Content-Type: a", b"Content-Type: b")),
            (get(TARGET, AUTH), response(b"200 OK", b"Content-Type: text/html,x")),
            (
                get(TARGET + b"&disposition=inline", AUTH),
                response(b"200 OK", b"Content-Type: image/png"),
            ),
            (
                get(TARGET + b"&disposition=inline", AUTH),
                response(b"200 OK", b"Content-Type: text/html", b"Content-Disposition: inline"),
            ),
            (get(TARGET, AUTH), response(b"200 OK", DIGEST, *KNOWN)),
            (get(TARGET, AUTH), response(b"200 OK", DIGEST, DIGEST, *KNOWN)),
            (get(TARGET, AUTH), response(b"200 OK", b"Repr-Digest: x", *KNOWN)),
            (get(TARGET, AUTH), GOOD + b"surplus"),
            (ranges, response(b"206 Partial Content", b"Content-Range: bytes 0-2/9", *KNOWN)),
            (
                ranges,
                response(b"416 Range Not Satisfiable", b"Content-Range: bytes */2", body=JSON),
            ),
            (
                get(TARGET, AUTH, b"If-None-Match: *"),
                response(b"304 Not Modified", b'ETag: "x"', body=b"", length=3),
            ),
            (get(TARGET, AUTH, method=b"HEAD"), response(body=b"", length=3)),
            (
                get(TARGET, AUTH, method=b"HEAD"),
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            ),
            (get(TARGET, AUTH, method=b"HEAD"), b"HTTP/1.1 200 OK\r\n\r\n"),
            (get(TARGET, AUTH, method=b"HEAD"), response(b"404 Not Found", body=b"", length=3)),
        ):
            for _ in range(2):
                self.assertTrue(self.is_served(request, answer), (request, answer))

    def test_in_pieces(self) -> None:
        """A small response may arrive in pieces."""
        large = response(body=b"x" * fast_download._SMALL)
        for pieces in (
            (GOOD[:-1], GOOD[-1:]),
            (GOOD[:-3], GOOD[-3:-2], GOOD[-2:-1], GOOD[-1:]),
            (GOOD[:20], GOOD[20:-1], GOOD[-1:]),
            (large[:300], large[300:1000], large[1000:]),
            (GOOD[:-1], GOOD[-1:] + b"surplus"),
        ):
            self.assertTrue(self.is_served(get(TARGET, AUTH), *pieces), pieces)

    def test_kept_after_pieces(self) -> None:
        """After such a response, the connection to the workspace is used again."""
        caller = self.caller().send(get(TARGET, AUTH))
        wire = self.accept()
        for piece in (GOOD[:-1], GOOD[-1:]):
            wire.send(piece)
        caller.send(get(TARGET, AUTH))
        wire.send(GOOD)
        self.assertEqual([answer.body for answer in caller.answers()], [b"abc"] * 2)
        self.assertEqual(caller.site.fast_path.served, 2)

    def test_too_slow(self) -> None:
        """What is not complete soon is continued on the ordinary path: the client sees a start."""
        for rest in (GOOD[-1:], b""):
            caller = self.caller().send(get(TARGET, AUTH))
            wire = self.accept()
            wire.send(GOOD[:-1])
            self.clock.advance(fast_download._WAIT - 0.01)
            self.assertEqual(caller.wire.value(), b"")
            self.clock.advance(0.01)
            self.assertTrue(caller.wire.value().endswith(b"\r\n\r\nab"))
            wire.send(rest)
            wire.lose(ConnectionLost())
            caller.settle()
            self.assertEqual(caller.wire.aborted, not rest)
            self.assertEqual(caller.site.fast_path.served, 0)
            (event,) = self.events()
            outcome = "complete" if rest else "upstream_cut"
            self.assertEqual((event.outcome, event.bytes), (outcome, 2 + len(rest)))

    def test_client_leaves_within_pieces(self) -> None:
        """The client leaves while the rest of a small response is waited for."""
        caller = self.caller().send(get(TARGET, AUTH))
        wire = self.accept()
        wire.send(GOOD[:-1])
        caller.leave(ConnectionLost())
        self.patch(FastRequest, "hand_over", lambda _: self.fail("it is continued"))
        self.clock.advance(2 * fast_download._WAIT)  # before the connection is closed
        self.assertTrue(wire.aborted)
        wire.lose(ConnectionLost())
        self.assertEqual([event.outcome for event in self.events()], ["client_left"])

    def test_nothing_waits_afterwards(self) -> None:
        """When a response in pieces is complete, no timeout is left."""
        caller = self.caller().send(get(TARGET, AUTH))
        wire = self.accept()
        for piece in (GOOD[:-1], GOOD[-1:]):
            wire.send(piece)
        self.clock.advance(2 * fast_download._WAIT)
        self.assertEqual(len(caller.answers()), 1)
        self.assertEqual([event.outcome for event in self.events()], ["complete"])

    def test_continued(self) -> None:
        """Every other response is continued on the ordinary path, with the same result."""
        request = get(TARGET, AUTH)
        top = b"HTTP/1.1 200 OK\r\n"
        for pieces in (
            (GOOD[:-1],),  # interrupted
            (GOOD[:-2], GOOD[-2:-1]),
            (GOOD[:20],),
            (),
            (top + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",),
            (response(b"401 Unauthorized"),),
            (response(b"403 Forbidden", body=JSON),),
            (response(b"413 Content Too Large", body=JSON),),
            (response(b"500 Internal Server Error", body=JSON),),
            (response(b"503 Service Unavailable", b"Retry-After: 30", body=JSON),),
            (response(b"204 No Content", body=b"", length=0),),
            (response(b"302 Found"),),
            (response(b"304 Not Modified", body=b""),),  # nobody asked
            (response(b"206 Partial Content", b"Content-Range: bytes 0-2/3"),),  # nobody asked
            (response(b"200 OK", b"Content-Encoding: gzip"),),
            (response(b"200 OK", b"Content-Length: 4"),),
            (response(b"299 Odd"),),
            (b"SSH-2.0\r\n",),
            (response(body=b"x", length=fast_download._SMALL + 1), b"x" * fast_download._SMALL),
        ):
            self.assertFalse(self.is_served(request, *pieces), pieces)

    @given(
        st.lists(
            st.sampled_from(
                (
                    *KNOWN,
                    b"Content-Type: text/html",
                    b"Content-Disposition: inline",
                    b"Content-Disposition: attachment; filename=x, inline",
                    b"Content-Security-Policy: script-src *",
                    b"Cache-Control: public",
                    b"Content-Encoding: identity",
                    b"Content-Encoding: ",
                    b"Set-Cookie: a=b",
                    b"Server: other",
                    b"X-Request-Id: other",
                    b"Connection: close",
                    b"Content-Range: bytes 0-2/3",
                )
            ),
            max_size=6,
        ),
        st.sampled_from((b"200 OK", b"404 Not Found", b"304 Not Modified", b"416 X")),
        st.sampled_from((b"GET", b"HEAD")),
        st.booleans(),
    )
    def test_same_bytes(
        self, lines: list[bytes], status: bytes, method: bytes, is_inline: bool
    ) -> None:
        """Whatever a workspace sends, both paths relay the same, and whatever came before."""
        target = TARGET + (b"&disposition=inline" if is_inline else b"")
        request = get(target, AUTH, b"If-None-Match: *", method=method)
        body = b"" if method == b"HEAD" or status.startswith(b"304") else b"abc"
        self.is_served(request, response(status, *lines, body=body, length=3))

    def test_secret_changed(self) -> None:
        """If a workspace refuses the secret, and has another one now, the request is repeated."""
        caller = self.caller().send(get(TARGET, AUTH))
        wire = self.accept()
        row = self.registry._rows[FIRST]
        row.workspace = replace(row.workspace, inbound_secret="new")
        wire.send(response(b"401 Unauthorized"))
        self.assertIn(b"Authorization: Bearer new\r\n", wire.sent())
        wire.send(GOOD)
        self.assertEqual(caller.answer().body, b"abc")
        self.assertEqual([event.status for event in self.events()], [200])

        caller.send(get(TARGET, AUTH))
        self.assertIn(b"Authorization: Bearer new\r\n", wire.sent())

    def test_admitted_before(self) -> None:
        """What was admitted once is decided again after each change in the registry."""
        moved = "http://8.8.4.4:8000"

        def revoke() -> None:
            (token,) = self.successResultOf(begun(self.registry.tokens(FIRST)))
            self.successResultOf(begun(self.registry.revoke_token(FIRST, token.id)))

        def fail() -> None:
            self.registry.failing = True

        def move() -> None:
            moving = self.registry.register(FIRST, url=moved, delivery_mode=None, create_name=None)
            self.successResultOf(begun(moving))

        for change, status in ((move, 200), (fail, 503), (revoke, 401)):
            self.registry.failing = False
            self.warm(FIRST)
            caller = self.caller().send(get(TARGET, AUTH))
            self.accept().send(response(b"200 OK", b"Connection: close", *KNOWN))
            self.assertEqual(caller.site.fast_path.served, 1, change)
            change()
            caller.wire.clear()
            dialled = len(self.reactor.tcpClients)
            caller.send(get(TARGET, AUTH))
            if status == 200:
                self.assertEqual(self.reactor.tcpClients[-1][:2], ("8.8.4.4", 8000))
                self.accept().send(response(b"200 OK", b"Connection: close", *KNOWN))
            else:
                self.assertEqual(len(self.reactor.tcpClients), dialled)
            self.assertEqual(caller.answer().status, status, change)
            self.assertEqual(caller.site.fast_path.served, 1, change)

    def test_client_leaves(self) -> None:
        """The request to the workspace of a client that leaves is aborted."""
        caller = self.caller().send(get(TARGET, AUTH))
        wire = self.accept()
        caller.leave(ConnectionLost())
        self.assertTrue(wire.aborted)
        (event,) = self.events()
        self.assertEqual(
            (event.operation, event.workspace, event.status, event.outcome),
            ("download", str(FIRST), 0, "client_left"),
        )

    def test_client_leaves_while_connecting(self) -> None:
        """The same before there is a connection to the workspace."""
        caller = self.caller().send(get(TARGET, AUTH))
        caller.leave(ConnectionLost())
        self.assertEqual([event.outcome for event in self.events()], ["client_left"])

    def test_client_leaves_within_the_body(self) -> None:
        """A client that leaves after the request was handed over is reported once."""
        caller = self.caller().send(get(TARGET, AUTH))
        wire = self.accept()
        wire.send(GOOD[:-1])
        caller.leave(ConnectionLost())
        self.assertTrue(wire.aborted)
        self.assertEqual([event.outcome for event in self.events()], ["client_left"])

    def test_shutdown(self) -> None:
        """The site stops while the workspace has not responded."""
        caller = self.caller().send(get(TARGET, AUTH))
        wire = self.accept()
        caller.site.drain(0)
        caller.settle()
        self.assertTrue(wire.aborted)
        self.assertEqual([event.outcome for event in self.events()], ["shutdown"])

    def test_timeout(self) -> None:
        """A workspace that does not respond in time gives a 504, as on the ordinary path."""
        caller = self.caller().send(get(TARGET, AUTH))
        self.accept()
        self.reactor.advance(30)
        self.reactor.advance(0)
        self.assertEqual(caller.answer().status, 504)
        (event,) = self.events()
        self.assertEqual((event.operation, event.status), ("download", 504))

    def test_a_fault(self) -> None:
        """
        An unexpected error while a response is relayed gives a 500, and is logged: the client does
        not wait for ever.
        """

        def fail(*_: object) -> bytes:
            raise KeyError("fault")

        self.patch(fast_download, "_known_lines", fail)
        caller = self.caller().send(get(TARGET, AUTH))
        self.accept().send(GOOD)
        self.assertEqual(caller.answer().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual([event.status for event in self.events()], [500])

    def test_bounded(self) -> None:
        """What is remembered is bounded."""
        self.assertEqual(fast_download._known_lines.cache_info().maxsize, fast_download._RESPONSES)
        admitted = FastDownload(self.context, self.cache, DOWNLOAD)._admitted
        self.assertEqual(admitted.cache_info().maxsize, fast_download._TARGETS)
