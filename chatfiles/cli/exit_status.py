"""
The exit statuses of the command line.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["EXIT_TABLE", "Exit"]


class Exit(IntEnum):
    """The exit statuses.  Click also uses 2 for a wrong command line."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CREDENTIALS = 4
    REFUSED = 5
    UNAVAILABLE = 6
    INCOMPLETE = 7
    LOCAL = 8


#: The statuses as ``--help`` shows them; ``\b`` keeps click from re-wrapping.
EXIT_TABLE = """\b
Exit status:
  0  done
  1  none of the below; declined; a demo that could not run
  2  wrong command line
  3  no such workspace, file, token or key
  4  credentials are missing, were refused, or do not allow this
  5  the request was refused; sending it again will not help
  6  platform or workspace unavailable; try again later
  7  the transfer was interrupted, or the response cannot be trusted
  8  a local file could not be read or written
  130, 143  stopped by Ctrl-C, by SIGTERM
"""
