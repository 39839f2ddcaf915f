"""
Downloads that are interrupted and continued in any way: the result is one version of the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.cli.errors import CliError
from chatfiles.cli.http.client import Client
from chatfiles.cli.transfers.file import FileTransfer, TransferOptions
from chatfiles.client.core.errors import Incomplete
from chatfiles.client.core.steps import Request


class Server(Client):
    """
    A platform that serves one file, and interrupts responses; and its client.

    :ivar content: the file; each content has an ETag of its own.
    :ivar cuts: after how many bytes the next responses are interrupted; later ones are not.
    """

    def __init__(self) -> None:
        super().__init__("http://x", "token", timeout=1)
        self._driver.open = self.respond  # type: ignore[method-assign, assignment]
        self.content = b""
        self.cuts: list[int] = []

    def respond(self, request: Request) -> Any:
        """:return: the response to a request, with If-Range and Range (RFC 9110, 14.2)."""
        etag = f'"{hashlib.sha256(self.content).hexdigest()}"'
        first, fields = 0, {"ETag": etag}
        if request.headers.get("If-Range") == etag:
            first = int(request.headers["Range"].removeprefix("bytes=").rstrip("-"))
            last = len(self.content) - 1
            fields["Content-Range"] = f"bytes {first}-{last}/{last + 1}"
        body = self.content[first:]
        pieces = self.pieces(body)
        response = mock.MagicMock(
            status=206 if first else 200,
            length=len(body),
            framed=True,
            values=lambda name: [fields[name]] if name in fields else [],
            receive=lambda: next(pieces, b""),
        )
        response.__enter__.return_value = response
        return response

    def pieces(self, body: bytes) -> Iterator[bytes]:
        cut = self.cuts.pop(0) if self.cuts else len(body)
        for at in range(0, min(cut, len(body)), 7):
            yield body[at : min(at + 7, cut)]
        if cut < len(body):
            raise Incomplete("the response was interrupted", transient=True)


#: What may happen to the ``.part`` file between two downloads.
TAMPERING: dict[str, Callable[[bytes, int], bytes]] = {
    "nothing": lambda data, _: data,
    "shorter": lambda data, at: data[:at],
    "longer": lambda data, at: data + data[:at] + b"x",
    "changed": lambda data, at: data[:at] + b"!" + data[at + 1 :],
    "swapped": lambda data, at: data[at:] + data[:at],
    "other": lambda _, at: b"another program's" * at,
}


class AnyHistoryTests(SynchronousTestCase):
    """Any sequence of interruptions, new versions, and changes of the ``.part`` file."""

    def setUp(self) -> None:
        self.patch(time, "sleep", lambda _: None)

    @given(
        st.lists(
            st.tuples(
                st.binary(min_size=1, max_size=60) | st.none(),
                st.lists(st.integers(0, 60), max_size=3),
                st.sampled_from(sorted(TAMPERING)),
                st.integers(0, 400),
                st.booleans(),
            ),
            max_size=6,
        ),
        st.binary(min_size=1, max_size=60),
    )
    def test_one_version(
        self, steps: list[tuple[bytes | None, list[int], str, int, bool]], last: bytes
    ) -> None:
        """A download that succeeds has saved exactly the version that the server has then."""
        with tempfile.TemporaryDirectory() as directory:
            server, path = Server(), os.path.join(directory, "f")
            for content, cuts, tampering, at, resume in steps:
                server.content = content or server.content or last
                server.cuts = cuts
                self.download(server, path, resume=resume)
                if os.path.exists(path + ".part"):
                    self.tamper(path + ".part", TAMPERING[tampering], at)
            server.content, server.cuts = last, []
            self.download(server, path, resume=True)
            self.assertTrue(os.path.exists(path))

    def download(self, server: Any, path: str, *, resume: bool) -> None:
        """Save the file.  If that succeeds, check it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        options = TransferOptions(retries=1, resume=resume, quiet=True)
        try:
            FileTransfer(server, "w", b"/f", "f", options).to_file(path)
        except CliError as error:
            self.assertEqual(error.message, "the transfer was interrupted")
            self.assertFalse(os.path.exists(path))
        else:
            with open(path, "rb") as file:
                self.assertEqual(file.read(), server.content)
        leftovers = {name for name in os.listdir(os.path.dirname(path)) if name.startswith(".")}
        self.assertEqual(leftovers, set())

    def tamper(self, path: str, change: Callable[[bytes, int], bytes], at: int) -> None:
        with open(path, "r+b") as file:
            data = change(file.read(), at)
            file.seek(0)
            file.truncate()
            file.write(data)
