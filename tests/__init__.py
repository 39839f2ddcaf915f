"""
The tests of chatfiles.  They mirror the package; ``contract`` runs one suite over every
implementation of an interface, ``live`` starts real processes.
"""

import os
import signal

from hypothesis import HealthCheck, settings
from twisted.trial import util

# Hypothesis keeps a table of all characters here, which takes seconds to make in each process.
_CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
os.environ.setdefault(
    "HYPOTHESIS_STORAGE_DIRECTORY", os.path.join(_CACHE, "chatfiles", "hypothesis")
)

# No deadline: how long an example takes means nothing on a busy machine, nor how long it takes to
# draw one.  Each run chooses other
# examples, so that few are enough in each; a soak tries many.
SOAK = os.environ.get("CHATFILES_SOAK") == "1"
settings.register_profile(
    "chatfiles",
    database=None,
    deadline=None,
    max_examples=1000 if SOAK else 40,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("chatfiles")

# Nor does how long a test takes: this only ends a test that hangs.
util.DEFAULT_TIMEOUT_DURATION = 300.0

# A shell makes its background jobs ignore these signals; the processes under test must not inherit
# that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
