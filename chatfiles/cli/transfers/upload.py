"""
Uploads a form, or a file to a path.  The upload asks the platform before it sends a large body, and
an early response stops it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import h11

from chatfiles.cli.errors import CliError
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.http.client import Client
from chatfiles.cli.http.multipart_form import Wait
from chatfiles.client.blocking.connection import Connection
from chatfiles.client.blocking.response import BlockingResponse
from chatfiles.client.core.steps import Body, Request

__all__ = ["Upload"]


class Form(Protocol):
    """The body of an upload; see `chatfiles.cli.http.multipart_form.Form`."""

    content_type: str
    length: int | None
    closing: bytes

    def blocks(self, wait: Wait) -> Iterator[bytes]: ...


class Upload:
    """
    One request with a large body.

    :param form: the body to send.
    :param advance: called with the number of bytes that have just been sent.
    :ivar complete: whether all bytes of the files have been sent.  A success before that is not
        credible.
    :ivar sent: bytes of the body that have been sent.
    """

    #: What to do if it is unknown whether the body was stored.
    unknown_hint = "the files may have been stored; sending them again would store them twice"

    def __init__(self, form: Form, advance: Callable[[int], object]) -> None:
        self.complete = False
        self._form = form
        self._advance = advance
        self.sent = 0

    def post(
        self,
        client: Client,
        route: str,
        method: str = "POST",
        conditions: Mapping[str, str] | None = None,
    ) -> BlockingResponse:
        """
        Send the body.

        :param route: the path below the platform's base URL.
        :param conditions: further headers, such as ``If-Match``.
        :return: the response, with any status, to be closed after use.  It may have come before the
            body was `complete`.
        :raise CliError: there was no response, or a file could not be sent.
        """
        headers = {"Accept": "application/json", "Content-Type": self._form.content_type}
        request = Request(method, route, {**headers, **(conditions or {})}, Body(self._form.length))
        return client.open(request, self._send, self._failed)

    def _send(self, connection: Connection) -> None:
        for block in self._form.blocks(connection.wait_readable):
            self._send_block(connection, block)
        self.complete = True  # a server may see the end of the form in the first closing bytes
        self._send_block(connection, self._form.closing)

    def _send_block(self, connection: Connection, block: bytes) -> None:
        connection.send(h11.Data(data=block))
        self.sent += len(block)
        self._advance(len(block))

    def _failed(self, error: OSError) -> CliError:
        """:return: the error for a connection that broke before there was a response."""
        stalled = isinstance(error, TimeoutError)
        if self.complete:
            why = "no response came" if stalled else "the connection was interrupted"
            return CliError(
                f"everything was sent, but {why}",
                Exit.INCOMPLETE,
                hint=self.unknown_hint,
            )
        of = "" if self._form.length is None else f" of {self._form.length}"
        return CliError(
            f"the upload {'stalled' if stalled else 'was interrupted'} after {self.sent}{of} bytes",
            Exit.INCOMPLETE,
            hint="a connection broke, or the platform or workspace went away; "
            "run the command again",
            transient=True,
        )
