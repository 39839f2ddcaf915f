"""
The fast path sends the same bytes, and logs the same lines, as the ordinary path.
"""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import unquote_to_bytes

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.live.odd_requests import ODD_NAMES, SIZES, exchanges, single_oddities
from tests.live.processes import SOAK, LiveCase, Pair
from tests.live.twins import FROM_THE_FUTURE, HOPS, MODES, Exchange, Twins

_VECTORS = os.path.join(os.path.dirname(__file__), "..", "vectors")
EXAMPLES = 3000 if SOAK else 80


def _rows(name: str) -> list[dict[str, Any]]:
    with open(os.path.join(_VECTORS, f"{name}.json"), encoding="utf-8") as file:
        rows: list[dict[str, Any]] = json.load(file)["rows"]
        return rows


class TwinsCase(LiveCase):
    """Roles with the fast path and roles without it."""

    pair: Twins

    @classmethod
    def make_pair(cls) -> Pair:
        return Twins()

    def same(self, exchange: Exchange, hop: str, about: object = "") -> bytes:
        """:return: what both roles send, which is the same."""
        fast, ordinary = (self.pair.received(exchange, hop, mode) for mode in MODES)
        self.assertEqual(fast, ordinary, (hop, about or exchange))
        return fast

    maxDiff = None

    def same_log(self, marks: dict[tuple[str, str], int], *, min_lines: int = 1) -> None:
        """Both roles have logged the same since *marks*."""
        for hop in HOPS:
            fast, ordinary = (self.pair.transfers(marks, hop, mode) for mode in MODES)
            self.assertGreaterEqual(len(fast), min_lines)
            self.assertEqual(fast, ordinary, hop)


class SameBytesTests(TwinsCase):
    """Every request has the same response in both modes."""

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        assert isinstance(pair, Twins)
        for name, size in SIZES.items():
            pair.write(b"workspace/" + name, (b"%-15d\n" % size * (size // 16 + 1))[:size])
        for name in (*ODD_NAMES, b"secret.key", b"directory/a"):
            pair.write(b"workspace/" + name, b"the content of " + name)
        os.utime(pair.write(b"workspace/" + FROM_THE_FUTURE, b"x"), (4e9, 4e9))
        os.symlink("one", pair.at("workspace", "link"))
        os.mkfifo(pair.at("workspace", "fifo"))
        cls.make_vector_files(pair)
        cls.tags = {}
        for name in SIZES:
            head = pair.file(b"/workspace/" + name)["direct"]
            cls.tags[b"/workspace/" + name] = head["etag"].encode()
        for mode in MODES:  # nothing depends on what the first request finds in memory
            for hop in HOPS:
                lines = b"Host: h\r\nAuthorization: Bearer @A@\r\n"
                warm = b"GET @T@/workspace/one HTTP/1.1\r\n%b\r\n" % lines
                pair.received(Exchange([(b"GET", warm)] * 3), hop, mode)

    tags: dict[bytes, bytes]

    @classmethod
    def make_vector_files(cls, pair: Pair) -> None:
        """Make what the notes of the paths ask for."""
        for row in _rows("paths"):
            path = unquote_to_bytes(row["query"].partition("=")[2].encode("latin-1"))
            name = path.removeprefix(b"{W}/")
            if row["status"][0] == 200 and b"&" not in name and not name.startswith(b"{"):
                pair.write(b"workspace/" + name, (row["body"] or "").encode("latin-1"))
        pair.write("plugins/p/plugin.py", b"ok\n")
        pair.write("outside/secret.txt", b"secret")
        pair.write("workspace/a.txt", b"hello a\n")
        pair.write("workspace/noread", b"x")
        os.chmod(pair.at("workspace", "noread"), 0)
        os.link(pair.at("workspace", "a.txt"), pair.at("workspace", "hard.txt"))
        links = {
            "l-in-abs": pair.at("workspace", "a.txt"),
            "ld-out": pair.at("outside"),
            "ld-procroot": "/proc/self/root",
            "l-stdin": "/dev/stdin",
            "loop-a": "loop-a",
            "dangling": "nothing",
            "l-cross-root": pair.at("plugins", "p", "plugin.py"),
            "zero": "/dev/zero",
        }
        for link, target in links.items():
            os.symlink(target, pair.at("workspace", link))

    def test_drawn(self) -> None:
        """Requests as Hypothesis draws them."""
        marks = self.pair.marks()

        @settings(max_examples=EXAMPLES)
        @given(exchanges(self.tags), st.sampled_from(HOPS))
        def check(exchange: Exchange, hop: str) -> None:
            self.same(exchange, hop)

        check()
        self.same_log(marks)

    def test_single_oddities(self) -> None:
        """Usual requests, and requests with one unusual thing."""
        marks = self.pair.marks()
        for exchange in single_oddities():
            for hop in HOPS:
                self.same(exchange, hop)
        self.same_log(marks, min_lines=500)

    def test_other_name(self) -> None:
        """The other name of the workspace's route; it has more methods, which only Allow tells."""
        marks = self.pair.marks()
        for method in (b"GET", b"HEAD", b"POST"):
            for name in (b"one", b"mib.bin", b"missing", b"secret.key"):
                target = b"/internal/fs/file?path=/workspace/" + name
                lines = b"Host: h\r\nAuthorization: Bearer @A@\r\n"
                raw = b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, lines)
                received = self.same(Exchange([(method, raw)] * 2), "direct")
                named = self.same(
                    Exchange([(method, raw.replace(target, b"@T@" + target[23:]))] * 2), "direct"
                )
                received = received.replace(b"Allow: DELETE, GET, HEAD, PUT", b"Allow: GET, HEAD")
                self.assertEqual(received, named)
        fast, ordinary = (self.pair.transfers(marks, "direct", mode) for mode in MODES)
        self.assertEqual(fast, ordinary)

    def test_paths(self) -> None:
        """Queries from ``tests/vectors/paths.json``, with ``GET`` and ``HEAD``."""
        marks = self.pair.marks()
        for row in _rows("paths"):
            query = row["query"].replace("{W}", "/workspace").replace("{B}", "").encode("latin-1")
            for method in (b"GET", b"HEAD"):
                raw = b"%b @O@?%b HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer @A@\r\n\r\n"
                exchange = Exchange([(method, raw % (method, query))] * 2)
                for hop in HOPS:
                    received = self.same(exchange, hop, row["id"])
                    if row["id"] != "p-509" or os.geteuid():  # root may read every file
                        status = int(received.split(b" ")[1])
                        self.assertIn(status, row["status"], (row["id"], hop))
        self.same_log(marks, min_lines=200)

    def test_ranges(self) -> None:
        """Ranges from ``tests/vectors/ranges.json``."""
        marks = self.pair.marks()
        for row in _rows("ranges"):
            lines = b"Host: h\r\nAuthorization: Bearer @A@\r\nRange: %b\r\n"
            lines %= row["range"].encode("latin-1")
            requests = [
                (method, b"%b @T@/workspace/eleven HTTP/1.1\r\n%b\r\n" % (method, lines))
                for method in (b"GET", b"HEAD", b"GET")
            ]
            for hop in HOPS:
                received = self.same(Exchange(requests), hop, row["id"])
                self.assertIn(int(received.split(b" ")[1]), row["status"], row["id"])
        self.same_log(marks, min_lines=40)

    def test_framing(self) -> None:
        """Raw requests from ``tests/vectors/framing.json``, with and without a credential."""
        marks = self.pair.marks()
        for row in _rows("framing"):
            raw = row["wire"].encode("latin-1").replace(b"@P@", b"@T@/workspace/one")
            start, end, rest = raw.partition(b"\r\n")
            authorized = start + end + b"Authorization: Bearer @A@\r\n" + rest
            for wire in (raw, authorized):
                for hop in HOPS:
                    self.same(Exchange([(b"GET", wire)]), hop, row["id"])
        self.same_log(marks)
