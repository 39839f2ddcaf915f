"""
The file descriptors of a worker, and the messages on them.  Both processes use these names.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "COMMANDS",
    "FIRST_LISTENER",
    "LOADS",
    "REGISTERED",
    "REGISTER_AGAIN",
    "REPORTS",
    "STOPPED_LISTENING",
    "STOP_NOW",
    "VARIABLE",
]

#: The worker reads its commands here.  At its end the first process has ended.
COMMANDS: Final = 3
#: The worker writes its reports here, one per line.
REPORTS: Final = 4
#: The memory of `chatfiles.runtime.workers.load`.
LOADS: Final = 5
#: The socket of the first listener; those of the others follow.
FIRST_LISTENER: Final = 6

#: A command: interrupt the transfers that are left.
STOP_NOW: Final = b"!"
#: A command: the role is registered.
REGISTERED: Final = b"r"
#: A report: the worker accepts no more connections.
STOPPED_LISTENING: Final = b"stopped listening"
#: A report: another registration of the role is needed.  Any report besides these two is the reason
#: for which ``/ready`` is not 200, empty if it is: the worker is ready.
REGISTER_AGAIN: Final = b"register again"

#: The environment variable that makes a process a worker; its value is the number of the worker.
VARIABLE: Final = "CHATFILES_WORKER"
