"""
Reads responses: errors, JSON, and the values in it.  Nothing in a response is trusted.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Container
from datetime import datetime
from typing import Any

from chatfiles.client.core.errors import BadAnswer, ClientError, refused_class
from chatfiles.client.core.names import from_reference, path_bytes, path_text
from chatfiles.client.core.retries import Retries
from chatfiles.client.core.steps import Receive, Request, Response, Send, Steps
from chatfiles.client.core.values import Entry
from chatfiles.rules.http_dates import parse_http_date

__all__ = [
    "JSON_LIMIT",
    "LIST_LIMIT",
    "as_object",
    "as_path",
    "ask_json",
    "header",
    "integer",
    "listed_path",
    "parse_entry",
    "parse_json",
    "read_json",
    "refusal",
    "text",
]

#: Maximum bytes of a JSON response that is a list, of any other one, and of an error's.
LIST_LIMIT, JSON_LIMIT, ERROR_LIMIT = 64 * 1024 * 1024, 1024 * 1024, 64 * 1024
#: Maximum characters of an error's text, code and request id.
TEXT_LIMIT = 2000

_SECONDS = re.compile(r"[0-9]{1,9}")
_MODE = re.compile(r"[0-7]{4}")
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})\.([0-9]{9})Z")
_ETAG = re.compile(r'(W/)?"[\x21\x23-\x7e]*"')
_TYPES = ("file", "directory", "symlink")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def header(response: Response, name: str) -> str:
    """:return: the value of a header; empty if it is absent or repeated."""
    values = response.values(name)
    return values[0].strip() if len(values) == 1 else ""


# -- requests


def ask_json(
    request: Request,
    expected: Container[int],
    retries: Retries,
    now: Callable[[], float],
    limit: int = JSON_LIMIT,
) -> Steps[tuple[Response, Any]]:
    """
    Send a request, if it fails and is repeatable several times, and read a JSON response.

    :param expected: the statuses of success.
    :param now: returns seconds since the epoch.
    :param limit: maximum bytes of the response.
    :return: the response, which is closed, and its JSON value; ``None`` for 204.
    """
    while True:
        try:
            with (yield Send(request)) as response:
                if response.status not in expected:
                    raise (yield from refusal(response, now()))
                value = None if response.status == 204 else (yield from read_json(response, limit))
                return response, value
        except ClientError as error:
            if not request.repeatable:
                raise
            yield from retries.again(error)


def read_json(response: Response, limit: int = JSON_LIMIT) -> Steps[Any]:
    """
    :param limit: maximum bytes of the body.
    :return: the JSON value of the body.
    :raise BadAnswer: it has none.
    """
    return parse_json((yield from _read(response, limit)))


def parse_json(data: bytes | bytearray) -> Any:
    """
    :return: a JSON value.
    :raise BadAnswer: *data* is not JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadAnswer("the response is not JSON") from error


def _read(response: Response, limit: int) -> Steps[bytearray]:
    data = bytearray()
    while piece := (yield Receive(response)):
        data += piece
        if len(data) > limit:
            raise BadAnswer("the response is too long")
    return data


# -- errors


def refusal(response: Response, now: float) -> Steps[ClientError]:
    """
    :param response: its status is not one of success; the body is read here.
    :param now: seconds since the epoch.
    :return: the error to raise.
    """
    status = response.status
    if 300 <= status < 400:
        text = f"the response is a redirect ({status}), which is not followed"
        return BadAnswer(text, location=header(response, "Location"))
    if status < 400:
        return BadAnswer(f"the response has status {status}, which does not belong here")
    said = yield from _said(response)
    request_id = _short(said.get("request_id")) or _short(header(response, "X-Request-Id"))
    error, code = _short(said.get("error")), _short(said.get("code"))
    shown = error or f"the platform responded {status} {response.reason}".rstrip()
    where = ", ".join(filter(None, (code, request_id and f"request {request_id}")))
    return refused_class(status)(
        _CONTROL.sub("?", shown + (f" ({where})" if where else "")),
        status=status,
        code=code,
        text=error,
        request_id=request_id,
        retry_after=_retry_after(said, response, now),
        detail=said.get("detail"),
    )


def _said(response: Response) -> Steps[dict[str, Any]]:
    """:return: the JSON object of an error; empty if there is none, or it is incomplete."""
    data = bytearray()
    try:
        while len(data) <= ERROR_LIMIT and (piece := (yield Receive(response))):
            data += piece
        value = None if len(data) > ERROR_LIMIT else parse_json(data)
    except ClientError:  # the status alone says what happened
        return {}
    return value if isinstance(value, dict) else {}


def _short(value: object) -> str | None:
    return value[:TEXT_LIMIT] if isinstance(value, str) and value else None


def _retry_after(said: dict[str, Any], response: Response, now: float) -> float | None:
    """:return: seconds (RFC 9110, 10.2.3)."""
    value = header(response, "Retry-After")
    if _SECONDS.fullmatch(value):
        return int(value)
    when = parse_http_date(value.encode("latin-1", "replace"), int(now))
    if when is not None:
        return max(0.0, when - now)
    seconds = said.get("retry_after_seconds")
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        return None
    return seconds if 0 <= seconds < 10**9 else None


# -- values


def as_object(value: object) -> dict[str, Any]:
    """
    :return: *value*.
    :raise BadAnswer: it is not a JSON object.
    """
    if not isinstance(value, dict):
        raise BadAnswer("the response is not a JSON object")
    return value


def text(value: dict[str, Any], key: str) -> str:
    """
    :return: the text that a member has.
    :raise BadAnswer: it has none.
    """
    found = value.get(key)
    if not isinstance(found, str):
        raise BadAnswer(f"the response has no text as {key}")
    return found


def integer(value: dict[str, Any], key: str) -> int:
    """
    :return: the number that a member has, 0 or greater.
    :raise BadAnswer: it has none.
    """
    found = value.get(key)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 2**63:
        raise BadAnswer(f"the response has no number as {key}")
    return found


def as_path(value: str) -> str:
    """
    :return: *value*, which a request can name.
    :raise BadAnswer: it is no path.
    """
    try:
        path_bytes(value)
    except ValueError as error:
        raise BadAnswer("the response has a path that is none") from error
    return value


def listed_path(value: dict[str, Any]) -> str:
    """:return: the path that a ``ref`` names."""
    return path_text(from_reference(text(value, "ref")))


def parse_entry(value: object) -> Entry:
    """
    :param value: a JSON value of a listing.
    :return: the entry.  Its name is one segment of a path, so that it can be joined to a directory.
    :raise BadAnswer: it is not an entry.
    """
    entry = as_object(value)
    path, name = from_reference(text(entry, "ref")), _name(entry)
    segments = path.split(b"/")
    has_dots = not {b".", b".."}.isdisjoint(segments)
    if segments[-1] != name or not name or has_dots or b"\0" in path:
        raise BadAnswer("an entry has a name that does not belong to its path")
    try:
        return _entry(path, name, entry)
    except BadAnswer as error:
        shown = _CONTROL.sub("?", name.decode("utf-8", "backslashreplace"))
        raise BadAnswer(f"the entry {shown} is malformed: {error}") from error


def _entry(path: bytes, name: bytes, entry: dict[str, Any]) -> Entry:
    kind, error = entry.get("type"), entry.get("error")
    is_whole_file = kind == "file" and error is None
    return Entry(
        path=path_text(path),
        name=path_text(name),
        type=kind if kind in _TYPES else "other",
        size=integer(entry, "size") if is_whole_file or entry.get("size") is not None else None,
        mtime_ns=None if entry.get("mtime") is None else _nanoseconds(text(entry, "mtime")),
        mode=None if entry.get("mode") is None else _mode(text(entry, "mode")),
        media_type=None if entry.get("media_type") is None else text(entry, "media_type"),
        etag=None if entry.get("etag") is None else _etag(text(entry, "etag")),
        readable=entry.get("readable") is not False,
        error=None if error is None else str(error),
    )


def _name(entry: dict[str, Any]) -> bytes:
    encoded = entry.get("name_base64")
    try:
        if encoded is not None:
            return base64.b64decode(str(encoded), validate=True)
        return text(entry, "name").encode()
    except (binascii.Error, UnicodeEncodeError, ValueError) as error:
        raise BadAnswer("the name of an entry is malformed") from error


def _mode(value: str) -> int:
    if not _MODE.fullmatch(value):
        raise BadAnswer("the mode of an entry is malformed")
    return int(value, 8)


def _etag(value: str) -> str:
    """:return: an entity tag, which can be the value of a header (RFC 9110, 8.8.3)."""
    if not _ETAG.fullmatch(value):
        raise BadAnswer("the etag of an entry is malformed")
    return value


def _nanoseconds(value: str) -> int:
    match = _TIME.fullmatch(value)
    try:
        if match is not None:
            moment = datetime.fromisoformat(match[1] + "+00:00")
            return int(moment.timestamp()) * 10**9 + int(match[2])
    except ValueError:
        pass
    raise BadAnswer("the time of an entry is malformed")
