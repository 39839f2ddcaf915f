"""
Lists what is in a workspace: one entry, a directory page by page, a tree as a stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from chatfiles.client.core.answers import (
    LIST_LIMIT,
    as_object,
    as_path,
    header,
    parse_entry,
    parse_json,
    refusal,
    text,
)
from chatfiles.client.core.context import Context
from chatfiles.client.core.errors import BadAnswer, ClientError, Incomplete
from chatfiles.client.core.names import VirtualPath, from_reference, path_bytes
from chatfiles.client.core.retries import Retries
from chatfiles.client.core.steps import Emit, Receive, Request, Response, Send, Steps
from chatfiles.client.core.values import Entry

__all__ = [
    "MAX_DEPTH",
    "MAX_PAGE",
    "EntryStream",
    "Pages",
    "list_directory",
    "one_entry",
    "roots",
    "stat",
    "walk",
]

#: The most entries of a page, and the most levels of a stream (reference/listing).
MAX_PAGE, MAX_DEPTH = 10_000, 64
#: Maximum bytes of an entry in JSON, besides the path of its directory.
ENTRY_LIMIT = 4000
#: Maximum bytes of a line: a path has at most 4096 bytes, which may be percent-encoded.
LINE_LIMIT = 256 * 1024

_STREAM = "application/x-ndjson"
T = TypeVar("T")


def stat(context: Context, path: VirtualPath) -> Steps[Entry]:
    """:return: the operation ``stat``."""
    return one_entry(context, path_bytes(path), parse_entry)


def one_entry(context: Context, path: bytes, parse: Callable[[object], T]) -> Steps[T]:
    """
    :param parse: reads the JSON value of an entry.
    :return: the operation that asks for the entry of *path* itself.
    """
    request = Request("GET", context.route("fs/entries", path, depth=0))
    _, value = yield from context.ask(request, (200,))
    return parse(as_object(value).get("entry"))


def roots(context: Context) -> Steps[list[str]]:
    """:return: the operation that finds the roots that the workspace serves."""
    _, value = yield from context.ask(Request("GET", context.route("fs/roots")), (200,))
    found = as_object(value).get("roots")
    if not isinstance(found, list):
        raise BadAnswer("the response has no list of roots")
    return [as_path(text(as_object(each), "path")) for each in found]


def list_directory(context: Context, path: VirtualPath, page_size: int) -> Steps[None]:
    """:return: the operation ``list``, which emits entries."""
    if not 1 <= page_size <= MAX_PAGE:
        raise ValueError(f"page_size must be 1 to {MAX_PAGE}")
    return _list(context, path_bytes(path), page_size)


def _list(context: Context, path: bytes, page_size: int) -> Steps[None]:
    pages, retries = Pages(context, path, page_size), context.new_retries()
    while not pages.ended:
        for each in (yield from pages.next(retries)):
            yield Emit(parse_entry(each))


class Pages:
    """
    A directory, page by page.

    :param path: of the directory.
    :param most: the most entries of a page.
    :ivar ended: whether the last page has come.
    """

    def __init__(self, context: Context, path: bytes, most: int = MAX_PAGE) -> None:
        self._context = context
        self._path = path
        self._limit = min(most, LIST_LIMIT // (3 * len(path) + ENTRY_LIMIT))
        self._after: str | None = None
        self._last, self._has_entries = b"", True
        self.ended = False

    def next(self, retries: Retries | None = None) -> Steps[list[Any]]:
        """:return: the operation that asks for the next page: the JSON values of its entries."""
        route = self._context.route("fs/entries", self._path, limit=self._limit, after=self._after)
        _, value = yield from self._context.ask(Request("GET", route), (200,), retries, LIST_LIMIT)
        page = as_object(value)
        entries, behind = page.get("entries"), page.get("next")
        if not isinstance(entries, list):
            raise BadAnswer("the response has no list of entries")
        if behind is not None:
            self._check_cursor(behind, entries)
        self._check_order(entries)
        self._after, self.ended = behind, behind is None
        self._has_entries = bool(entries)
        return entries

    def _check_cursor(self, behind: object, entries: list[Any]) -> None:
        """:raise BadAnswer: *behind* is not where the next page begins."""
        if not isinstance(behind, str) or not behind.isascii() or behind == self._after:
            raise BadAnswer("the response says that more comes, but not where")
        if not (entries or self._has_entries):
            raise BadAnswer("the response is one of several pages without entries")

    def _check_order(self, entries: list[Any]) -> None:
        """:raise BadAnswer: the page does not begin behind the last one, so it may never end."""
        paths = [_path(each) for each in (*entries[:1], *entries[-1:])]
        if paths and self._after is not None and paths[0] <= self._last:
            raise BadAnswer("the response has entries that came before")
        self._last = max([self._last, *paths])


def _path(value: object) -> bytes:
    """:return: the path of an entry."""
    return from_reference(text(as_object(value), "ref"))


def walk(context: Context, path: VirtualPath, depth: int) -> Steps[None]:
    """:return: the operation ``walk``, which emits entries."""
    if not 1 <= depth <= MAX_DEPTH:
        raise ValueError(f"depth must be 1 to {MAX_DEPTH}")
    return _walk(context, EntryStream(context, path_bytes(path), depth, parse_entry))


def _walk(context: Context, stream: EntryStream) -> Steps[None]:
    retries = context.new_retries()
    while True:
        try:
            yield from stream.attempt()
            break
        except ClientError as error:
            if isinstance(error, Incomplete):
                error.done, error.total = stream.count, None
            if stream.count:  # the program has entries that would come again
                raise
            yield from retries.again(error)
    if stream.left_out:
        text = f"the workspace has left out entries: {stream.left_out}"
        raise Incomplete(text, done=stream.count)


class EntryStream:
    """
    Everything below a directory.

    :param path: of the directory.
    :param depth: how many levels; ``infinity`` for as many as the workspace lists.
    :param parse: reads the JSON value of an entry.
    :ivar count: how many entries have come.
    :ivar ended: whether the last line has come.
    :ivar left_out: why the workspace has left out entries, as it says it; empty if it has not.
    """

    def __init__(
        self, context: Context, path: bytes, depth: int | str, parse: Callable[[object], object]
    ) -> None:
        self._context = context
        self._request = Request(
            "GET", context.route("fs/entries", path, depth=depth), {"Accept": _STREAM}
        )
        self._parse = parse
        self.count = 0
        self.ended = False
        self.left_out = ""

    def attempt(self) -> Steps[None]:
        """
        :return: the operation that asks for the entries once, and emits what *parse* returns.
        :raise Incomplete: raised at the end, if the stream was interrupted or lacks entries.
        """
        with (yield Send(self._request)) as response:
            if response.status != 200:
                raise (yield from refusal(response, self._context.now()))
            if header(response, "Content-Type").partition(";")[0].strip().lower() != _STREAM:
                raise BadAnswer("the response is not a stream of entries")
            yield from self._lines(response)

    def _lines(self, response: Response) -> Steps[None]:
        end: dict[str, Any] = {}
        rest = b""
        while piece := (yield Receive(response)):
            *lines, rest = (rest + piece).split(b"\n")
            for value in map(_object, filter(None, lines)):
                if self.ended:
                    raise BadAnswer("the stream has a line behind its last one")
                if value.get("end") is True:
                    self.ended, end = True, value
                    continue
                entry = self._parse(value)
                self.count += 1
                yield Emit(entry)
            if len(rest) > LINE_LIMIT:
                raise BadAnswer("a line of the stream is too long")
        if rest:
            raise BadAnswer("one of its lines is not JSON, or has no end")
        if not self.ended:
            raise Incomplete("the stream ends without its last line", done=self.count)
        self._check(end)

    def _check(self, end: dict[str, Any]) -> None:
        if end.get("entries") != self.count:
            raise Incomplete("entries of the stream are missing", done=self.count)
        if end.get("complete") is not True:
            self.left_out = str(end.get("reason") or "unknown")


def _object(line: bytes) -> dict[str, Any]:
    try:
        return as_object(parse_json(line))
    except BadAnswer as error:
        raise BadAnswer("one of its lines is not JSON") from error
