"""
Rules for the value of ``--database`` that apply before a database is opened.
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

#: The prefixes of a PostgreSQL URL.
POSTGRES_SCHEMES = ("postgresql://", "postgres://")

#: The warning about a password on the command line.
EXPOSED = (
    "--database has a password on the command line, where every user of the machine can read it: "
    "set CHATFILES_DATABASE to the whole URL instead, or PGPASSWORD, or use ~/.pgpass"
)

# As in libpq: the user name and password end at the first @, which precedes the first slash.
_PASSWORD = re.compile(r"[^:@/]*:[^@/]")
_USER = re.compile(r"\A[^@/]*@")
# The name of a parameter that has a value.  It may follow any ?, because a host may contain one.
_PARAMETER = re.compile(r"[?&]([^?&=]*)=(?=[^&])")
_SECRETS = frozenset({"password", "sslpassword"})


def absolute_database(database: str) -> str:
    """
    :param database: the option's value.
    :return: the value, with an absolute path if it names a file: ``twistd`` may change its
        directory later.
    """
    kind, _, path = database.partition(":")
    return f"sqlite:{os.path.abspath(path)}" if kind == "sqlite" and path else database


def has_password(database: str) -> bool:
    """
    :param database: the option's value.
    :return: whether it is a PostgreSQL URL that contains a password.
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
    :return: the value in a form for people and logs.  Of a PostgreSQL URL, only the scheme, the
        host and the database remain.
    """
    scheme, rest = _split(database)
    if rest is None:
        return database
    rest = _USER.sub("", rest, count=1)
    # Another @ means that a slash was not escaped, and it may be part of the password.
    return scheme + ("…" if "@" in rest else rest.partition("?")[0])


def _split(database: str) -> tuple[str, str | None]:
    """:return: the prefix of a PostgreSQL URL, and the rest; ``None`` as the rest of any other."""
    for scheme in POSTGRES_SCHEMES:
        if database.startswith(scheme):
            return scheme, database[len(scheme) :]
    return "", None
