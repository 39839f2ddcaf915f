"""
Asks the platform for entries: of one path, of a directory page by page, of a tree as a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from chatfiles.cli.errors import CliError, Exit, untrusted
from chatfiles.cli.http.client import JSON_LIMIT, Client
from chatfiles.cli.http.json_lines import MEDIA_TYPE, json_lines
from chatfiles.cli.http.routes import operation_route
from chatfiles.cli.listing.entry import Entry, parse_entry
from chatfiles.cli.terminal.tables import as_object, as_rows

__all__ = ["EntryStream", "list_directory", "list_roots", "look_at"]

#: Maximum entries of one page.  A page is large because the workspace reads the directory for each.
PAGE = 10_000
#: Maximum bytes of an entry in JSON, besides the path of its directory, which is percent-encoded.
ENTRY_LIMIT = 4000


def list_roots(client: Client, workspace: str) -> list[dict[str, Any]]:
    """
    :param workspace: its id.
    :return: the roots that the workspace serves, as JSON objects.
    :raise CliError: the list could not be read.
    """
    roots = as_rows(as_object(client.call("GET", operation_route(workspace, "roots"))), "roots")
    if not all(isinstance(root.get("path"), str) for root in roots):
        raise untrusted("a root has no path")
    return roots


def look_at(client: Client, workspace: str, path: bytes) -> Entry:
    """
    :return: the entry of *path* itself.
    :raise CliError: it could not be read.
    """
    answer = client.call("GET", operation_route(workspace, "entries", path, depth=0))
    return parse_entry(as_object(answer).get("entry"))


def list_directory(
    client: Client,
    workspace: str,
    path: bytes,
    refused: Callable[[CliError], object] | None = None,
    retry: Callable[[Callable[[], object]], object] | None = None,
) -> Iterator[Entry]:
    """
    List a directory page by page.  Memory does not depend on the number of entries.

    :param workspace: its id.
    :param path: the virtual path of the directory.
    :param refused: see `EntryStream`.
    :param retry: calls a function that asks for a page, if necessary several times, and returns
        what it returns; by default it is called once.
    :return: its entries, sorted by the bytes of their names.
    :raise CliError: a page could not be read.
    """
    limit = min(PAGE, JSON_LIMIT // (3 * len(path) + ENTRY_LIMIT))
    after: str | None = None
    while True:
        route = operation_route(workspace, "entries", path, limit=limit, after=after)
        ask = partial(client.call, "GET", route)
        page = as_object(ask() if retry is None else retry(ask))
        for row in as_rows(page, "entries"):
            if (entry := _parse(row, refused)) is not None:
                yield entry
        behind = page.get("next")
        if behind is None:
            return
        if not isinstance(behind, str) or behind == after:
            raise untrusted("it says that more comes, but not where")
        after = behind


def _parse(value: dict[str, Any], refused: Callable[[CliError], object] | None) -> Entry | None:
    """:return: the entry; ``None`` if it is malformed, which *refused* has been called with."""
    try:
        return parse_entry(value)
    except CliError as error:
        if refused is None:
            raise
        refused(error)
        return None


class EntryStream:
    """
    Everything below a directory, as one stream.  Memory does not depend on the number of entries.

    :param workspace: its id.
    :param path: the virtual path of the directory.
    :param refused: is called with the error of an entry that is malformed, which is then left out;
        by default the error is raised.
    :ivar incomplete: why the workspace has left out entries, as it says it; empty if it has not.
        Known after the last entry.
    """

    def __init__(
        self,
        client: Client,
        workspace: str,
        path: bytes,
        refused: Callable[[CliError], object] | None = None,
    ) -> None:
        self._refused = refused
        self.incomplete = ""
        self._client = client
        self._route = operation_route(workspace, "entries", path, depth="infinity")
        self._count = 0

    def __iter__(self) -> Iterator[Entry]:
        """
        :return: the entries, in the workspace's order; a directory precedes what is in it.
        :raise CliError: the listing was refused, interrupted, or is malformed.
        """
        with self._client.open("GET", self._route, headers={"Accept": MEDIA_TYPE}) as response:
            if response.status != 200:
                raise self._client.refusal(response)
            if response.header("Content-Type").partition(";")[0].strip().lower() != MEDIA_TYPE:
                raise untrusted("it is not a stream of entries")
            lines = json_lines(response)
            yield from self._entries(lines)

    def _entries(self, lines: Iterator[dict[str, Any]]) -> Iterator[Entry]:
        try:
            for line in lines:
                if line.get("end") is True:
                    return self._end(line, next(lines, None))
                self._count += 1
                if (entry := _parse(line, self._refused)) is not None:
                    yield entry
        except CliError as error:
            if error.transient:
                raise self._interrupted() from error
            raise
        raise self._interrupted()

    def _end(self, end: dict[str, Any], more: object) -> None:
        if end.get("entries") != self._count or more is not None:
            raise untrusted("its last line does not agree with the other ones")
        if end.get("complete") is not True:
            self.incomplete = str(end.get("reason") or "unknown")

    def _interrupted(self) -> CliError:
        return CliError(
            f"the listing was interrupted after {self._count} entries",
            Exit.INCOMPLETE,
            hint="a connection broke, or the workspace went away; run the command again",
            transient=True,
        )
