"""
The suites of downloads once more, without the fast path.
"""

from __future__ import annotations

from twisted.trial.unittest import SkipTest

from tests.live import test_framing as framing
from tests.live import test_platform_download as through
from tests.live import test_platform_upstream as upstream
from tests.live import test_workspace_transfers as direct
from tests.live.processes import IMPATIENT, SOAK, LiveCase, Pair
from tests.support.patience import PATIENCE

OFF = "--fast-path=off"


class _Off(LiveCase):
    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(both=[OFF, "--drain-timeout=5"])


class _LongOff(_Off):
    def setUp(self) -> None:
        if not SOAK:
            raise SkipTest("takes a minute: CHATFILES_SOAK=1 is not set")
        super().setUp()


class FramingOffTests(_Off, framing.FramingTests):
    """Framing."""


class ContentOffTests(_LongOff, direct.ContentTests):
    """The content, from a workspace."""


class RangeOffTests(_Off, direct.RangeTests):
    """Ranges, from a workspace."""


class ContentThroughOffTests(_LongOff, through.ContentTests):
    """The content, through a platform."""


class RangeThroughOffTests(_Off, through.RangeTests):
    """Ranges, through a platform."""


class BrokenOffTests(_LongOff, upstream.BrokenTests):
    """Broken responses of workspaces."""

    @classmethod
    def make_pair(cls) -> Pair:
        times = ("header", 3 * IMPATIENT), ("idle", 3 * IMPATIENT), ("connect", PATIENCE)
        return Pair([OFF], [f"--{name}-timeout={seconds}" for name, seconds in times])


class ConnectionOffTests(_LongOff, upstream.ConnectionTests):
    """Connections to workspaces."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair([OFF, f"--header-timeout={IMPATIENT}", f"--idle-timeout={IMPATIENT}"])
