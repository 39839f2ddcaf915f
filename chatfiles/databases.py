"""
Pure: what ``--database`` may be, as far as it has to be known before anything is opened.
"""

from __future__ import annotations

import os
import re
from urllib.parse import unquote

__all__ = ["EXPOSED", "POSTGRES_SCHEMES", "absolute_database", "has_password"]

#: How a URL of PostgreSQL begins.
POSTGRES_SCHEMES = ("postgresql://", "postgres://")

#: What is said of a password on the command line.
EXPOSED = (
    "--database has a password on the command line, where every user of the machine can read it: "
    "set CHATFILES_DATABASE to the whole URL instead, or PGPASSWORD, or use ~/.pgpass"
)

# As libpq reads it: a user, if any, ends at the first @, and that before the first slash.
_PASSWORD = re.compile(r"[^:@/]*:[^@/]")
_USER = re.compile(r"[^@/]*@")
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
    scheme = next((each for each in POSTGRES_SCHEMES if database.startswith(each)), None)
    if scheme is None:
        return False
    rest = database[len(scheme) :]
    user = _USER.match(rest)
    if user is not None and _PASSWORD.match(user[0]):
        return True
    return any(unquote(name) in _SECRETS for name in _PARAMETER.findall(rest))
