"""
Who this process is when the kernel decides whether it may read a file.
"""

from __future__ import annotations

import os
import re
import stat
from functools import lru_cache
from typing import Final, NamedTuple

__all__ = ["Reader", "current_reader"]

#: The capabilities to read any file: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
#: (linux/capability.h).
_READS_ALL: Final = 1 << 1 | 1 << 2
_EFFECTIVE = re.compile(rb"^CapEff:\s*([0-9a-f]+)$", re.MULTILINE)


class Reader(NamedTuple):
    """
    A user, as far as permission bits are concerned.

    :param uid: the user's id.
    :param groups: the ids of all groups of the user.
    :param reads_all: whether permission bits do not apply to the user.
    """

    uid: int
    groups: frozenset[int]
    reads_all: bool

    def may_read(self, facts: os.stat_result) -> bool:
        """
        :param facts: of a file or directory.
        :return: whether its permission bits let the user read it, or list its names.
        """
        if self.reads_all:
            return True
        if facts.st_uid == self.uid:
            bit = stat.S_IRUSR
        else:
            bit = stat.S_IRGRP if facts.st_gid in self.groups else stat.S_IROTH
        return bool(facts.st_mode & bit)


def current_reader() -> Reader:
    """:return: the user of this process."""
    return _reader(os.geteuid(), os.getegid())


@lru_cache(8)
def _reader(uid: int, gid: int) -> Reader:
    return Reader(uid, frozenset((gid, *os.getgroups())), _reads_all(uid))


def _reads_all(uid: int) -> bool:
    try:
        with open("/proc/self/status", "rb") as file:
            effective = _EFFECTIVE.search(file.read())
    except OSError:
        effective = None
    return bool(int(effective[1], 16) & _READS_ALL) if effective else uid == 0
