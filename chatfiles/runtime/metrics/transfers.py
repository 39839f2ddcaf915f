"""
Counts transfers, and the bytes that they move.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from chatfiles.http.server.observers import RequestRefused, TransferEnded
from chatfiles.rules.error_codes import ERROR_CODES
from chatfiles.rules.operations import OPERATIONS, TRANSFERS
from chatfiles.runtime.metrics.cells import Numbers, observe
from chatfiles.runtime.metrics.families import SECONDS, Family, Kind, Layout, children
from chatfiles.streams.outcome import OUTCOMES, Outcome

__all__ = ["OTHER", "TransferMetrics", "transfer_families"]

#: A code or outcome that is not known here: that of another version's workspace, or a hostile one.
OTHER: Final = "other"
#: The credentials of requests; empty without a valid one, and on a workspace.
_CREDENTIALS: Final = {"platform": ("token", "admin", "link", ""), "workspace": ("",)}
#: The outcomes that a role can have: a platform has no files, and a workspace no upstream.
_OUTCOMES: Final = {
    "platform": OUTCOMES - {Outcome.FILE_CHANGED, Outcome.FILE_STALLED, Outcome.EVICTED},
    "workspace": OUTCOMES - {Outcome.UPSTREAM_INTERRUPTED, Outcome.UPSTREAM_STALLED},
}
#: The operations that a signed link can be for.
_LINKED: Final = frozenset({"download", "archive", "upload"})
#: The most children of ``chatfiles_transfers_total`` whose outcome is an error code.
MOST_REFUSED: Final = 340
#: As many of these are kept for the outcome `OTHER`, and for processes that count at the same time.
_RESERVED: Final = 100
_MOVED: Final = "chatfiles_transfer_bytes_total"
_RUNNING: Final = "chatfiles_transfers_in_progress"
_ENDED: Final = "chatfiles_transfers_total"
_REFUSED: Final = "chatfiles_refusals_total"
_DURATION: Final = "chatfiles_transfer_seconds"
_FIRST_BYTE: Final = "chatfiles_first_byte_seconds"
_ARCHIVES: Final = "chatfiles_archives_in_progress"


def transfer_families(role: str) -> Iterable[Family]:
    """
    :param role: ``platform`` or ``workspace``.
    :return: the families.
    """
    by_operation = children([role], TRANSFERS)
    credentials = _CREDENTIALS[role]
    codes = (*ERROR_CODES, OTHER)
    usual = children([role], TRANSFERS, sorted(_OUTCOMES[role]), credentials)
    of_operation = ("role", "operation")
    return (
        Family(
            _ENDED,
            Kind.COUNTER,
            "Transfers that have ended.",
            (*of_operation, "outcome", "credential"),
            [each for each in usual if each[3] != "link" or each[1] in _LINKED],
            rare=children([role], TRANSFERS, codes, credentials),
            most_rare=MOST_REFUSED,
        ),
        Family(
            _MOVED,
            Kind.COUNTER,
            "Bytes of bodies, counted as they move.",
            (*of_operation, "direction"),
            children([role], TRANSFERS, ("in", "out")),
        ),
        Family(_RUNNING, Kind.GAUGE, "Transfers that run now.", of_operation, by_operation),
        Family(
            _DURATION,
            Kind.HISTOGRAM,
            "Seconds from the end of the request's headers to the end of the transfer.",
            of_operation,
            by_operation,
            SECONDS,
        ),
        Family(
            _FIRST_BYTE,
            Kind.HISTOGRAM,
            "Seconds from the end of the request's headers to the first byte of the response.",
            of_operation,
            by_operation,
            SECONDS,
        ),
        Family(
            _REFUSED,
            Kind.COUNTER,
            "Requests that were refused with an error.",
            ("role", "code"),
            children([role], codes),
        ),
        Family(_ARCHIVES, Kind.GAUGE, "Archives that are sent now."),
    )


class TransferMetrics:
    """
    An observer of transfers.

    :param role: ``platform`` or ``workspace``.
    :param layout: has the `transfer_families`.
    :param numbers: of this process.
    :param is_used: takes a place, and returns whether any process of the role has counted there.
    """

    def __init__(
        self, role: str, layout: Layout, numbers: Numbers, is_used: Callable[[int], bool]
    ) -> None:
        self._numbers = numbers
        self._is_used = is_used
        self._is_full = False
        ended = layout.children(_ENDED).items()
        self._ended = {labels[1:]: at for labels, at in ended if labels[2] in OUTCOMES}
        self._rare = {labels[1:]: at for labels, at in ended if labels[2] not in OUTCOMES}
        moved = layout.children(_MOVED)
        self._moved = {
            name: (moved[role, name, "in"], moved[role, name, "out"]) for name in TRANSFERS
        }
        self._seconds = _by_operation(layout, _DURATION)
        self._first_byte = _by_operation(layout, _FIRST_BYTE)
        self._running = _by_operation(layout, _RUNNING)
        self._refused = {labels[1]: at for labels, at in layout.children(_REFUSED).items()}
        (self._archives,) = layout.children(_ARCHIVES).values()

    def transfer_ended(self, event: TransferEnded) -> None:
        """Count the end of a request."""
        numbers, outcome = self._numbers, event.outcome
        if outcome not in OUTCOMES:
            self._count_refusal(outcome)
        operation = OPERATIONS.get(event.operation)
        if operation is None:
            return
        actor = event.actor
        numbers[self._ended_at(operation, outcome, "" if actor is None else actor.kind)] += 1
        at, before = self._moved[operation], event.counted
        if event.bytes_in:
            numbers[at[0]] += event.bytes_in - before[0]
        if event.bytes_out:
            numbers[at[1]] += event.bytes_out - before[1]
        observe(numbers, self._seconds[operation], SECONDS, event.seconds)
        if event.first_byte is not None:
            observe(numbers, self._first_byte[operation], SECONDS, event.first_byte)

    def request_refused(self, event: RequestRefused) -> None:
        """Count a message that was refused."""
        self._count_refusal(event.code)

    def update(self, connections: Collection[Any]) -> None:
        """
        Count the transfers that run, and what they have moved since the last time.

        :param connections: of the site.
        """
        running = dict.fromkeys(TRANSFERS, 0)
        for connection in connections:
            request = connection.request
            operation = OPERATIONS.get(request.operation) if request is not None else None
            if operation is not None and not request.has_ended:
                running[operation] += 1
                self._count_moved(request, operation)
        for operation, count in running.items():
            self._numbers[self._running[operation]] = count
        self._numbers[self._archives] = running["archive"]

    def _count_moved(self, request: Any, operation: str) -> None:
        moved, before = (request.body.seen, request.bytes_out), request.counted
        if moved != before:
            for at, now, then in zip(self._moved[operation], moved, before, strict=True):
                self._numbers[at] += now - then
            request.counted = moved

    def _count_refusal(self, code: str) -> None:
        self._numbers[self._refused.get(code) or self._refused[OTHER]] += 1

    def _ended_at(self, operation: str, outcome: str, credential: str) -> int:
        at = self._ended.get((operation, outcome, credential))
        return at if at is not None else self._rare_at(operation, outcome, credential)

    def _rare_at(self, operation: str, code: str, credential: str) -> int:
        """:return: the place of a refusal.  When there are too many, the code becomes `OTHER`."""
        others = self._rare[operation, OTHER, credential]
        at = self._rare.get((operation, code, credential), others)
        if self._numbers[at] or at == others:
            return at
        if not self._is_full:
            used = sum(map(self._is_used, self._rare.values()))
            self._is_full = used >= MOST_REFUSED - _RESERVED
        return others if self._is_full else at


def _by_operation(layout: Layout, name: str) -> dict[str, int]:
    return {labels[1]: at for labels, at in layout.children(name).items()}
