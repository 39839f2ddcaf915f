"""
One line of JSON in a log.
"""

from __future__ import annotations

import json
import json.encoder
from collections.abc import Mapping
from functools import lru_cache
from time import gmtime, strftime
from typing import Any, Final

__all__ = ["MOST", "json_line", "log_time", "quoted", "short"]

#: Bytes of the longest text in a line of a log.
MOST: Final = 1024

#: Takes a text; returns it as a string of JSON, in ASCII.
quoted = json.encoder.encode_basestring_ascii
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=str).encode


def json_line(values: Mapping[str, Any]) -> str:
    """
    :param values: the members of an object.
    :return: the object, in ASCII, without a line end.  Control characters and surrogates are
        escaped.
    """
    return _encode(values)


def log_time(moment: float) -> str:
    """
    :param moment: seconds since the epoch.
    :return: the time in UTC with milliseconds (RFC 3339).
    """
    return _to_the_millisecond(int(moment * 1000))


def short(text: str, *, end: bool = False) -> str:
    """
    :param text: any text.
    :param end: whether to keep the end rather than the beginning.
    :return: the text; at most `MOST` bytes of it in UTF-8, if it is longer.
    """
    if len(text) * 4 <= MOST:
        return text
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= MOST:
        return text
    part = data[-MOST:] if end else data[:MOST]
    return part.decode("utf-8", "ignore")


# A busy role has several requests in a millisecond.
@lru_cache(4)
def _to_the_millisecond(milliseconds: int) -> str:
    return f"{_to_the_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(4)
def _to_the_second(seconds: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(seconds))
