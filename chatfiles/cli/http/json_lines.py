"""
Reads a response that is a stream of JSON objects, one on a line (NDJSON).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from chatfiles.cli.errors import untrusted
from chatfiles.cli.http.response import Response

__all__ = ["MEDIA_TYPE", "json_lines"]

MEDIA_TYPE = "application/x-ndjson"
#: Maximum bytes of a line: a path has at most 4096 bytes, which may be percent-encoded.
LINE_LIMIT = 256 * 1024


def json_lines(response: Response) -> Iterator[dict[str, Any]]:
    """
    :return: the objects in order, each as soon as its line is complete.  Memory does not depend on
        their number.
    :raise CliError: the body was interrupted, or a line is too long or not a JSON object.
    """
    rest = b""
    for piece in response.body():
        *lines, rest = (rest + piece).split(b"\n")
        yield from map(_parse, filter(None, lines))
        if len(rest) > LINE_LIMIT:
            raise untrusted("one of its lines is too long")
    if rest:
        yield _parse(rest)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise untrusted("one of its lines is not JSON") from error
    if not isinstance(value, dict):
        raise untrusted("one of its lines is not a JSON object")
    return value
