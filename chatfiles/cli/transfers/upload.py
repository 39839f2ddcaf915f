"""
A form on its way to the platform: announced before it is sent, and stopped by an early response.
"""

from __future__ import annotations

from collections.abc import Callable

import h11

from chatfiles.cli.errors import CliError, Exit
from chatfiles.cli.http.client import Client
from chatfiles.cli.http.connection import Connection
from chatfiles.cli.http.multipart_form import Form
from chatfiles.cli.http.response import Response

__all__ = ["Upload"]

#: Bytes of a body from which on it pays to ask first whether the server wants it.
WORTH_ASKING = 1024 * 1024
#: Seconds that a server has to send ``100 Continue`` before it gets the body all the same.
CONTINUE_TIMEOUT = 1.0


class Upload:
    """
    One request with a form as its body.

    :param form: what is sent.
    :param advance: called with the number of bytes that have just been sent.
    :ivar complete: whether all bytes of the files have been sent, so that a success can be true.
    """

    def __init__(self, form: Form, advance: Callable[[int], object]) -> None:
        self.complete = False
        self._form = form
        self._advance = advance
        self._sent = 0
        self._asks = form.length is None or form.length >= WORTH_ASKING

    def post(self, client: Client, route: str) -> Response:
        """
        :param route: below the platform's base URL.
        :return: the response, whatever its status.  It may have come before the body was
            `complete`.  The one who asked closes it.
        :raise CliError: there was none, or a file could not be sent.
        """
        headers = {"Accept": "application/json", "Content-Type": self._form.content_type}
        if self._form.length is None:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(self._form.length)
        if self._asks:
            headers["Expect"] = "100-continue"
        return client.open("POST", route, headers=headers, send=self._send, failed=self._failed)

    def _send(self, connection: Connection) -> None:
        if self._asks:
            connection.wait_for_continue(CONTINUE_TIMEOUT)
        for block in self._form.blocks(connection.wait_readable):
            self._send_block(connection, block)
        self.complete = True  # the first bytes of the closing can tell a server that it has all
        self._send_block(connection, self._form.closing)

    def _send_block(self, connection: Connection, block: bytes) -> None:
        connection.send(h11.Data(data=block))
        self._sent += len(block)
        self._advance(len(block))

    def _failed(self, error: OSError) -> CliError:
        """:return: the error for a connection that gave no response."""
        stalled = isinstance(error, TimeoutError)
        if self.complete:
            why = "no answer came" if stalled else "the connection was cut"
            return CliError(
                f"everything was sent, but {why}",
                Exit.INCOMPLETE,
                hint="the files may have been stored; sending them again would store them twice",
            )
        of = "" if self._form.length is None else f" of {self._form.length}"
        return CliError(
            f"the upload {'stalled' if stalled else 'was cut'} after {self._sent}{of} bytes",
            Exit.INCOMPLETE,
            hint="a connection broke, or the platform or workspace went away; "
            "run the command again",
            transient=True,
        )
