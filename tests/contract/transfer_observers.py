"""
What every observer of transfers must bear.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.http.server.observers import (
    Actor,
    RequestRefused,
    TransferEnded,
    TransferObserver,
)
from chatfiles.streams.outcome import Outcome

__all__ = ["ObserverContract"]

_LINES = b'ETag: "v"\r\nContent-Length: 5\r\n'


def events() -> Iterator[TransferEnded]:
    """:return: ends of requests of all kinds."""
    actors = (None, Actor("admin"), Actor("token", "t", "p", "n"), Actor("link", "t"))
    outcomes = (*Outcome, "file_not_found", "a_code_of_another_version", "invalid_link")
    operations = ("", "download", "read", "ingest", "register", "link", "archive")
    for actor, outcome, operation in product(actors, outcomes, operations):
        yield TransferEnded("id", "-", operation, 200, 5, 0.5, outcome, "::1", actor)
        yield TransferEnded("id", "w", operation, 0, 0, 0.5, outcome, "-", actor)
        yield TransferEnded(
            "id",
            "w",
            operation,
            401,
            5,
            0.5,
            outcome,
            "::1",
            actor,
            "f" * 32,
            3,
            5,
            0.25,
            "dial",
            "token.create",
            {"ref": "/workspace/%22"},
            _LINES,
            (1, 2),
        )


class ObserverContract(SynchronousTestCase):
    """A suite for each observer."""

    def make_observer(self) -> TransferObserver:
        """:return: the observer."""
        raise NotImplementedError

    def test_any_event(self) -> None:
        """No event makes an observer fail."""
        observer = self.make_observer()
        for event in events():
            observer.transfer_ended(event)
            observer.transfer_ended(event._replace(fields={b"ETag": b'"v"'}))
        observer.request_refused(RequestRefused("id", "-", 400, "malformed_request", "-"))
        observer.request_refused(RequestRefused("id", "-", 400, "unheard_of", "-"))
