"""Which response continues a transfer: no mixture, whatever a server sends."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.client.core.errors import ClientError, Incomplete
from chatfiles.client.core.fetch import Fetch
from chatfiles.client.core.retries import Retries
from chatfiles.client.core.sinks import Buffer
from chatfiles.client.core.steps import Receive, Send, Sleep
from chatfiles.client.core.versions import Span, Versions

#: The versions of the file: their validator, and the byte that they consist of.
VERSIONS = {'"a"': (b"a", 20), '"b"': (b"b", 20), '"c"': (b"c", 33)}


class Sent:
    """A response of a scripted server."""

    reason = ""
    framed = True

    def __init__(self, status: int, headers: dict[str, str], body: bytes, cut: int) -> None:
        self.status = status
        self.length: int | None = len(body)
        self.body = body[: max(0, len(body) - cut)]
        self.is_cut = len(self.body) < len(body)
        self._headers = headers

    def values(self, name: str) -> Sequence[str]:
        """See `Response`."""
        return [self._headers[name]] if name in self._headers else []

    def close(self) -> None:
        """See `Response`."""

    def __enter__(self) -> Sent:
        return self

    def __exit__(self, *raised: object) -> None:
        """See `Response`."""


responses: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    etag=st.sampled_from([*VERSIONS, None]),
    status=st.sampled_from([200, 206, 206, 206, 416]),
    honest=st.booleans(),
    shift=st.sampled_from([0, 0, 0, -1, 1]),
    cut=st.sampled_from([0, 0, 1, 5]),
)


def answer(headers: Any, given: dict[str, Any]) -> Sent:
    """:return: a response to a request, as *given* says: perhaps not what was asked for."""
    etag = given["etag"]
    byte, total = VERSIONS[etag or '"a"']
    lines = {} if etag is None else {"ETag": etag}
    first = 0
    if "Range" in headers:
        first = int(headers["Range"].removeprefix("bytes=").rstrip("-"))
    status = given["status"]
    if given["honest"]:
        status = 206 if "Range" in headers and headers.get("If-Range") == etag else 200
        if status == 206 and first >= total:
            status = 416
    else:
        first = max(0, first + given["shift"])
    if status == 206 and first < total:
        lines["Content-Range"] = f"bytes {first}-{total - 1}/{total}"
        return Sent(206, lines, byte * (total - first), given["cut"])
    if status == 416:
        return Sent(416, {"Content-Range": f"bytes */{total}"}, b"", 0)
    return Sent(200, lines, byte * total, given["cut"])


class VersionsTests(SynchronousTestCase):
    """`Fetch`, with servers that lie."""

    def run_fetch(self, script: list[dict[str, Any]], if_match: str | None) -> bytes | None:
        """:return: what was received; ``None`` if the transfer failed."""
        buffer = Buffer()
        versions = Versions(Span(), if_match)
        fetch = Fetch("/", versions, buffer, Retries(9), lambda: 0.0)
        steps: Generator[Any, Any, None] = fetch.run()
        left = list(script)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Send):
                    if not left:
                        steps.close()
                        return None
                    step = steps.send(answer(step.request.headers, left.pop(0)))
                elif isinstance(step, Receive):
                    step = self.receive(steps, step.response)
                else:
                    assert isinstance(step, Sleep)
                    step = steps.send(None)
        except StopIteration:
            return bytes(buffer.data)
        except ClientError:
            return None

    def receive(self, steps: Generator[Any, Any, None], response: Any) -> Any:
        """:return: the next step."""
        body, response.body = response.body[:7], response.body[7:]
        if not body and response.is_cut:
            return steps.throw(interrupted())
        return steps.send(body)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(responses, max_size=6), st.sampled_from([None, '"a"']))
    def test_never_mixed(self, script: list[dict[str, Any]], if_match: str | None) -> None:
        """
        What was received completely is one whole version of the file: the one that the program
        wants, if it wants one.
        """
        begins = {"etag": '"a"', "status": 200, "honest": True, "shift": 0, "cut": 5}
        got = self.run_fetch([begins, *script], if_match)
        if got is not None:
            whole = [byte * total for byte, total in VERSIONS.values()]
            self.assertIn(got, whole)
            if if_match is not None:
                self.assertEqual(got, b"a" * 20)

    def test_it_ends(self) -> None:
        """The servers above do send files: the test can fail."""
        honest = {"etag": '"a"', "status": 200, "honest": True, "shift": 0, "cut": 5}
        self.assertEqual(self.run_fetch([honest, {**honest, "cut": 0}], '"a"'), b"a" * 20)

    def test_shorter_than_announced(self) -> None:
        """
        A server first announced more bytes, and now says with the same validator that there are no
        more: then what was received is not the whole file.
        """
        versions = Versions(Span(), etag='"a"', received=5, total=20)
        for length, is_whole in (("5", False), ("20", False)):
            described = Sent(200, {"ETag": '"a"', "Content-Length": length}, b"", 0)
            self.assertEqual(versions.is_whole(described), is_whole)


def interrupted() -> ClientError:
    """:return: the error of a body that ends too early."""
    return Incomplete("interrupted", transient=True)
