"""
What schemathesis loads in its process: two checks, and how to write the bodies of chunks.
"""

from __future__ import annotations

import json
from typing import Any

import schemathesis

from tests.openapi.document import Seen, document


@schemathesis.check
def documented(
    _context: schemathesis.CheckContext,
    response: schemathesis.Response,
    case: schemathesis.Case[Any],
) -> None:
    """The status and the error code of the response stand in the document."""
    method = case.method.upper()
    code = "" if response.status_code < 400 or method == "HEAD" else str(_json(response)["code"])
    path = case.operation.path
    assert document().allows(Seen(method, path, response.status_code, code)), code


@schemathesis.check
def no_other_members(
    _context: schemathesis.CheckContext,
    response: schemathesis.Response,
    case: schemathesis.Case[Any],
) -> None:
    """The objects of a JSON response have no member that the document does not have."""
    operation = document().operations.get((case.method.upper(), case.operation.path), {})
    given = operation.get("responses", {}).get(str(response.status_code), {})
    schema = given.get("content", {}).get("application/json", {}).get("schema")
    types = response.headers.get("content-type", [""])
    if schema is not None and types == ["application/json"] and response.content:
        assert document().unlisted(_json(response), schema) == []


@schemathesis.serializer("application/offset+octet-stream")
def serialize_chunk(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """:return: the bytes of a generated value."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def _json(response: schemathesis.Response) -> Any:
    return json.loads(response.content)
