"""
The keys that sign links (reference/links, "Keys").
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from chatfiles.rules.signed_links import KEY_BYTES, MAX_LIFETIME

__all__ = ["LINGERS", "SIGNS", "LinkKey", "new_link_key", "signing_key"]

#: How long a key signs.
SIGNS: Final = timedelta(days=30)
#: How much longer it verifies: as long as the longest link.
LINGERS: Final = timedelta(seconds=MAX_LIFETIME)

_ID_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class LinkKey:
    """
    A key.  Its times are aware.

    :param id: 8 hexadecimal digits.
    :param key: 32 bytes.
    """

    id: str
    key: bytes = field(repr=False)
    created_at: datetime
    signs_until: datetime
    verifies_until: datetime

    def signs(self, now: datetime) -> bool:
        """:return: whether new links are signed with it."""
        return now < self.signs_until

    def verifies(self, now: datetime) -> bool:
        """:return: whether links that it has signed are valid."""
        return now < self.verifies_until

    @property
    def is_revoked(self) -> bool:
        """Whether it ended when it was created, and so for clocks that are behind, too."""
        return max(self.signs_until, self.verifies_until) <= self.created_at


def new_link_key(now: datetime, entropy: Callable[[int], bytes] = os.urandom) -> LinkKey:
    """
    :param now: the current time, with its time zone.
    :param entropy: takes a number of bytes, and returns that many random bytes.
    :return: a new key, which signs from now on.
    """
    until = now + SIGNS
    return LinkKey(entropy(_ID_BYTES).hex(), entropy(KEY_BYTES), now, until, until + LINGERS)


def signing_key(keys: Iterable[LinkKey], now: datetime) -> LinkKey | None:
    """:return: the newest of *keys* that signs; ``None`` if none does."""
    usable = [key for key in keys if key.signs(now)]
    return max(usable, key=lambda key: (key.created_at, key.id), default=None)
