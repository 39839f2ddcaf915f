"""
Asks the platform for entries: of one path, of a directory page by page, of a tree as a stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from chatfiles.cli.errors import CliError, untrusted
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.http.client import Client
from chatfiles.cli.listing.entry import Entry, parse_entry
from chatfiles.cli.terminal.tables import as_object, as_rows
from chatfiles.client.core import listing
from chatfiles.client.core.errors import BadAnswer, Incomplete

__all__ = ["EntryStream", "list_directory", "list_roots", "look_at"]

#: Is called with the error of an entry that is malformed, which is then left out.
Refused = Callable[[CliError], object]


def list_roots(client: Client, workspace: str) -> list[dict[str, Any]]:
    """
    :param workspace: its id.
    :return: the roots that the workspace serves, as JSON objects.
    :raise CliError: the list could not be read.
    """
    route = client.context(workspace).route("fs/roots")
    roots = as_rows(as_object(client.call("GET", route)), "roots")
    if not all(isinstance(root.get("path"), str) for root in roots):
        raise untrusted("a root has no path")
    return roots


def look_at(client: Client, workspace: str, path: bytes) -> Entry:
    """
    :return: the entry of *path* itself.
    :raise CliError: it could not be read.
    """
    return client.run(listing.one_entry(client.context(workspace), path, parse_entry))


def list_directory(
    client: Client,
    workspace: str,
    path: bytes,
    refused: Refused | None = None,
    retry: Callable[[Callable[[], Any]], Any] = lambda ask: ask(),
) -> Iterator[Entry]:
    """
    List a directory page by page.  Memory does not depend on the number of entries.

    :param workspace: its id.
    :param path: the virtual path of the directory.
    :param refused: by default the error is raised.
    :param retry: calls a function that asks for a page, if necessary several times, and returns
        what it returns; by default it is called once.
    :return: its entries, sorted by the bytes of their names.
    :raise CliError: a page could not be read.
    """
    pages, parse = listing.Pages(client.context(workspace), path), _parser(client, refused)
    while not pages.ended:
        rows = retry(lambda: client.run(pages.next()))
        with client.translated():
            yield from filter(None, map(parse, rows))


def _parser(client: Client, refused: Refused | None) -> Callable[[object], Entry | None]:
    """:return: as `parse_entry`, but *refused* is called, and ``None`` returned, for an error."""
    if refused is None:
        return parse_entry

    def parse(value: object) -> Entry | None:
        try:
            return parse_entry(value)
        except BadAnswer as error:
            refused(client.errors.of(error))
            return None

    return parse


class EntryStream:
    """
    Everything below a directory, as one stream.  Memory does not depend on the number of entries.

    :param workspace: its id.
    :param path: the virtual path of the directory.
    :param refused: by default the error is raised.
    """

    def __init__(
        self, client: Client, workspace: str, path: bytes, refused: Refused | None = None
    ) -> None:
        self._client = client
        parse = _parser(client, refused)
        self._stream = listing.EntryStream(client.context(workspace), path, "infinity", parse)

    @property
    def incomplete(self) -> str:
        """Why the workspace has left out entries; empty if it has not.  Known after the last."""
        return self._stream.left_out

    def __iter__(self) -> Iterator[Entry]:
        """
        :return: the entries, in the workspace's order; a directory precedes what is in it.
        :raise CliError: the listing was refused, interrupted, or is malformed.
        """
        try:
            yield from filter(None, self._client.iterate(self._stream.attempt()))
        except CliError as error:
            is_cut = isinstance(error.__cause__, Incomplete)
            if is_cut and (error.transient or not self._stream.ended):
                raise self._interrupted() from error
            raise

    def _interrupted(self) -> CliError:
        return CliError(
            f"the listing was interrupted after {self._stream.count} entries",
            Exit.INCOMPLETE,
            hint="a connection broke, or the workspace went away; run the command again",
            transient=True,
        )
