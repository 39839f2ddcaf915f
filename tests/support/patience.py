"""
The timeout of tests.
"""

from __future__ import annotations

__all__ = ["PATIENCE"]

#: Seconds that a test waits for what should happen at once.  A test that passes never waits that
#: long, so it is what the slowest machine may need: starting a role on an overloaded virtual
#: machine has taken 70 seconds.
PATIENCE = 110.0
