"""
Lists what is in a workspace: one entry, a directory page by page, a tree as a stream.
"""

from __future__ import annotations

from typing import Any

from chatfiles.client.core.answers import (
    JSON_LIMIT,
    as_object,
    header,
    parse_entry,
    parse_json,
    refusal,
    text,
)
from chatfiles.client.core.context import Context
from chatfiles.client.core.errors import BadAnswer, ClientError, Incomplete
from chatfiles.client.core.names import VirtualPath, path_bytes
from chatfiles.client.core.steps import Emit, Receive, Request, Response, Send, Steps
from chatfiles.client.core.values import Entry

__all__ = ["MAX_DEPTH", "MAX_PAGE", "list_directory", "roots", "stat", "walk"]

#: The most entries of a page, and the most levels of a stream (reference/listing).
MAX_PAGE, MAX_DEPTH = 10_000, 64
#: Maximum bytes of an entry in JSON, besides the path of its directory.
ENTRY_LIMIT = 4000
#: Maximum bytes of a line: a path has at most 4096 bytes, which may be percent-encoded.
LINE_LIMIT = 256 * 1024

_STREAM = "application/x-ndjson"


def stat(context: Context, path: VirtualPath) -> Steps[Entry]:
    """:return: the operation ``stat``."""
    return _stat(context, path_bytes(path))


def _stat(context: Context, path: bytes) -> Steps[Entry]:
    request = Request("GET", context.route("fs/entries", path, depth=0))
    _, value = yield from context.ask(request, (200,))
    return parse_entry(as_object(value).get("entry"))


def roots(context: Context) -> Steps[list[str]]:
    """:return: the operation that finds the roots that the workspace serves."""
    _, value = yield from context.ask(Request("GET", context.route("fs/roots")), (200,))
    found = as_object(value).get("roots")
    if not isinstance(found, list):
        raise BadAnswer("the response has no list of roots")
    return [text(as_object(each), "path") for each in found]


def list_directory(context: Context, path: VirtualPath, page_size: int) -> Steps[None]:
    """:return: the operation ``list``, which emits entries."""
    if not 1 <= page_size <= MAX_PAGE:
        raise ValueError(f"page_size must be 1 to {MAX_PAGE}")
    raw = path_bytes(path)
    return _list(context, raw, min(page_size, JSON_LIMIT // (3 * len(raw) + ENTRY_LIMIT)))


def _list(context: Context, path: bytes, limit: int) -> Steps[None]:
    retries = context.new_retries()
    after: str | None = None
    while True:
        route = context.route("fs/entries", path, limit=limit, after=after)
        _, value = yield from context.ask(Request("GET", route), (200,), retries)
        page = as_object(value)
        entries = page.get("entries")
        if not isinstance(entries, list):
            raise BadAnswer("the response has no list of entries")
        for each in entries:
            yield Emit(parse_entry(each))
        behind = page.get("next")
        if behind is None:
            return
        if not isinstance(behind, str) or behind == after:
            raise BadAnswer("the response says that more entries follow, but not where")
        after = behind


def walk(context: Context, path: VirtualPath, depth: int) -> Steps[None]:
    """:return: the operation ``walk``, which emits entries."""
    if not 1 <= depth <= MAX_DEPTH:
        raise ValueError(f"depth must be 1 to {MAX_DEPTH}")
    return _Walk(context, path_bytes(path), depth).run()


class _Walk:
    def __init__(self, context: Context, path: bytes, depth: int) -> None:
        self._context = context
        self._request = Request(
            "GET", context.route("fs/entries", path, depth=depth), {"Accept": _STREAM}
        )
        self._count = 0

    def run(self) -> Steps[None]:
        retries = self._context.new_retries()
        while True:
            try:
                return (yield from self._attempt())
            except ClientError as error:
                if isinstance(error, Incomplete):
                    error.done, error.total = self._count, None
                if self._count:  # the program has entries that would come again
                    raise
                yield from retries.again(error)

    def _attempt(self) -> Steps[None]:
        with (yield Send(self._request)) as response:
            if response.status != 200:
                raise (yield from refusal(response, self._context.now()))
            if header(response, "Content-Type").partition(";")[0].strip().lower() != _STREAM:
                raise BadAnswer("the response is not a stream of entries")
            yield from self._lines(response)

    def _lines(self, response: Response) -> Steps[None]:
        end: dict[str, Any] | None = None
        rest = b""
        while piece := (yield Receive(response)):
            *lines, rest = (rest + piece).split(b"\n")
            for line in filter(None, lines):
                if end is not None:
                    raise BadAnswer("the stream has a line behind its last one")
                value = as_object(parse_json(line))
                if value.get("end") is True:
                    end = value
                    continue
                entry = parse_entry(value)
                self._count += 1
                yield Emit(entry)
            if len(rest) > LINE_LIMIT:
                raise BadAnswer("a line of the stream is too long")
        if end is None or rest:
            raise Incomplete("the stream ends without its last line", done=self._count)
        self._check(end)

    def _check(self, end: dict[str, Any]) -> None:
        if end.get("entries") != self._count:
            raise Incomplete("entries of the stream are missing", done=self._count)
        if end.get("complete") is not True:
            reason = str(end.get("reason") or "unknown")
            raise Incomplete(f"the workspace has left out entries: {reason}", done=self._count)
