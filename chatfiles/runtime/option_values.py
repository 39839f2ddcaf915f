"""
The values that options take, from their text.

Each function raises `InvalidValue` if the text is not valid; its own text follows "takes".
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from chatfiles.model import parse_uuid
from chatfiles.rules import cross_origin, writable_prefixes
from chatfiles.rules.urls import parse_base_url, parse_workspace_url
from chatfiles.rules.virtual_paths import ROOTS
from chatfiles.runtime.workers.load import MOST_WORKERS

__all__ = [
    "PLATFORM",
    "WORKSPACE",
    "InvalidValue",
    "base_url",
    "count",
    "count_or_none",
    "log_format",
    "on_or_off",
    "origin",
    "prefix",
    "public_url",
    "role",
    "root",
    "seconds",
    "seconds_or_none",
    "size",
    "size_or_none",
    "switch",
    "text",
    "uuid",
    "workers",
    "workspace_url",
]

PLATFORM, WORKSPACE = "platform", "workspace"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})


class InvalidValue(ValueError):
    """An option has an invalid value; the text describes the valid values."""


def text(value: str) -> str:
    """:return: the text, which is not empty."""
    if not value:
        raise InvalidValue("a value that is not empty")
    return value


def size(value: str) -> int:
    """:return: bytes; ``K``, ``M`` and ``G`` behind the number are powers of 1024."""
    match = re.fullmatch(r"([0-9]{1,15})([KMG]?)", value, re.IGNORECASE | re.ASCII)
    if match is None or not int(match[1]):
        raise InvalidValue("a whole number of bytes, such as 104857600, or 100M")
    return int(match[1]) << 10 * " KMG".index(match[2].upper() or " ")


def size_or_none(value: str) -> int:
    """:return: bytes as `size`; 0 switches something off."""
    return 0 if value == "0" else size(value)


def origin(value: str) -> bytes:
    """:return: an origin, as browsers send it."""
    try:
        return cross_origin.origin(value)
    except ValueError as error:
        raise InvalidValue(str(error)) from None


def count(value: str) -> int:
    """:return: a number, more than 0."""
    if not re.fullmatch(r"[0-9]{1,15}", value, re.ASCII) or not int(value):
        raise InvalidValue("a whole number greater than 0, such as 100")
    return int(value)


def count_or_none(value: str) -> int:
    """:return: a number; 0 for no limit."""
    if not re.fullmatch(r"[0-9]{1,15}", value, re.ASCII):
        raise InvalidValue("a whole number, such as 20, or 0 for no limit")
    return int(value)


def workers(value: str) -> int:
    """:return: a number of processes."""
    if not re.fullmatch(r"[0-9]{1,3}", value, re.ASCII) or not 1 <= int(value) <= MOST_WORKERS:
        raise InvalidValue(f"a number of processes from 1 to {MOST_WORKERS}")
    return int(value)


def seconds(value: str) -> float:
    """:return: seconds, more than 0."""
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", value) or not float(value):
        raise InvalidValue("a number of seconds greater than 0, such as 30")
    return float(value)


def seconds_or_none(value: str) -> float:
    """:return: seconds, at least 0."""
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", value):
        raise InvalidValue("a number of seconds, such as 5, or 0")
    return float(value)


def switch(value: str) -> bool:
    """:return: whether a flag is on."""
    if value.lower() not in _TRUE | _FALSE:
        raise InvalidValue("nothing on the command line; 1 or 0 in the environment")
    return value.lower() in _TRUE


def role(value: str) -> str:
    """:return: the role."""
    if value not in (PLATFORM, WORKSPACE):
        raise InvalidValue("platform or workspace")
    return value


def uuid(value: str) -> str:
    """:return: the UUID in lower case."""
    if parse_uuid(value) is None:
        raise InvalidValue("a UUID, such as 5f0f1f0c-9b4e-4a43-9d0e-3a8f5f4b7f10")
    return value.lower()


def base_url(value: str) -> str:
    """:return: the base URL of a platform, as it was given."""
    return _url(value, parse_base_url, "https://files.example.com")


def _url(value: str, parse: Callable[[str], object], example: str) -> str:
    try:
        parse(value)
    except ValueError as error:
        raise InvalidValue(f"a URL, such as {example}: {error}") from None
    return value


def public_url(value: str) -> str:
    """:return: the base URL of a platform, without a final slash."""
    return parse_base_url(base_url(value))


def workspace_url(value: str) -> str:
    """:return: the URL of a workspace, as it was given."""
    return _url(value, parse_workspace_url, "http://10.0.0.7:8000")


def log_format(value: str) -> str:
    """:return: the format of the log."""
    if value not in ("text", "json"):
        raise InvalidValue("text or json")
    return value


def on_or_off(value: str) -> bool:
    """:return: whether it is ``on``."""
    if value not in ("on", "off"):
        raise InvalidValue("on or off")
    return value == "on"


def prefix(value: str) -> bytes:
    """:return: the virtual path of a directory."""
    try:
        return writable_prefixes.prefix(os.fsencode(value))
    except ValueError as error:
        raise InvalidValue(str(error)) from None


def root(value: str) -> tuple[bytes, str]:
    """:return: a root, and the absolute path of its directory."""
    virtual, equals, directory = value.partition("=")
    if os.fsencode(virtual) not in ROOTS or not equals or not directory:
        names = ", ".join(os.fsdecode(name) for name in ROOTS)
        raise InvalidValue(f"ROOT=DIRECTORY, such as /workspace=/srv/ws1; ROOT is one of {names}")
    return os.fsencode(virtual), os.path.abspath(directory)
