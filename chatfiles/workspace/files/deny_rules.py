"""
Globs of virtual paths that are never served or listed, matched without file system access.

``*`` matches any bytes within a segment, ``**`` matches any bytes including slashes (``/**/`` also
matches a single ``/``), ``?`` matches one character within a segment.  Characters that are special
in other glob dialects are refused.  A rule covers the named path and everything below it.  It also
covers other spellings that the file system may accept: see `chatfiles.rules.name_folding`.

A rule that ends in ``/**`` denies the named path, too, but does not hide it in a listing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from chatfiles.rules.name_folding import folded
from chatfiles.rules.virtual_paths import ROOTS

__all__ = ["DEFAULT_GLOBS", "PARTIAL", "DenyRules", "Glob"]

#: Rules that always apply: the role's own files, and secrets of the agent.
DEFAULT_GLOBS: Final[tuple[bytes, ...]] = (
    b"/configs/.auth_token*",
    b"/configs/.platform_inbound_secret*",
    b"/configs/.hermes/**",
)

#: Begins the names of the role's own partial files, which are hidden in every directory.
PARTIAL: Final = b".chatfiles-part-"
_PARTIAL_SEGMENT: Final = b"/" + PARTIAL

#: Longest glob, in bytes: as long as a path may be.
MAX_GLOB = 4096

_TOKEN = re.compile(rb"\*+|[^*]")
_SLASH = ord("/")
_NO_SLASH = [byte for byte in range(256) if byte != _SLASH]
_CONTINUATION = range(0x80, 0xC0)  # the bytes of a UTF-8 character after its first
_UNSUPPORTED = b"[]{}\\"


@dataclass(frozen=True, slots=True)
class _Automaton:
    """
    A glob as a nondeterministic automaton.  State *n* means that *n* tokens have matched; a set of
    states is one integer with one bit per state.

    Each byte of the path advances the set with two masks, so matching takes one step per byte for
    every glob (the Shift-And method, Baeza-Yates and Gonnet 1992).

    :param accept: for each byte, the states that it advances.
    :param stay: for each byte, the states that it leaves unchanged (inside a wildcard).
    :param free: the states whose next token may match nothing.
    :param skip: the states which, when entered by a slash, may skip the next two tokens: ``**/``.
    :param final: the state in which the whole glob has matched.
    """

    accept: tuple[int, ...]
    stay: tuple[int, ...]
    free: int
    skip: int
    final: int

    def step(self, states: int, byte: int) -> int:
        """:return: the states after one more byte of a path."""
        arrived = (states & self.accept[byte]) << 1
        states = arrived | (arrived & self.skip) << 2 | states & self.stay[byte]
        return states | (states & self.free) << 1


def _compile(glob: bytes) -> _Automaton:
    accept, stay = [0] * 256, [0] * 256
    free = skip = 0
    tokens = _TOKEN.findall(glob)
    for state, token in enumerate(tokens):
        here = 1 << state
        if token == b"?":
            for byte in _NO_SLASH:
                accept[byte] |= here
            for byte in _CONTINUATION:
                stay[byte] |= here << 1
        elif not token.startswith(b"*"):
            accept[token[0]] |= here
        else:
            free |= here
            for byte in range(256) if len(token) > 1 else _NO_SLASH:
                stay[byte] |= here
            if len(token) > 1 and tokens[state - 1] == b"/" == _after(tokens, state):
                skip |= here
    return _Automaton(tuple(accept), tuple(stay), free, skip, 1 << len(tokens))


def _after(tokens: Sequence[bytes], state: int) -> bytes:
    return tokens[state + 1] if state + 1 < len(tokens) else b""


class _Pattern:
    """
    A glob that matches bytes.

    :param glob: in the form of `_normal`.
    """

    __slots__ = ("_automaton", "_prefix")

    def __init__(self, glob: bytes) -> None:
        self._automaton = _compile(glob)
        self._prefix = glob[: next((n for n, c in enumerate(glob) if c in b"*?"), len(glob))]

    def matches(self, path: bytes) -> bool:
        """:return: whether it matches *path* or a directory above it."""
        return path.startswith(self._prefix) and self.run(path)[0]

    def run(self, path: bytes) -> tuple[bool, int]:
        """:return: as `matches`; and the states after *path*, 0 if nothing behind it can match."""
        automaton, states = self._automaton, 1  # no token has matched yet
        for byte in path:
            if byte == _SLASH and states & automaton.final:
                return True, states
            states = automaton.step(states, byte)
            if not states:
                return False, 0
        return bool(states & automaton.final), states


class Glob:
    """
    One rule.

    :param glob: bytes, absolute, beneath a root.
    :raise ValueError: it is not a valid rule; the text says why.
    """

    __slots__ = ("_folded", "_lower", "is_below", "raw")

    def __init__(self, glob: bytes) -> None:
        #: The rule as it was given.
        self.raw = glob
        lower = _normal(glob)
        #: Whether the rule ends in ``/**``: it hides what is below the named path.
        self.is_below = glob.removesuffix(b"/").endswith(b"/**") and lower != b"/**"
        self._lower = self._folded = _Pattern(lower)
        if not lower.isascii():
            self._folded = _Pattern(folded(lower))
        if not any(self.may_reach(root) for root in ROOTS):
            raise ValueError(_sentence(glob, "must be under " + _named(ROOTS)))

    def __repr__(self) -> str:
        return f"Glob({self.raw!r})"

    def matches(self, lower: bytes, fold: bytes) -> bool:
        """
        :param lower: a virtual path in bytes, with its ASCII letters in lower case.
        :param fold: the path in the form of `chatfiles.rules.name_folding.folded`.
        :return: whether the rule matches the path or a directory above it.
        """
        # Both: "?" may match a character that folding makes two of.
        if self._lower.matches(lower):
            return True
        same = self._folded is self._lower and fold == lower
        return not same and self._folded.matches(fold)

    def may_reach(self, directory: bytes) -> bool:
        """:return: whether the rule may match a virtual path, or one below or above it."""
        forms = (self._lower, directory.lower()), (self._folded, folded(directory))
        return any(
            matched or states
            for matched, states in (pattern.run(form + b"/") for pattern, form in forms)
        )


class DenyRules:
    """
    The rules of a workspace: `DEFAULT_GLOBS` and those of its operator.

    :param extra: globs, bytes (the values of ``--deny``).
    :raise ValueError: one is not a valid rule; the text says which and why.
    """

    __slots__ = ("globs",)

    def __init__(self, extra: Iterable[bytes] = ()) -> None:
        self.globs: tuple[Glob, ...] = tuple(Glob(glob) for glob in (*DEFAULT_GLOBS, *extra))

    def concern(self, directory: bytes) -> bool:
        """
        :param directory: a virtual path.
        :return: whether a rule may hide *directory* or a path below it.
        """
        return any(glob.may_reach(directory) for glob in self.globs)

    def concern_below(self, directory: bytes) -> bool:
        """
        :param directory: a virtual path.
        :return: whether a rule that does not apply everywhere may deny a path below *directory*.
        """
        return any(
            glob.may_reach(directory) for glob in self.globs if not glob.raw.startswith(b"/**/")
        )

    def denies(self, raw: bytes) -> bool:
        """
        :param raw: a valid virtual path.
        :return: whether it is treated as a missing file.
        """
        lower, fold = raw.lower(), folded(raw)
        return _PARTIAL_SEGMENT in fold or any(glob.matches(lower, fold) for glob in self.globs)

    def hides(self, raw: bytes) -> bool:
        """
        :param raw: a valid virtual path.
        :return: as `denies`, but false for the path that a rule ``path/**`` names: it is listed.
        """
        lower, fold = raw.lower(), folded(raw)
        above = lower.rpartition(b"/")[0], fold.rpartition(b"/")[0]
        return _PARTIAL_SEGMENT in fold or any(
            glob.matches(*(above if glob.is_below else (lower, fold))) for glob in self.globs
        )


def _normal(glob: bytes) -> bytes:
    """:return: the rule in lower case, without a trailing slash or ``/**``, which add nothing."""
    if not glob.startswith(b"/"):
        raise ValueError(_sentence(glob, "must be absolute (begin with a slash)"))
    if b"\0" in glob:
        raise ValueError(_sentence(glob, "must not contain a NUL"))
    if len(glob) > MAX_GLOB:
        raise ValueError(_sentence(glob[:64], f"must not be longer than {MAX_GLOB} bytes"))
    if any(byte in _UNSUPPORTED for byte in glob):
        raise ValueError(_sentence(glob, "may use only *, ** and ?; write ? for one of []{}\\"))
    segments = glob.lower().removesuffix(b"/").split(b"/")[1:]
    if any(segment in (b"", b".", b"..") for segment in segments):
        raise ValueError(_sentence(glob, "has an empty, . or .. segment, which no path has"))
    while len(segments) > 1 and segments[-1] == b"**":
        segments.pop()
    kept: list[bytes] = []
    for segment in segments:
        if not (segment == b"**" and kept and kept[-1] == b"**"):
            kept.append(segment)
    return b"/" + b"/".join(kept)


def _sentence(glob: bytes, problem: str) -> str:
    return f"deny rule {glob.decode('utf-8', 'replace')!a} {problem}"


def _named(roots: Iterable[bytes]) -> str:
    names = [root.decode("ascii") for root in roots]
    return ", ".join(names[:-1]) + ", or " + names[-1]
