"""
The lines of the audit log (reference/audit, "Fields").
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from chatfiles.http.server.observers import Actor, ResponseFields, TransferEnded
from chatfiles.rules.log_json import json_line, log_time, quoted

__all__ = ["audit_line", "refused_line", "version_of"]

_OF_VERSION: Final = (200, 206, 304)
#: Of a write; its ``Content-Length`` is that of the JSON in the response, not of the file.
_WRITTEN, _NO_SIZE = (200, 201), 201
_LINE: Final = re.compile(rb"(ETag|Content-Length|Content-Range|Repr-Digest): ([^\r]*)\r\n")
_CONTENT_RANGE: Final = re.compile(rb"bytes ([0-9]+-[0-9]+)/([0-9]+)")
_SHA256: Final = re.compile(rb"sha-256=:([A-Za-z0-9+/]{43}=):")
_PLATFORM: Final = '{"kind":"platform"}'


def audit_line(
    event: TransferEnded, operation: str, node: str, moment: float, moved: int, role: str
) -> str:
    """
    :param event: the end of an operation.
    :param operation: its name.
    :param node: the name of this machine.
    :param moment: when it ended, in seconds since the epoch.
    :param moved: bytes that the other end has acknowledged.
    :param role: ``platform`` or ``workspace``.
    :return: the line.
    """
    actor = _actor(event.actor) if role == "platform" else _PLATFORM
    members = _members_of(event.touched)
    if event.status in _OF_VERSION and operation == "download":
        members += _version_members(event.fields, event.status)
    elif event.status in _WRITTEN and operation == "write":
        members += _version_members(event.fields, _NO_SIZE)
    beginning = _beginning(event, operation, node, moment)
    return f'{beginning},"actor":{actor}{members},"bytes":{moved},{_end(event)}'


def refused_line(event: TransferEnded, node: str, moment: float, client: str, count: int) -> str:
    """
    :param event: the last of some requests whose credential was refused.
    :param client: that has sent them.
    :param count: how many they were.
    :return: the line; it has nothing of the credential.
    """
    beginning = _beginning(event._replace(client=client), "login.refused", node, moment)
    return f'{beginning},"actor":null,"count":{count},{_end(event)}'


# Lines are formatted here: to encode a dictionary takes several times as long as all else.


def _beginning(event: TransferEnded, operation: str, node: str, moment: float) -> str:
    trace = f',"trace_id":{quoted(event.trace_id)}' if event.trace_id else ""
    return (
        f'{{"time":"{log_time(moment)}","node":{quoted(node)},'
        f'"request_id":{quoted(event.request_id)},"client":{quoted(event.client)},'
        f'"workspace":{quoted(event.workspace)},"operation":"{operation}"{trace}'
    )


def _end(event: TransferEnded) -> str:
    return (
        f'"status":{event.status},"outcome":{quoted(event.outcome)},"seconds":{event.seconds:.6f}}}'
    )


@lru_cache(1024)  # a token is used many times
def _actor(actor: Actor | None) -> str:
    if actor is None:
        return "null"
    pairs = zip(Actor._fields, actor, strict=True)
    return json_line({name: value or None for name, value in pairs})


def _members_of(touched: Mapping[str, Any]) -> str:
    """:return: *touched* as members of an object, each with a comma before it."""
    ref = touched.get("ref")
    if len(touched) == 1 and ref is not None:
        return f',"ref":{quoted(ref)}'
    return _members(touched)


def _members(values: Mapping[str, Any]) -> str:
    return f",{json_line(values)[1:-1]}" if values else ""


def _version_members(fields: ResponseFields, status: int) -> str:
    if isinstance(fields, bytes):
        return _members_of_lines(fields, status)
    return _members(version_of(fields, status))


@lru_cache(1024)  # the fast path sends equal lines again and again
def _members_of_lines(lines: bytes, status: int) -> str:
    return _members(version_of(lines, status))


def version_of(fields: ResponseFields, status: int) -> Mapping[str, Any]:
    """
    :param fields: the headers of a response with a file.
    :param status: of the response.
    :return: the version of the file, and which part of it, as fields of the audit log.
    """
    if isinstance(fields, bytes):
        fields = dict(_LINE.findall(fields))
    found: dict[str, Any] = {}
    if (etag := fields.get(b"ETag")) is not None:
        found["version"] = etag.decode("latin-1")
    part = _CONTENT_RANGE.fullmatch(fields.get(b"Content-Range", b""))
    if part is not None and status == 206:
        found |= {"range": f"bytes={part[1].decode()}", "size": int(part[2])}
    elif status == 200 and (length := fields.get(b"Content-Length")) is not None:
        found["size"] = int(length)
    if (digest := _SHA256.fullmatch(fields.get(b"Repr-Digest", b""))) is not None:
        found["sha256"] = b64decode(digest[1]).hex()
    return found
