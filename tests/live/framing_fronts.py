"""
A balancer and the platform behind it parse the same requests from the same bytes (RFC 9112).
Request smuggling relies on a difference between two parsers.

All bytes between the balancer and the platform are recorded.  Each request that the platform reads
must be one that the balancer wrote, and each response of the platform must reach the client that
sent the request, or no client.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tests.live.balancer import Balancer, binary
from tests.live.framing_variants import variants
from tests.live.processes import LiveCase, Pair, until
from tests.live.rawhttp import Connection, Incomplete, Malformed, Response, answers_in, fetch
from tests.live.test_framing import (
    CHUNKED,
    CHUNKS,
    CODINGS,
    HEADS,
    HOST,
    LAST,
    LENGTHS,
    LINES,
    MARK,
    SEQUENCES,
    Case,
    get,
    post,
    wire_of,
)
from tests.live.wiretap import Tapped, Wiretap, requests_in

__all__ = ["ATTACKER", "VICTIM", "Framings", "complaints"]

#: Source addresses of the client that sends malformed requests, and of an unrelated client.
ATTACKER, VICTIM = "127.0.0.2", "127.0.0.3"

#: Another hidden request; it has no credential, but gets a response as well.
_GET = b"GET @P@ HTTP/1.1\r\nHost: gw.test\r\n"
_HIDDEN = b"GET /ghost HTTP/1.1\r\nHost: gw.test\r\n\r\n"

ROWS = (
    *LENGTHS,
    *CODINGS,
    *CHUNKS,
    *HEADS,
    *LINES,
    *SEQUENCES,
    post("a head as trailer", "R|1", CHUNKED, body=b"0\r\nX" + _HIDDEN),
    post("a head behind the last chunk", "1", CHUNKED, body=LAST + b"\r\nX" + _HIDDEN),
    get("empty name first", "R", HOST, b": nameless"),
    Case("a head in a GET", _GET + b"Content-Length: 38\r\n\r\n" + _HIDDEN, "R|1"),
)

#: Cases in which a balancer parses a different number of requests than the platform, which refuses
#: them.  Both balancers ignore the obscured ``Transfer-Encoding``, as RFC 9112 allows, and parse
#: the body as a second request, which they refuse themselves.
OTHERWISE = {
    # nginx parses a line without a colon as a header without a value.
    ("nginx", "name in two lines"): 2,
    # A folded line belongs to the line before it (5.2).
    ("haproxy", "folded behind another"): 2,
}

#: Changes to the example configurations: timeouts of 1 s, and connections are shared if possible.
CHANGES = {
    "nginx": {
        "client_header_timeout 30s": "client_header_timeout 1s",
        "client_body_timeout 75s": "client_body_timeout 1s",
    },
    "haproxy": {
        "timeout http-request 30s": "timeout http-request 1s",
        "timeout client 300s": "timeout client 1s",
        "    balance leastconn\n": "    balance leastconn\n    http-reuse always\n",
        "default-server check inter 1s fall 2 rise 2": "default-server",
    },
}


class Attack(NamedTuple):
    """
    Bytes with an ambiguous framing.

    :param requests: how many requests they contain; ``None`` if that depends on the parser.
    """

    about: str
    wire: bytes
    requests: int | None = None


class Front:
    """
    A balancer, and a record of what passes between it and the platform.

    :ivar delivered: the request ids of the platform's responses, and the address that got each.
    """

    def __init__(self, kind: str, pair: Pair) -> None:
        self.kind = kind
        self.delivered: list[tuple[str, str]] = []
        self._pair = pair
        self._count = itertools.count()
        self._tap = Wiretap(pair.platform.port)
        try:
            self._balancer = Balancer(kind, [self._tap.address], CHANGES[kind])
        except BaseException:
            self._tap.close()
            raise
        self._victim: Connection | None = None

    def send(self, wire: bytes) -> list[Response]:
        """
        Send *wire*, and a well-formed request after it.

        :return: the responses, without the one to the well-formed request, if there is one.
        """
        with Connection(self._balancer.url, source=ATTACKER) as connection:
            with contextlib.suppress(ConnectionError):
                connection.send(wire + MARK)
            answers = parsed(connection.until_closed())
        self._note(ATTACKER, answers)
        return without_mark(answers)

    def ask_as_victim(self) -> str | None:
        """
        Download a file over a persistent connection, which is reopened if the balancer closed it.

        :return: what is wrong with the response.
        """
        request_id = f"victim-{next(self._count)}"
        fields = {**self._pair.bearer, "X-Request-Id": request_id}
        target = self._pair.download_target(b"path=/workspace/a.txt")
        for _ in range(2):
            if self._victim is None:
                self._victim = Connection(self._balancer.url, source=VICTIM)
            try:
                self._victim.ask("GET", target, fields)
                answer = self._victim.response()
                break
            except (Incomplete, ConnectionError):  # closed while idle
                self._victim.close()
                self._victim = None
        else:
            return "no answer"
        self._note(VICTIM, [answer])
        told = (answer.status, answer.get("x-request-id"), answer.body)
        return None if told == (200, request_id, b"hello a\n") else str(told)

    def close(self) -> list[Tapped]:
        """:return: all connections of the balancer to the platform."""
        if self._victim is not None:
            self._victim.close()
        self._balancer.stop()
        until(lambda: all(each.ended for each in self._tap.connections), "the connections end")
        self._tap.close()
        return self._tap.connections

    def _note(self, who: str, answers: Iterable[Response]) -> None:
        for answer in answers:
            if (request_id := answer.get("x-request-id")) is not None:
                self.delivered.append((request_id, who))


def parsed(data: bytes) -> list[Response]:
    """:return: the responses in *data*; one of HTTP/0.9 consists of a body only."""
    if data and not data.startswith(b"HTTP/"):
        return [Response(200, "", [], data)]
    return answers_in(data)


def without_mark(answers: Sequence[Response]) -> list[Response]:
    """:return: the responses without the one to `MARK`, which is sent after each attack."""
    return [answer for answer in answers if answer.get("x-request-id") != "mark"]


def complaints(
    connections: Sequence[Tapped], delivered: Sequence[tuple[str, str]]
) -> Iterator[str]:
    """
    :param delivered: see `Front.delivered`.
    :return: what went wrong between a balancer and the platform.
    """
    owners: dict[str, str] = {}
    for tapped in connections:
        requests, rest = requests_in(bytes(tapped.asked))
        for asked in requests:
            if owner(asked.headers) is None:
                yield f"a request that the balancer did not write: {asked}"
        try:
            answers = answers_in(bytes(tapped.answered), [asked.method for asked in requests])
        except (Incomplete, Malformed) as error:
            yield f"{error!r} in {bytes(tapped.answered)!r}"
            continue
        if len(answers) > len(requests) + bool(rest):
            yield f"{len(answers)} answers to {bytes(tapped.asked)!r}"
        for asked, answer in zip(requests, answers, strict=False):
            owners[answer["x-request-id"]] = owner(asked.headers) or "?"
    for request_id, who in delivered:
        if owners.get(request_id, who) != who:
            yield f"{who} got {request_id}, the answer to {owners[request_id]}"


def owner(fields: Iterable[tuple[str, str]]) -> str | None:
    """:return: the client that the balancer names in a request with these headers."""
    said = ",".join(value for name, value in fields if name == "x-forwarded-for")
    last = said.rpartition(",")[2].strip()
    return last if last in (ATTACKER, VICTIM) else None


def is_shared(tapped: Tapped) -> bool:
    """:return: whether a connection carried requests of both clients."""
    requests, _ = requests_in(bytes(tapped.asked))
    return {owner(asked.headers) for asked in requests} >= {ATTACKER, VICTIM}


class Framings(LiveCase):
    """
    Requests through a balancer whose connections to the platform are shared.

    :cvar kind: ``nginx`` or ``haproxy``.
    """

    kind = ""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(both=["--header-timeout=2", "--idle-timeout=3"])

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.write("workspace/a.txt", b"hello a\n")

    def setUp(self) -> None:
        super().setUp()
        binary(self.kind)

    def targets(self) -> tuple[bytes, bytes, bytes]:
        """:return: a target for ``GET``, one for ``POST`` that takes the body, the credential."""
        credential = b"Authorization: Bearer " + self.pair.token.encode()
        read = self.pair.download_target(b"path=/workspace/a.txt")
        return read, b"/registry/heartbeat", credential

    def directly(self, wire: bytes) -> int:
        """:return: how many responses the platform itself sends to *wire*."""
        with Connection(self.pair.platform.url) as connection:
            with contextlib.suppress(ConnectionError):
                connection.send(wire + MARK)
            return len(without_mark(parsed(connection.until_closed())))

    def attack(self, attacks: Sequence[Attack]) -> list[str]:
        """
        Send *attacks* through a balancer, with a request of the other client after each.

        :return: what is wrong.
        """
        wrong, front = [], Front(self.kind, self.pair)
        try:
            for given in attacks:
                count = len(front.send(given.wire))
                wanted = OTHERWISE.get((self.kind, given.about), given.requests)
                if wanted not in (None, count):
                    wrong.append(f"{given.about}: {count} answers, not {wanted}")
                if (trouble := front.ask_as_victim()) is not None:
                    wrong.append(f"{given.about}: the victim got {trouble}")
        finally:
            connections = front.close()
        wrong += complaints(connections, front.delivered)
        if not any(map(is_shared, connections)):
            wrong.append("no connection was shared: nothing could have gone wrong")
        return wrong

    def attack_all(self, attacks: Sequence[Attack], fronts: int) -> None:
        """Divide *attacks* among several balancers; nothing may go wrong."""
        shares = [attacks[at::fronts] for at in range(fronts)]
        with ThreadPoolExecutor(fronts) as threads:
            wrong = "\n".join(itertools.chain.from_iterable(threads.map(self.attack, shares)))
        if wrong:
            self.fail(wrong)

    def test_rows(self) -> None:
        """
        The balancer parses as many requests from each row as the platform.  No request that is
        hidden in a body or after the last request of a connection is served, and no client receives
        the response to another one.
        """
        mark = self.pair.platform.mark()
        wires = [wire_of(given, *self.targets()) for given in ROWS]
        attacks = [
            Attack(given.about, wire, self.directly(wire))
            for given, wire in zip(ROWS, wires, strict=True)
        ]
        self.attack_all(attacks, fronts=2)
        end = f"end-{self.kind}"
        target = self.pair.download_target(b"path=/workspace/a.txt")
        fetch(self.pair.platform.url, target, {**self.pair.bearer, "X-Request-Id": end})
        self.pair.platform.logged(end, since=mark)  # the log is complete
        log = self.pair.platform.log.splitlines()[mark:]
        self.assertFalse([line for line in log if "ghost" in line])

    def test_variants(self) -> None:
        """A hidden request is not served, or is attributed to the client that sent it."""
        attacks = [Attack(about, wire) for about, wire in variants(*self.targets())]
        self.attack_all(attacks, fronts=6)
