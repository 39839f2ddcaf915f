"""
Relaying the headers and the body of a workspace's response.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from chatfiles.platform.forwarding.response import relay_body, relayed_headers
from chatfiles.rules.file_headers import CSP_ATTACHMENT, CSP_INLINE
from chatfiles.streams.outcome import ClientLeft
from tests.support.memory_client import Caller, Held, get

#: The digest of ``hello``.
DIGEST = b"sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"


def relayed(
    *given: tuple[bytes, bytes],
    method: bytes = b"GET",
    code: int = 200,
    length: int | None = 3,
    name: bytes | None = b"a.txt",
    inline: bool = False,
) -> dict[bytes, bytes]:
    """:return: the headers of the platform's response to these of a workspace."""
    headers = Headers()
    for field in given:
        headers.addRawHeader(*field)
    return relayed_headers(method, code, length, headers, name, inline)


class RelayedHeadersTests(SynchronousTestCase):
    """The headers of a workspace's response that are relayed, and those that are set."""

    def test_length(self) -> None:
        """Content-Length comes first; it is that of the body, if there is one of known length."""
        self.assertEqual(next(iter(relayed((b"ETag", b"x")).items())), (b"Content-Length", b"3"))
        for more in (
            {"length": None},
            {"code": 304},
            {"code": 204},
            {"method": b"HEAD"},
        ):
            self.assertNotIn(b"Content-Length", relayed(**more), more)
        head = relayed((b"Content-Length", b"9"), method=b"HEAD", length=0)
        self.assertEqual(head[b"Content-Length"], b"9")

    def test_allowed(self) -> None:
        """Only headers that describe the file are relayed, and only the first value of each."""
        found = relayed(
            (b"ETag", b"x"),
            (b"ETag", b"y"),
            (b"Server", b"x"),
            (b"Set-Cookie", b"x"),
            (b"Location", b"x"),
            (b"Access-Control-Allow-Origin", b"*"),
            (b"Content-Encoding", b""),
            (b"Transfer-Encoding", b"chunked"),
            (b"Connection", b"close"),
            (b"X-Request-Id", b"x"),
        )
        self.assertEqual(
            set(found),
            {
                b"Content-Length",
                b"ETag",
                b"Cache-Control",
                b"Content-Type",
                b"Content-Disposition",
                b"X-Content-Type-Options",
                b"Content-Security-Policy",
            },
        )
        self.assertEqual(found[b"ETag"], b"x")

    def test_shown(self) -> None:
        """A file is shown only if the client asked for it and its type is harmless."""
        for media_type, inline, shown in (
            (b"image/png", True, True),
            (b"image/png", False, False),
            (b"text/html", True, False),
            (b"image/png, text/html", True, False),
            (b"image/svg+xml", True, False),
        ):
            found = relayed(
                (b"Content-Type", media_type),
                (b"Content-Disposition", b"inline"),
                (b"Content-Security-Policy", b"script-src *"),
                (b"X-Content-Type-Options", b"x"),
                inline=inline,
            )
            disposition = found[b"Content-Disposition"]
            self.assertIs(disposition.startswith(b"inline"), shown, media_type)
            expected = CSP_INLINE if shown else CSP_ATTACHMENT
            self.assertEqual(found[b"Content-Security-Policy"], expected)
            self.assertEqual(found[b"X-Content-Type-Options"], b"nosniff")

    def test_caching(self) -> None:
        """A workspace cannot make a response public; an error is not stored."""
        for code in (200, 206, 304, 404, 412, 416, 500):
            found = relayed((b"Cache-Control", b"public"), code=code)
            kept = b"private, no-cache" if code < 400 else b"no-store"
            self.assertEqual(found[b"Cache-Control"], kept, code)

    def test_not_modified(self) -> None:
        """A 304 changes nothing in the client's stored response but its validators."""
        found = relayed((b"ETag", b"x"), (b"Content-Type", b"text/html"), code=304)
        self.assertEqual(set(found), {b"ETag", b"Cache-Control"})

    def test_digest(self) -> None:
        """One valid digest is relayed as it is, with the statuses that have one."""
        field = b"Repr-Digest", DIGEST
        for code in (200, 206, 304):
            for method in (b"GET", b"HEAD"):
                found = relayed(field, method=method, code=code)
                self.assertEqual(found[b"Repr-Digest"], DIGEST, code)
        for code in (204, 404, 412, 416, 500):
            self.assertNotIn(b"Repr-Digest", relayed(field, code=code), code)

    def test_invalid_digest(self) -> None:
        """A digest that clients may read in different ways is dropped."""
        for values in (
            [DIGEST, DIGEST],
            [b"", DIGEST],
            [DIGEST + b","],
            [DIGEST.replace(b"256", b"512")],
            [DIGEST[:-5] + b":"],
            [DIGEST.upper()],
            [b""],
        ):
            found = relayed(*[(b"Repr-Digest", value) for value in values])
            self.assertNotIn(b"Repr-Digest", found, values)

    def test_no_file(self) -> None:
        """The response to an upload has no file name."""
        found = relayed((b"Content-Disposition", b"attachment; filename=x"), name=None)
        self.assertNotIn(b"Content-Disposition", found)

    def test_names(self) -> None:
        """Each header has one name, so that none is sent twice."""
        given = Headers({b"content-TYPE": [b"a/b"], b"CONTENT-disposition": [b"inline"]})
        found = relayed_headers(b"GET", 200, 3, given, b"a", False)
        self.assertEqual(len({name.lower() for name in found}), len(found))

    def test_given_is_unchanged(self) -> None:
        """The headers that are passed may be shared with other responses."""
        given = Headers({b"Content-Type": [b"text/html"], b"Content-Disposition": [b"inline"]})
        before = given.copy()
        relayed_headers(b"GET", 200, 3, given, None, True)
        self.assertEqual(given, before)


class Response:
    """A response whose body waits to be delivered."""

    length = 10
    stopped = False

    def deliverBody(self, protocol: Any) -> None:
        protocol.makeConnection(self)

    def stopProducing(self) -> None:
        self.stopped = True

    loseConnection = abortConnection = stopProducing


class RelayTests(SynchronousTestCase):
    """A client that disconnects just before the body begins."""

    def test_aborted_before_the_body(self) -> None:
        """The connection to the workspace is closed, as nothing reads it any more."""
        root, response = Held(), Response()
        Caller(root).send(get())
        root.requests[0].transfer.abort("client_left")
        work: Any = relay_body(root.requests[0], response, Clock(), 60.0)  # type: ignore[arg-type]
        self.failureResultOf(Deferred.fromCoroutine(work), ClientLeft)
        self.assertTrue(response.stopped)
