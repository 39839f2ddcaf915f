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
from chatfiles.rules.log_json import json_line, log_time

__all__ = ["audit_line", "refused_line", "version_of"]

_OF_VERSION: Final = (200, 206, 304)
_LINE: Final = re.compile(rb"(ETag|Content-Length|Content-Range|Repr-Digest): ([^\r]*)\r\n")
_CONTENT_RANGE: Final = re.compile(rb"bytes ([0-9]+-[0-9]+)/([0-9]+)")
_SHA256: Final = re.compile(rb"sha-256=:([A-Za-z0-9+/=]{44}):")
_PLATFORM: Final = {"kind": "platform"}


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
    values = _beginning(event, operation, node, moment)
    values["actor"] = _actor(event.actor) if role == "platform" else _PLATFORM
    values |= event.touched
    if event.status in _OF_VERSION and operation == "download":
        values |= version_of(event.fields, event.status)
    values["bytes"] = moved
    return _end(values, event)


def refused_line(event: TransferEnded, node: str, moment: float, client: str, count: int) -> str:
    """
    :param event: the last of some requests whose credential was refused.
    :param client: that has sent them.
    :param count: how many they were.
    :return: the line; it has nothing of the credential.
    """
    values = _beginning(event, "login.refused", node, moment)
    values |= {"actor": None, "client": client, "count": count}
    return _end(values, event)


def _beginning(event: TransferEnded, operation: str, node: str, moment: float) -> dict[str, Any]:
    values: dict[str, Any] = {
        "time": log_time(moment),
        "node": node,
        "request_id": event.request_id,
        "client": event.client,
        "workspace": event.workspace,
        "operation": operation,
    }
    if event.trace_id:
        values["trace_id"] = event.trace_id
    return values


def _end(values: dict[str, Any], event: TransferEnded) -> str:
    values["status"] = event.status
    values["outcome"] = event.outcome
    values["seconds"] = round(event.seconds, 6)
    return json_line(values)


def _actor(actor: Actor | None) -> Mapping[str, str | None] | None:
    if actor is None:
        return None
    return {name: value or None for name, value in zip(Actor._fields, actor, strict=True)}


def version_of(fields: ResponseFields, status: int) -> Mapping[str, Any]:
    """
    :param fields: the headers of a response with a file.
    :param status: of the response.
    :return: the version of the file, and which part of it, as fields of the audit log.
    """
    if isinstance(fields, bytes):
        return _version_of_lines(fields, status)
    return _version_of(fields, status)


@lru_cache(1024)  # the fast path sends equal lines again and again
def _version_of_lines(lines: bytes, status: int) -> Mapping[str, Any]:
    return _version_of(dict(_LINE.findall(lines)), status)


def _version_of(fields: Mapping[bytes, bytes], status: int) -> Mapping[str, Any]:
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
