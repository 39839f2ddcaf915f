"""
The environment variables of both roles (reference/options, "Command line and environment").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final

__all__ = ["misspelt", "variable"]

_PREFIX: Final = "CHATFILES_"
#: Variables that are no options: of the roles, the ``chatfiles`` command and the client library.
_OTHERS: Final = (
    "ADMIN_TOKEN", "CA", "NODE_DIRECTORY", "TIMEOUT", "TOKEN", "TOKEN_FILE", "WORKER",
    "WORKSPACE",
)  # fmt: skip
#: How much two names have to be alike (`difflib.SequenceMatcher.ratio`).  Kubernetes adds variables
#: with the names of its services, such as ``CHATFILES_PLATFORM_PORT``: with less, they would count.
_ALIKE: Final = 0.8


def variable(option: str) -> str:
    """
    :param option: the name of an option, such as ``audit-log``.
    :return: its variable.
    """
    return _PREFIX + _upper(option)


def misspelt(environment: Iterable[str], options: Iterable[str]) -> Mapping[str, str]:
    """
    :param environment: the names of variables.
    :param options: the names of all options.
    :return: variables that are not known but are like one that is → that one.
    """
    known = [*map(_upper, options), *_OTHERS]
    ours = [each.removeprefix(_PREFIX) for each in environment if each.startswith(_PREFIX)]
    found = {name: get_close_matches(name, known, 1, _ALIKE) for name in ours if name not in known}
    return {_PREFIX + name: _PREFIX + near for name, nears in found.items() for near in nears}


def _upper(option: str) -> str:
    return option.upper().replace("-", "_")
