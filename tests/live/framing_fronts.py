"""
Whether a balancer in front of the platform reads what a client sends as the platform does (RFC
9112): what two of them read differently is how one client's request becomes another's.

Everything that passes between the balancer and the platform is written down.  Whatever a client
sends, each request that the platform reads must be one that the balancer wrote, and each answer of
the platform must reach the client whose request it answers, or nobody.
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

#: Where those come from who send what is doubtful, and those who do not know of them.
ATTACKER, VICTIM = "127.0.0.2", "127.0.0.3"

#: Another request that is hidden: it would be answered, too.
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

#: Rows of which a balancer makes another number of requests than the platform, which refuses them.
#: Both balancers overlook a coding that is hidden from them, as RFC 9112 allows, and take the body
#: that then is none for a second request, which they refuse by themselves.
OTHERWISE = {
    # A line without a colon is a field without a value.
    ("nginx", "name in two lines"): 2,
    # A folded line is a part of the one before (5.2).
    ("haproxy", "folded behind another"): 2,
}

#: The examples, but waiting 1 s for what does not come, and sharing connections as far as they can.
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
    Something doubtful that is sent.

    :param requests: how many it is; ``None`` where that depends on who reads it.
    """

    about: str
    wire: bytes
    requests: int | None = None


class Front:
    """
    A balancer, and what passes between it and the platform.

    :ivar delivered: the ids of the platform's answers, and the address that got them.
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
        Send something doubtful, and a harmless request behind it.

        :return: the answers, without that to the harmless one if that was reached.
        """
        with Connection(self._balancer.url, source=ATTACKER) as connection:
            with contextlib.suppress(ConnectionError):
                connection.send(wire + MARK)
            answers = parsed(connection.until_closed())
        self._note(ATTACKER, answers)
        return without_mark(answers)

    def ask_as_victim(self) -> str | None:
        """
        Ask for a file on a connection that is kept, as far as the balancer keeps it.

        :return: what is wrong with the answer.
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
            except (Incomplete, ConnectionError):  # closed while it was not used
                self._victim.close()
                self._victim = None
        else:
            return "no answer"
        self._note(VICTIM, [answer])
        told = (answer.status, answer.get("x-request-id"), answer.body)
        return None if told == (200, request_id, b"hello a\n") else str(told)

    def close(self) -> list[Tapped]:
        """:return: all connections to the platform."""
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
    """:return: the answers that *data* consists of; HTTP/0.9 has no more than a body."""
    if data and not data.startswith(b"HTTP/"):
        return [Response(200, "", [], data)]
    return answers_in(data)


def without_mark(answers: Sequence[Response]) -> list[Response]:
    """:return: without that to the harmless request behind."""
    return [answer for answer in answers if answer.get("x-request-id") != "mark"]


def complaints(
    connections: Sequence[Tapped], delivered: Sequence[tuple[str, str]]
) -> Iterator[str]:
    """
    :param delivered: see `Front.delivered`.
    :return: what must not have happened between a balancer and the platform.
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
    """:return: for whom the balancer says that it wrote a request with these fields."""
    said = ",".join(value for name, value in fields if name == "x-forwarded-for")
    last = said.rpartition(",")[2].strip()
    return last if last in (ATTACKER, VICTIM) else None


def is_shared(tapped: Tapped) -> bool:
    """:return: whether both have been served over a connection."""
    requests, _ = requests_in(bytes(tapped.asked))
    return {owner(asked.headers) for asked in requests} >= {ATTACKER, VICTIM}


class Framings(LiveCase):
    """
    Through balancers whose connections to the platform are shared.

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
        """:return: how many answers the platform gives, without that to the one behind."""
        with Connection(self.pair.platform.url) as connection:
            with contextlib.suppress(ConnectionError):
                connection.send(wire + MARK)
            return len(without_mark(parsed(connection.until_closed())))

    def attack(self, attacks: Sequence[Attack]) -> list[str]:
        """
        Send through a balancer, with a victim's request behind each.

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
        """Divide them among some balancers; nothing may be wrong."""
        shares = [attacks[at::fronts] for at in range(fronts)]
        with ThreadPoolExecutor(fronts) as threads:
            wrong = "\n".join(itertools.chain.from_iterable(threads.map(self.attack, shares)))
        if wrong:
            self.fail(wrong)

    def test_rows(self) -> None:
        """
        Each row is as many requests to the balancers as to the platform, none of them is one that
        is hidden in a body or behind the end of a connection, and nobody else is told the answers.
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
        """Whatever hides a request, it is nobody's, or it is the one of whoever sent it."""
        attacks = [Attack(about, wire) for about, wire in variants(*self.targets())]
        self.attack_all(attacks, fronts=6)
