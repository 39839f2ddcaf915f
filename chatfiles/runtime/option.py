"""
The form in which the options of ``twistd chatfiles`` are listed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Option"]


@dataclass(frozen=True, slots=True)
class Option:
    """
    One option.

    :param name: its name, without ``--``.
    :param roles: the roles that have it.
    :param help: its text in ``--help``.
    :param parse: makes its value from text, or raises `InvalidValue`.
    :param default: its text if it is not given; ``None`` for no value.
    :param many: whether it may be given more than once.  The variable in the environment has one
        value on each line.
    """

    name: str
    roles: tuple[str, ...]
    help: str
    parse: Callable[[str], Any]
    default: str | None = None
    many: bool = False
