"""
What a workspace does after each refusal, and how long it waits.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.workspace.channel.backoff import Backoff
from chatfiles.workspace.channel.refusals import BACK_OFF, refusal_of
from chatfiles.workspace.registration.client import RegistryResponse


class RefusalTests(SynchronousTestCase):
    """The table of reference/channel-workspace, "Refusals"."""

    def test_rows(self) -> None:
        """Each status has its wait, and some make the workspace register."""
        for status, code, wait, registers in (
            (401, "unauthorized", 60, True),
            (403, "forbidden", 60, True),
            (404, "no_route", 300, False),
            (404, "", 300, False),
            (404, "workspace_not_found", BACK_OFF, True),
            (409, "not_in_poll_mode", BACK_OFF, True),
            (426, "upgrade_required", 60, False),
            (400, "bad_request", 60, False),
            (429, "too_many_channels", 60, False),
            (503, "draining", BACK_OFF, False),
            (502, "", BACK_OFF, False),
            (500, "", BACK_OFF, False),
            (200, "", 60, False),
            (405, "", 60, False),
        ):
            with self.subTest(status=status, code=code):
                fields = {"error": "the {reason}", "code": code}
                refusal = refusal_of(RegistryResponse(status, 0, fields))
                self.assertEqual((refusal.wait, refusal.registers), (wait, registers))
                self.assertIs(refusal.is_full, status == 429)
                self.assertIn(str(status), refusal.text)
                if status != 200:
                    self.assertIn("the {reason}", refusal.text)

    def test_without_json(self) -> None:
        """A page of a proxy, and an old platform, are no channel."""
        self.assertEqual(refusal_of(RegistryResponse(404, 0, None)).wait, 300)


class BackoffTests(SynchronousTestCase):
    """Delays after failures."""

    def test_doubling(self) -> None:
        """The longest delay doubles from half a second to 30 seconds, and begins again."""
        backoff = Backoff(lambda: 1.0)
        self.assertEqual([backoff.next() for _ in range(9)], [0.5, 1, 2, 4, 8, 16, 30, 30, 30])
        backoff.reset()
        self.assertEqual(backoff.next(), 0.5)

    def test_full_jitter(self) -> None:
        """A delay is anything between nothing and the longest one."""
        numbers = iter([0.0, 0.25, 0.5])
        backoff = Backoff(lambda: next(numbers))
        self.assertEqual([backoff.next() for _ in range(3)], [0.0, 0.25, 1.0])
