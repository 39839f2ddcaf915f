"""
What a request for a listing asks for (reference/listing, "Parameters").  Each role checks it
itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chatfiles.errors import BadRequest
from chatfiles.rules.accept import wants_ndjson
from chatfiles.rules.entry_json import decode_cursor
from chatfiles.rules.parameters import invalid, number, single
from chatfiles.rules.query import parse_query
from chatfiles.rules.virtual_paths import VirtualPath, check_form

__all__ = ["DEFAULT_DEPTH", "DEFAULT_LIMIT", "MAX_DEPTH", "ListingQuery", "listing_query"]

DEFAULT_DEPTH, MAX_DEPTH = 1, 64
DEFAULT_LIMIT, MAX_LIMIT = 1000, 10_000


@dataclass(frozen=True, slots=True)
class ListingQuery:
    """
    A request for a listing.

    :param path: what to list.
    :param depth: 0 for the entry at the path itself, 1 for those in it, more for those below them,
        at most `MAX_DEPTH`; ``None`` for everything, as far as `MAX_DEPTH` reaches.
    :param limit: the most entries of a page.
    :param after: the name behind which a page begins; ``None`` for the first page.
    :param is_stream: whether the response is a stream of JSON lines.
    """

    path: VirtualPath
    depth: int | None
    limit: int
    after: bytes | None
    is_stream: bool


def listing_query(raw: bytes, accept: Sequence[bytes]) -> ListingQuery:
    """
    Validate the parameters in the order of the reference.  A stream has no pages, so its ``limit``
    is ignored.

    :param raw: the query of the target.
    :param accept: the values of all ``Accept`` headers.
    :return: what is asked for.
    :raise chatfiles.errors.BadRequest: the first parameter that is malformed.
    """
    query = parse_query(raw)
    is_stream = wants_ndjson(accept)
    path = check_form(query.get(b"path", []))
    depth = _depth(query)
    if depth not in (0, 1) and not is_stream:
        text = "depth over 1 needs Accept: application/x-ndjson"
        raise BadRequest(text, code="stream_required")
    limit = DEFAULT_LIMIT if is_stream else number(query, "limit", 1, MAX_LIMIT, DEFAULT_LIMIT)
    return ListingQuery(path, depth, limit, _after(query), is_stream)


def _depth(query: Mapping[bytes, Sequence[bytes]]) -> int | None:
    if single(query, "depth") == b"infinity":
        return None
    return number(query, "depth", 0, MAX_DEPTH, DEFAULT_DEPTH)


def _after(query: Mapping[bytes, Sequence[bytes]]) -> bytes | None:
    cursor = single(query, "after")
    if cursor is None:
        return None
    name = decode_cursor(cursor)
    if name is None:
        raise invalid("after")
    return name
