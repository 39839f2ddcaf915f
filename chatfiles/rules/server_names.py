"""
Which certificate serves a name that a client asks for (SNI, RFC 6066, 3).
"""

from __future__ import annotations

from collections.abc import Container

__all__ = ["DEFAULT", "find_name"]

#: The name of the certificate for clients that send no name, or one that no other serves.
DEFAULT = "default"
#: Stands for the ``*`` of a wildcard, which is awkward in the name of a file.
_WILDCARD = "_"


def find_name(requested: bytes | None, known: Container[str]) -> str:
    """
    :param requested: the name that the client has sent; ``None`` without one.
    :param known: names in lower case, such as ``files.example.com``; ``_.example.com`` serves
        every name with one label more.
    :return: the known name that serves it: the same one, else the wildcard, else `DEFAULT`.
    """
    try:
        name = (requested or b"").decode("ascii").lower()
    except UnicodeDecodeError:
        return DEFAULT
    label, _, parent = name.partition(".")
    if name in known:
        return name
    wildcard = f"{_WILDCARD}.{parent}"
    return wildcard if label and wildcard in known else DEFAULT
