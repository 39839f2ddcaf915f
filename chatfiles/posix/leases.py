"""
Asks the kernel whether a file is open for writing.
"""

from __future__ import annotations

import fcntl
import signal

__all__ = ["may_be_open_for_writing"]


def may_be_open_for_writing(fd: int) -> bool:
    """
    A read lease (fcntl(2), "Leases") can only be had on a file that no process has open for
    writing.  It is given back at once.  A process that opens the file meanwhile waits until then,
    and the kernel notifies this one with a signal, which is set to one that has no effect.

    :param fd: a regular file on a local disk, open for reading only.
    :return: whether a process has it open for writing; also true if the kernel does not say.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:  # also without the capability, for a file of another user
        return True
    return False
