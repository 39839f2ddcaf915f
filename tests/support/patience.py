"""
How long a test waits.
"""

from __future__ import annotations

__all__ = ["PATIENCE"]

#: Seconds that a test waits for what ought to happen at once.  A test that passes never waits that
#: long, so it is what the slowest machine may need: starting a role on a starved virtual machine
#: was seen to take 70 seconds.
PATIENCE = 110.0
