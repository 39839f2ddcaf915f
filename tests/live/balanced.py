"""
The cases of downloads and uploads, through a balancer in front of the platform.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any, ClassVar

from twisted.trial.unittest import SkipTest

from tests.live import ranges, transfers
from tests.live.balancer import Balancer
from tests.live.processes import SOAK, Pair, until
from tests.live.rawhttp import Connection, Incomplete, fetch
from tests.live.test_resumable import Way, repr_digest
from tests.live.upload_client import END, FORM, file, in_the_making

__all__ = ["Contents", "Paces", "Ranges", "RequestIds", "Uploads"]


class Facade:
    """
    A platform as its clients see it: at the balancer's URL.

    :param role: the platform; all other attributes are taken from it.
    """

    def __init__(self, role: Any, url: str) -> None:
        self._role = role
        self.url = url

    def __getattr__(self, name: str) -> Any:
        return getattr(self._role, name)


class Behind(transfers.Way):
    """
    The way through a balancer of its own.

    :cvar kind: ``nginx`` or ``haproxy``.
    :cvar changes: to the example, by kind.
    """

    kind = ""
    hop = "through"
    changes: ClassVar[dict[str, dict[str, str]]] = {}

    def setUp(self) -> None:
        super().setUp()
        node = f"127.0.0.1:{self.pair.platform.port}"
        self.balancer = Balancer(self.kind, [node], self.changes.get(self.kind, {}))
        self.addCleanup(self.balancer.stop)

    @property
    def role(self) -> Any:
        """The platform, at the balancer's URL."""
        return Facade(self.pair.platform, self.balancer.url)


class Ranges(Behind, ranges.RangeCases):
    """Ranges and conditions."""


class RequestIds(Behind):
    """The request id in the balancer's log."""

    def test_id_of_the_response(self) -> None:
        """
        The balancer logs the id of the response, which both roles log too: the client's, or the
        platform's if the client sent none or one that is refused.
        """
        self.pair.write("workspace/small.txt", b"small")
        for fields, status in (
            ({"X-Request-Id": f"given-{self.kind}"}, 200),
            ({}, 200),
            ({"X-Request-Id": "not valid"}, 200),
            ({"Authorization": "Bearer wrong"}, 401),
        ):
            target, credential = self.target("/workspace/small.txt")
            answer = fetch(self.role.url, target, {**credential, **fields})
            self.assertEqual(answer.status, status)
            request_id = answer["x-request-id"]
            self.pair.platform.logged(rf"{request_id} .* download {status} ")
            self.balancer.logged(rf" {status} .*{request_id}")


class Contents(Behind, transfers.ContentCases):
    """The content of downloads; most cases run only with ``CHATFILES_SOAK=1``."""

    ALWAYS = frozenset(
        f"test_{name}"
        for name in ("at_the_same_time", "grows", "one_connection", "shrinks", "sizes")
    )

    def setUp(self) -> None:
        super().setUp()
        if not SOAK and self._testMethodName not in self.ALWAYS:
            raise SkipTest("CHATFILES_SOAK=1 is not set")


class Paces(Behind, transfers.PaceCases):
    """
    Slow readers.  How a balancer reads depends on its buffers, so the platform has a longer timeout
    for a proxy that it trusts, and the balancer has the timeout for a client that reads nothing.
    """

    changes: ClassVar[dict[str, dict[str, str]]] = {
        "nginx": {"send_timeout 300s": "send_timeout 4s"},
        "haproxy": {"timeout client 300s": "timeout client 4s"},
    }

    @classmethod
    def make_pair(cls) -> Pair:
        waiting = ["--header-timeout=1", "--idle-timeout=1"]
        return Pair(both=waiting, platform=["--trusted-proxy=127.0.0.1"])

    def slow(self, rate: int, seconds: float = 4.0) -> None:
        """Read at a rate at which the balancer reads only every other second."""
        super().slow(max(rate, 1_000_000), seconds)

    def stalled(self) -> None:
        """Read a little, then nothing more; the balancer closes the connection."""
        about = f"stalled-{self.kind}"
        _, answer = self.begin("/workspace/slow.bin", request_id=about)
        answer.exactly(100_000)
        self.role.logged(rf"{about} .* client_left")
        self.assertRaises(Incomplete, answer.rest)


class Uploads(Behind):
    """Uploads of all kinds: what a client has sent is at the workspace, and so is its leaving."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(workspace=["--writable=/workspace/out"])

    def setUp(self) -> None:
        super().setUp()
        os.makedirs(self.pair.at("workspace", "out"), exist_ok=True)
        self.request_id = f"cut-{os.urandom(8).hex()}"

    def left(self) -> None:
        """Wait until the workspace knows that the client has left."""
        self.pair.workspace.logged(rf"{self.request_id} .* client_left")

    def is_hidden(self, content: bytes, *names: str) -> bool:
        """:return: whether a directory has just one unfinished file, with this content."""
        place = self.pair.at("workspace", *names)
        found = [
            name
            for name in os.listdir(place)
            if name.startswith(".chatfiles-part-") and not name.endswith(".json")
        ]
        with open(os.path.join(place, *found), "rb") as hidden:
            return hidden.read() == content

    def test_resumable(self) -> None:
        """A resumable upload goes on where its connection was cut."""
        content = os.urandom(2_000_000)
        base = f"/workspaces/{self.pair.id}/uploads"
        way = Way("through", self.role.url, base, self.pair.bearer)
        for query, names in (
            ("", (".molecule", "chat-uploads")),
            ("?path=/workspace/out/x", ("out",)),
        ):
            self.request_id = f"cut-{os.urandom(8).hex()}"
            target, more = way.create(len(content), query), {"X-Request-Id": self.request_id}
            with way.begin(target, 0, len(content), content[:3], more):
                until(partial(self.is_hidden, content[:3], *names), "nothing is buffered")
            self.left()
            self.assertEqual(way.offset(target), 3)
            last = way.patch(target, 3, content[3:])
            self.assertEqual((last.status, last["repr-digest"]), (204, repr_digest(content)))
            self.assertEqual(way.ask("DELETE", target).status, 204)

    def test_cut(self) -> None:
        """A file or a form that is cut in the middle leaves nothing."""
        body = file(b"x" * 300_000)
        for method, operation, fields, sent in (
            ("PUT", "fs/file?path=/workspace/out/a", {}, b"x" * 300_000),
            ("POST", "chat/uploads", FORM, body),
        ):
            self.request_id = f"cut-{os.urandom(8).hex()}"
            more = {"X-Request-Id": self.request_id, "Content-Length": str(len(sent) + len(END))}
            with Connection(self.role.url) as connection:
                target = f"/workspaces/{self.pair.id}/{operation}"
                connection.ask(method, target, {**self.pair.bearer, **fields, **more})
                connection.send(sent)
                until(partial(self.is_written, len(sent)), "nothing is buffered")
            self.left()
            until(lambda: not self.is_written(0), "nothing is left")

    def is_written(self, size: int) -> bool:
        """:return: whether the workspace has this much of a file."""
        sizes = in_the_making(self.pair, self.pair.at("workspace")).values()
        return any(each > size // 2 for each in sizes)
