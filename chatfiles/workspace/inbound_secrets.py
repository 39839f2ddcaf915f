"""
The inbound secrets that a workspace accepts, and how one follows another without a refused request
(reference/registration, "Rotation of the inbound secret").

Methods with *at_once*, or whose names end in ``at_once``, never block.  All others may block for a
short time: call them in a thread.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Final, NamedTuple

from chatfiles.errors import Unauthorized
from chatfiles.model import token_hash
from chatfiles.rules.bearer import same_secret
from chatfiles.rules.next_secret import acknowledgement
from chatfiles.workspace.secret_file import SecretFile, is_secret

__all__ = ["InboundSecrets", "Learned", "require_secret"]

#: Seconds for which the previous secret is accepted: some nodes of the platform may not know yet
#: that it was replaced.
OVERLAP: Final = 120
#: Nanoseconds for which the next and the previous secret are kept in memory, if the current one is
#: unchanged.
KEPT_NS: Final = 1_000_000_000
#: Nanoseconds after which each process has seen the next secret.
SEEN_NS: Final = KEPT_NS + 500_000_000


class _Kept(NamedTuple):
    """What was read: the secrets that were accepted at a time, while this one was the current."""

    current: str
    accepted: tuple[str, ...]
    read_ns: int

    def is_fresh(self, current: str | None, now_ns: int) -> bool:
        """:return: whether the same is accepted now, while *current* is the current secret."""
        return self.current == current and 0 <= now_ns - self.read_ns < KEPT_NS


class Learned(NamedTuple):
    """
    What a response of the platform has changed.

    :param current: whether there is another current secret.
    :param following: whether there is another next secret.
    """

    current: bool
    following: bool


class InboundSecrets:
    """
    The current secret, the next one if the platform has offered it, and the previous one for some
    time.  All are files in one directory, so that several processes accept the same secrets, also
    after a restart.  Without a current secret, none is accepted.

    A process may be killed between any two changes of files: the files are changed in an order in
    which a secret is always accepted that the platform may present then.

    :param path: the file of the current secret; the names of the others begin with its name.
    :param now_ns: returns nanoseconds since the epoch.
    """

    def __init__(self, path: str | bytes, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self.current = SecretFile(path, now_ns)
        self.next = SecretFile(self.current.path + b"_next", now_ns, beside=self.current)
        self.previous = SecretFile(self.current.path + b"_previous", now_ns, beside=self.current)
        self._kept: _Kept | None = None

    @property
    def paths(self) -> list[bytes]:
        """The paths of all files."""
        return [file.path for file in (self.current, self.next, self.previous)]

    def present(self) -> bool:
        """
        :return: whether there is a secret, so that requests can be accepted.
        :raise Unavailable: 503, see `SecretFile.read`.
        """
        return self.current.read() is not None

    def matches(self, presented: bytes, *, at_once: bool = False) -> bool:
        """
        Compare in constant time, always with all secrets.

        :param presented: the secret that a client presents.
        :param at_once: do not block.
        :return: whether it is accepted.
        :raise WouldWait: only with *at_once*: a file must be read in a thread.
        :raise Unavailable: 503, see `SecretFile.read`.
        """
        text = presented.decode("utf-8", "surrogateescape")
        return sum(same_secret(text, secret) for secret in self._accepted(at_once=at_once)) > 0

    def has_digest_at_once(self, digest: bytes) -> bool:
        """
        Compare in constant time, always with all secrets.

        :param digest: the `chatfiles.model.token_hash` of the secret that a client presents.
        :return: whether the secret is accepted.
        :raise WouldWait: a file must be read in a thread.
        """
        found = False
        for secret in self._accepted(at_once=True):
            found |= hmac.compare_digest(_digest(secret), digest)
        return found

    def acknowledgement(self) -> str | None:
        """
        :return: what to tell the platform of the next secret; ``None`` if there is none, or another
            process may not have seen it yet.
        :raise Unavailable: 503, see `SecretFile.read`.
        """
        secret = self.next.read()
        if secret is None:
            return None
        with suppress(OSError):
            if not 0 <= self._now_ns() - os.stat(self.next.path).st_mtime_ns < SEEN_NS:
                return acknowledgement(secret)
        return None

    def learn(self, named: str, following: str | None) -> Learned:
        """
        Store what the platform says.

        :param named: the secret that the platform presents.
        :param following: the secret that it will present next; ``None`` if it offers none.
        :raise OSError: a file could not be changed; a later call repeats the rest.
        :raise Unavailable: see `SecretFile.read`.
        """
        current, upcoming, previous = self.current.read(), self.next.read(), self._previous()
        if named != current:
            end = self._now_ns() // 1_000_000_000 + OVERLAP
            overlapping = f"{end}.{current}"
            if current and named in (upcoming, previous) and is_secret(overlapping):
                self.previous.write(overlapping)
            else:  # the first one, or one that was forced: those that were accepted may be known
                self.previous.remove()
            self.current.write(named)
            if named != previous:
                self.next.remove()
        elif upcoming == current:  # it was killed before it removed this
            self.next.remove()
        elif previous is None and self.previous.read() is not None:
            self.previous.remove()  # its time is over
        is_new = following is not None and self.next.write(following)
        return Learned(named != current, is_new)

    def _accepted(self, *, at_once: bool) -> tuple[str, ...]:
        kept, now_ns = self._kept, self._now_ns()
        if at_once and kept is not None and kept.is_fresh(self.current.read_at_once(), now_ns):
            return kept.accepted
        # In this order: `learn` may make the next secret the current one meanwhile.
        upcoming = _read(self.next, at_once)
        current = _read(self.current, at_once)
        previous = self._previous(at_once=at_once)
        if current is None:
            return ()
        accepted = (current, *(secret for secret in (upcoming, previous) if secret))
        self._kept = _Kept(current, accepted, now_ns)
        return accepted

    def _previous(self, *, at_once: bool = False) -> str | None:
        """:return: the previous secret, if it is still accepted."""
        stored = _read(self.previous, at_once)
        end, _, secret = (stored or "").partition(".")
        if not end.isdecimal():
            return None
        left = int(end) - self._now_ns() // 1_000_000_000
        return secret if 0 < left <= OVERLAP else None


def _read(file: SecretFile, at_once: bool) -> str | None:
    return file.read_at_once() if at_once else file.read()


#: The hashes of the secrets that were read last.
_digest = lru_cache(8)(token_hash)


def require_secret(
    secrets: InboundSecrets, presented: str | None, *, at_once: bool = False
) -> None:
    """
    Check that a request comes from the platform.  Reads files.

    :param presented: the bearer token of the request, if it has one.
    :param at_once: do not block.
    :raise Unauthorized: *presented* is not accepted, or there is no secret.
    :raise WouldWait: only with *at_once*: a file must be read in a thread.
    :raise Unavailable: 503: there are no free descriptors, or no memory.
    """
    if presented is None:
        raise Unauthorized
    if not secrets.matches(presented.encode("utf-8", "surrogateescape"), at_once=at_once):
        raise Unauthorized
