"""
JSON as it is sent in responses.
"""

from __future__ import annotations

import json

__all__ = ["json_text"]

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def json_text(value: object) -> bytes:
    """
    :param value: any value that `json.dumps` accepts.
    :return: its JSON in UTF-8, without blanks: scripts search the bytes of responses
        (reference/routes, "JSON bodies").
    """
    return _encode(value).encode("utf-8")
