"""
Reads the content of files into memory: a part, or piece by piece.
"""

from __future__ import annotations

from chatfiles.client.core.context import Context
from chatfiles.client.core.errors import Refused
from chatfiles.client.core.fetch import Fetch
from chatfiles.client.core.names import VirtualPath, condition, path_bytes
from chatfiles.client.core.sinks import Buffer, Emitter, check_memory
from chatfiles.client.core.steps import Steps
from chatfiles.client.core.versions import Span, Versions

__all__ = ["CHUNK", "read", "stream"]

#: Maximum bytes of a piece, unless the program chooses another.
CHUNK = 262144


def read(
    context: Context,
    path: VirtualPath,
    start: int | None,
    stop: int | None,
    if_match: str | None,
) -> Steps[bytes]:
    """:return: the operation ``read``."""
    raw = path_bytes(path)
    condition(if_match)
    first = start or 0
    if stop is not None and (stop < 0 or first < 0):
        raise ValueError("a negative stop, or a negative start with a stop, is not supported")
    if stop is not None and stop <= first:
        # There is no such range, but the file has to be there.
        return _read(context, raw, Span(first, first + 1), slice(0, 0), if_match)
    if start == 0 and stop is None:
        start = None
    check_memory(-first if first < 0 else None if stop is None else stop - first)
    return _read(context, raw, Span(first, stop), slice(start, stop), if_match)


def _read(
    context: Context, path: bytes, span: Span, part: slice, if_match: str | None
) -> Steps[bytes]:
    buffer = Buffer()
    versions = Versions(span, if_match, slices=True)
    route = context.route("fs/file", path)
    fetch = Fetch(route, versions, buffer, context.new_retries(), context.now)
    try:
        yield from fetch.run()
    except Refused as error:
        if error.status == 416:
            return b""
        raise
    if part == slice(0, 0):
        return b""
    has_everything = versions.span.is_whole and not span.is_whole
    return bytes(buffer.data[part] if has_everything else buffer.data)


def stream(
    context: Context, path: VirtualPath, start: int, chunk: int, if_match: str | None
) -> Steps[None]:
    """:return: the operation ``stream``, which emits pieces."""
    raw = path_bytes(path)
    condition(if_match)
    if start < 0 or chunk < 1:
        raise ValueError("start must be 0 or greater, and chunk at least 1")
    versions = Versions(Span(start), if_match)
    route = context.route("fs/file", raw)
    return Fetch(route, versions, Emitter(chunk), context.new_retries(), context.now).run()
