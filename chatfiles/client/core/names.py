"""
What the program gives: paths, the token, the workspace, conditions.  Each is checked before a
request is sent (reference/client, "Paths" and "Connection").
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes
from uuid import UUID

from chatfiles.client.core.errors import BadAnswer
from chatfiles.model import parse_uuid

__all__ = [
    "VirtualPath",
    "condition",
    "environment_options",
    "from_reference",
    "last_segment",
    "path_bytes",
    "path_text",
    "read_token",
    "reference",
    "required",
    "route",
    "workspace_id",
]

#: A path in a workspace, as a program gives it.
VirtualPath = str | bytes | PurePosixPath

#: Maximum bytes of a file with a token.
_TOKEN_FILE_LIMIT = 64 * 1024
_TOKEN = re.compile(r"[\x21-\x7e]+")
_CONDITION = re.compile(r"[\x20-\x7e]*[\x21-\x7e][\x20-\x7e]*")


def path_bytes(path: VirtualPath) -> bytes:
    """
    :param path: a name, not a URL; in text, surrogates are bytes that are not UTF-8.
    :return: the path in bytes.
    :raise ValueError: it is not absolute, has a NUL, or has surrogates that are no bytes.
    :raise TypeError: it is nothing of the kind.
    """
    if isinstance(path, PurePosixPath):
        path = str(path)
    if isinstance(path, str):
        path = path.encode("utf-8", "surrogateescape")
    if not isinstance(path, bytes):
        raise TypeError(f"a path is str, bytes or PurePosixPath, not {type(path).__name__}")
    if not path.startswith(b"/"):
        raise ValueError("a path in a workspace must begin with /")
    if b"\0" in path:
        raise ValueError("a path must not have a NUL")
    return path


def path_text(path: bytes) -> str:
    """:return: a path or name as results have it, in any locale."""
    return path.decode("utf-8", "surrogateescape")


def reference(path: bytes) -> str:
    """:return: *path*, percent-encoded but for unreserved characters and slashes."""
    return quote_from_bytes(path, safe="/")


def from_reference(text: str) -> bytes:
    """
    :return: the path in bytes of a ``ref`` in a response.
    :raise BadAnswer: *text* is not Unicode.
    """
    try:
        return unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise BadAnswer("the response has a path that is not text") from error


def last_segment(path: bytes) -> bytes:
    """
    :return: the name of the file.
    :raise ValueError: the path does not end in a name.
    """
    name = path.rpartition(b"/")[2]
    if name in (b"", b".", b".."):
        raise ValueError("the path does not end in the name of a file")
    return name


def route(
    workspace: str, operation: str, path: bytes | None = None, **parameters: str | int | None
) -> str:
    """
    :param workspace: its id.
    :param operation: such as ``fs/entries``.
    :param path: the virtual path; ``None`` if the operation has none in its query.
    :param parameters: more of the query; those that are ``None`` are left out.
    :return: the route below the base URL.
    """
    query = [] if path is None else [f"path={reference(path)}"]
    query += [f"{key}={quote(str(v))}" for key, v in parameters.items() if v is not None]
    return f"/workspaces/{workspace}/{operation}" + ("?" + "&".join(query) if query else "")


def read_token(token: str | os.PathLike[str]) -> str:
    """
    :param token: the token, or the path of a file with it.
    :return: it without a final line end.
    :raise ValueError: it is empty, or has characters other than visible ASCII; the text does not
        contain it.
    :raise OSError: the file cannot be read.
    """
    if isinstance(token, os.PathLike):
        with open(token, "rb") as file:
            token = file.read(_TOKEN_FILE_LIMIT).decode("latin-1")
    if not isinstance(token, str):
        raise TypeError("a token is text, or the Path of a file with it")
    token = token.removesuffix("\n").removesuffix("\r")
    if not _TOKEN.fullmatch(token):
        raise ValueError("a token consists of at least one visible ASCII character, and no others")
    return token


def workspace_id(workspace: UUID | str) -> str:
    """
    :return: the id as routes have it.
    :raise ValueError: it is not a UUID.
    """
    found = workspace if isinstance(workspace, UUID) else parse_uuid(str(workspace))
    if found is None:
        raise ValueError("a workspace is a UUID, such as 3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d")
    return str(found)


def condition(if_match: str | None, *, if_absent: bool = False) -> dict[str, str]:
    """
    :param if_match: entity tags with their quotation marks, or ``*``.
    :param if_absent: whether nothing may be there.
    :return: the headers.
    :raise ValueError: both are given, or it cannot be a header.
    """
    if if_absent and if_match is not None:
        raise ValueError("if_match and if_absent exclude each other")
    if if_absent:
        return {"If-None-Match": "*"}
    if if_match is None:
        return {}
    if not _CONDITION.fullmatch(if_match):
        raise ValueError("if_match is an entity tag with its quotation marks")
    return {"If-Match": if_match.strip()}


def environment_options(environ: Mapping[str, str]) -> dict[str, Any]:
    """
    :param environ: the environment.
    :return: the arguments of a client that it has: ``base_url``, ``token``, ``workspace``, ``ca``.
    """
    found: dict[str, Any] = {}
    if file := environ.get("CHATFILES_TOKEN_FILE"):
        found["token"] = Path(file)
    for name, variable in (
        ("base_url", "CHATFILES_PLATFORM"),
        ("token", "CHATFILES_TOKEN"),
        ("workspace", "CHATFILES_WORKSPACE"),
    ):
        if value := environ.get(variable):
            found[name] = value
    if ca := environ.get("CHATFILES_CA"):
        found["ca"] = Path(ca)
    return found


def required(found: Mapping[str, object]) -> None:
    """
    :param found: the arguments of a client.
    :raise ValueError: one is missing; the text names its variable.
    """
    for name, variable in (
        ("base_url", "CHATFILES_PLATFORM"),
        ("token", "CHATFILES_TOKEN or CHATFILES_TOKEN_FILE"),
        ("workspace", "CHATFILES_WORKSPACE"),
    ):
        if name not in found:
            raise ValueError(f"{variable} is not set in the environment")
