"""
Transfers: each ends exactly once and releases what it owns.
"""

from __future__ import annotations

import contextlib
from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.http.server.transfer import TRANSITIONS, Event, State, Transfer
from chatfiles.streams.outcome import ClientLeft, Outcome

FINAL = {State.COMPLETE, State.ABORTED}


class Quiet:
    """A sender that has sent everything."""

    sent = 0

    def stop(self) -> None:
        pass


class Recorded:
    """A request, a sender and a file that record what is done with them."""

    relayed = False

    def __init__(self) -> None:
        self.channel: Any = self
        self.transport = StringTransport()
        self.ended: list[tuple[State, str]] = []
        self.sent = 7
        self.stops = self.closed = 0
        self.clock = Clock()
        self.transfer = Transfer(self)

    def abort(self, outcome: str) -> None:
        self.transfer.abort(outcome)

    def transfer_ended(self) -> None:
        self.ended.append((self.transfer.state, self.transfer.outcome))

    def stop(self) -> None:
        self.stops += 1
        self.transfer.abort("too_late")  # as the handler of a stopped sender does

    def close(self) -> None:
        self.closed += 1

    def streaming(self) -> Transfer:
        """:return: the transfer, with everything that it may own."""
        self.transfer.own(self.close)
        self.transfer.head_sent()
        self.transfer.begin_body(self)
        self.transfer.watch(self.clock, 8.0, lambda: 0, Outcome.UPSTREAM_STALLED)
        self.transfer.watch_client(self.clock, 8.0, lambda taken: taken)
        return self.transfer

    def happen(self, event: Event) -> None:
        """Make *event* happen."""
        transfer = self.transfer
        match event:
            case Event.HEAD:
                transfer.head_sent()
            case Event.BODY:
                with contextlib.suppress(ClientLeft):
                    transfer.begin_body(Quiet())
            case Event.LAST_BYTE:
                transfer.last_byte()
            case Event.FINISH:
                transfer.finish()
            case Event.ABORT:
                transfer.abort(Outcome.SHUTDOWN)


class TableTests(SynchronousTestCase):
    """The table describes what the code does."""

    def test_every_event_in_every_state(self) -> None:
        """
        Each event in each state leads to the state in the table, which the documentation shows.
        """
        table = {(state, event): then for state, event, then in TRANSITIONS}
        self.assertEqual(len(table), len(TRANSITIONS))
        for state, event in product(State, Event):
            recorded = Recorded()
            recorded.transfer.state = state
            recorded.happen(event)
            self.assertIs(recorded.transfer.state, table.get((state, event), state), (state, event))

    def test_several(self) -> None:
        """A transfer closes all that it owns, each once."""
        recorded = Recorded()
        for _ in range(3):
            recorded.transfer.own(recorded.close)
        recorded.transfer.head_sent()
        self.assertEqual(recorded.closed, 0)
        for _ in range(2):
            recorded.transfer.last_byte()
            self.assertEqual(recorded.closed, 3)

    def test_final(self) -> None:
        """Nothing happens after a final state; every other state can end."""
        leaves = {state for state, _, then in TRANSITIONS if state is not then}
        self.assertEqual(set(State) - leaves, FINAL)
        for state in leaves:
            self.assertIn((state, Event.ABORT, State.ABORTED), TRANSITIONS)

    @given(st.lists(st.sampled_from(Event)))
    def test_one_end(self, events: list[Event]) -> None:
        """The end is reported once and the file closed once, whatever the events."""
        recorded = Recorded()
        recorded.transfer.own(recorded.close)
        for event in events:
            recorded.happen(event)
            state = recorded.transfer.state
            self.assertEqual(len(recorded.ended), state is State.COMPLETE)
            self.assertEqual(recorded.closed, state in {*FINAL, State.SENT})
        for _ in range(2):
            recorded.transfer.connection_lost()
            self.assertEqual((len(recorded.ended), recorded.closed), (1, 1))


class TransferTests(SynchronousTestCase):
    """What a transfer owns."""

    def assert_released(self, recorded: Recorded) -> None:
        self.assertEqual((recorded.stops, recorded.closed), (1, 1))
        self.assertEqual(recorded.clock.getDelayedCalls(), [])
        self.assertEqual(recorded.transfer.sent, 7)

    def test_complete(self) -> None:
        """
        Timers and file are released after the last byte; the end is reported when it is finished.
        """
        recorded = Recorded()
        transfer = recorded.streaming()
        self.assertEqual(len(recorded.clock.getDelayedCalls()), 2)
        recorded.stop = lambda: setattr(recorded, "stops", 1)  # type: ignore[method-assign]
        transfer.last_byte()
        self.assert_released(recorded)
        self.assertEqual(recorded.ended, [])
        transfer.finish()
        self.assertEqual(recorded.ended, [(State.COMPLETE, "complete")])

    def test_aborted(self) -> None:
        """The outcome is that of the abort, although the sender that it stops ends the handler."""
        recorded = Recorded()
        recorded.streaming().abort(Outcome.SHUTDOWN)
        self.assert_released(recorded)
        self.assertEqual(recorded.ended, [])
        recorded.transfer.connection_lost()
        self.assertEqual(recorded.ended, [(State.ABORTED, "shutdown")])

    def test_stalled(self) -> None:
        """A transfer that makes no progress is aborted."""
        for which, outcome in (("watch", "upstream_stalled"), ("watch_client", "client_stalled")):
            recorded = Recorded()
            transfer = recorded.streaming()
            keep = 0 if which == "watch" else 1
            transfer._timers[1 - keep].stop()
            for _ in range(8):
                self.assertEqual(transfer.outcome, "")
                recorded.clock.advance(1.0)
            transfer.connection_lost()
            self.assertEqual(recorded.ended, [(State.ABORTED, outcome)])
            self.assert_released(recorded)

    def test_refused(self) -> None:
        """A refusal keeps its outcome; it counts neither as a success nor as a later disconnect."""
        recorded = Recorded()
        recorded.transfer.refuse("not_found")
        for event in (Event.HEAD, Event.LAST_BYTE, Event.FINISH, Event.ABORT):
            recorded.happen(event)
        self.assertEqual(recorded.ended, [(State.COMPLETE, "not_found")])

    def test_too_late(self) -> None:
        """
        A file that is opened for a client that has disconnected meanwhile is closed and not sent.
        """
        recorded = Recorded()
        recorded.transfer.abort(Outcome.CLIENT_LEFT)
        self.assertRaises(ClientLeft, recorded.transfer.own, recorded.close)
        self.assertRaises(ClientLeft, recorded.transfer.begin_body, recorded)
        recorded.transfer.watch(recorded.clock, 8.0, lambda: 0, Outcome.UPSTREAM_STALLED)
        recorded.transfer.watch_client(recorded.clock, 8.0, lambda taken: taken)
        self.assertEqual((recorded.closed, recorded.stops), (1, 1))
        self.assertEqual(recorded.clock.getDelayedCalls(), [])
        recorded.transfer.connection_lost()
        self.assertEqual(recorded.ended, [(State.ABORTED, "client_left")])
