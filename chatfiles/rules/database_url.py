"""
Pure: what ``--database`` may be, as far as it has to be known before anything is opened.
"""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

__all__ = [
    "EXPOSED",
    "POSTGRES_SCHEMES",
    "absolute_database",
    "has_password",
    "without_password",
]

#: How a URL of PostgreSQL begins.
POSTGRES_SCHEMES = ("postgresql://", "postgres://")

#: What is said of a password on the command line.
EXPOSED = (
    "--database has a password on the command line, where every user of the machine can read it: "
    "set CHATFILES_DATABASE to the whole URL instead, or PGPASSWORD, or use ~/.pgpass"
)

# As libpq reads it: a user, if any, ends at the first @, and that before the first slash.
_PASSWORD = re.compile(r"[^:@/]*:[^@/]")
_USER = re.compile(r"\A[^@/]*@")
# The name of one that has a value; where they begin is left open, since hosts may hold a ?.
_PARAMETER = re.compile(r"[?&]([^?&=]*)=(?=[^&])")
_SECRETS = frozenset({"password", "sslpassword"})


def absolute_database(database: str) -> str:
    """
    :param database: the option's value.
    :return: it, with the path of a file made absolute: ``twistd`` may change its directory later.
    """
    kind, _, path = database.partition(":")
    return f"sqlite:{os.path.abspath(path)}" if kind == "sqlite" and path else database


def has_password(database: str) -> bool:
    """
    :param database: the option's value.
    :return: whether it is a URL of PostgreSQL that holds a password.
    """
    _, rest = _split(database)
    if rest is None:
        return False
    user = _USER.match(rest)
    if user is not None and _PASSWORD.match(user[0]):
        return True
    return any(unquote(name) in _SECRETS for name in _PARAMETER.findall(rest))


def without_password(database: str) -> str:
    """
    :param database: the option's value.
    :return: it, fit for people and logs: of a URL of PostgreSQL, only where it leads to.
    """
    scheme, rest = _split(database)
    if rest is None:
        return database
    rest = _USER.sub("", rest, count=1)
    # An @ left over says that somebody has not escaped a slash, perhaps one of the password.
    return scheme + ("…" if "@" in rest else rest.partition("?")[0])


def _split(database: str) -> tuple[str, str | None]:
    """:return: the scheme of a URL of PostgreSQL, and what follows; ``None`` if it is none."""
    for scheme in POSTGRES_SCHEMES:
        if database.startswith(scheme):
            return scheme, database[len(scheme) :]
    return "", None
