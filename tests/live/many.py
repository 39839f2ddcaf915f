"""
Many concurrent requests, from one thread.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.live.rawhttp import Connection, Response, answers_in
from tests.support.patience import PATIENCE

__all__ = ["Outcome", "ask_many"]


@dataclass(frozen=True)
class Outcome:
    """
    :param seconds: from the request to the end of its response.
    """

    response: Response
    seconds: float


def ask_many(url: str, questions: Sequence[tuple[str, str]]) -> list[Outcome]:
    """
    Open all connections, then send all requests at once.

    :param questions: for each request, its target and its token.
    :return: their outcomes, in no particular order.
    """
    connections = [Connection(url) for _ in questions]
    try:
        began: dict[Connection, float] = {}
        for connection, (target, token) in zip(connections, questions, strict=True):
            fields = {"Authorization": f"Bearer {token}", "Connection": "close"}
            began[connection] = time.monotonic()
            connection.ask("GET", target, fields)
        return _collect(began)
    finally:
        for connection in connections:
            connection.close()


def _collect(began: dict[Connection, float]) -> list[Outcome]:
    received = {connection: bytearray() for connection in began}
    outcomes: list[Outcome] = []
    with selectors.DefaultSelector() as selector:
        for connection in began:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        while len(outcomes) < len(began):
            ready = selector.select(PATIENCE)
            if not ready:
                raise AssertionError(f"{len(began) - len(outcomes)} answers do not come")
            for key, _ in ready:
                connection = key.data
                data = connection.socket.recv(65536)
                received[connection] += data
                if not data:
                    selector.unregister(connection.socket)
                    seconds = time.monotonic() - began[connection]
                    (response,) = answers_in(bytes(received[connection]))
                    outcomes.append(Outcome(response, seconds))
    return outcomes
