"""
A form on its way up: asked for before it is sent, and stopped when the server has answered.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from functools import partial
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.request import AbstractHTTPHandler, Request

from chatfiles.cli.errors import CliError, Exit
from chatfiles.cli.http.client import Client
from chatfiles.cli.http.duplex_socket import Answered, DuplexSocket
from chatfiles.cli.http.multipart_form import Form

__all__ = ["Upload"]

#: Bytes of a body from which on it pays to ask first whether it is wanted.
WORTH_ASKING = 1024 * 1024
#: Seconds that a server has to say ``100 Continue`` before it gets the body unasked.
ASKING = 1.0


class Upload:
    """
    One request with a form as its body.

    :param advance: told how many more bytes have left.
    :ivar complete: whether all bytes of the files have, so that a success may be believed.
    """

    def __init__(self, form: Form, advance: Callable[[int], object]) -> None:
        self._form = form
        self._advance = advance
        self._sent = 0
        self.complete = False

    def post(self, client: Client, route: str) -> HTTPResponse:
        """
        :param client: used for this request alone.
        :param route: below the platform's base URL.
        :return: the answer, whatever its status, to be closed by the caller.  It may have come
            before the body was `complete`.
        :raise CliError: there was none, or a file could not be sent.
        """
        client._opener.add_handler(_UploadHandler(self))
        return client.open("POST", route, headers={"Accept": "application/json", **self._headers()})

    def send(self, line: DuplexSocket) -> None:
        """
        Send the body; the head has been sent.

        :raise Answered: the server does not wait for the rest.
        :raise CliError: it stalled, or a file could not be sent.
        """
        try:
            if self._asks():
                line.invitation(ASKING)
            for block in self._form.blocks(line.readable):
                self._send(line, block)
            self.complete = True  # by the closing's first bytes a server may know that it has all
            self._send(line, self._form.closing, last=True)
        except TimeoutError as error:
            raise self.cut(error) from error

    def cut(self, error: OSError) -> CliError:
        """:return: the error for a connection that gave no answer."""
        if self.complete:
            why = "no answer came" if isinstance(error, TimeoutError) else "the connection was cut"
            return CliError(
                f"everything was sent, but {why}",
                Exit.INCOMPLETE,
                hint="the files may have been stored; sending them again would store them twice",
            )
        happened = "stalled" if isinstance(error, TimeoutError) else "was cut"
        of = "" if self._form.length is None else f" of {self._form.length}"
        return CliError(
            f"the upload {happened} after {self._sent}{of} bytes",
            Exit.INCOMPLETE,
            hint="a connection broke, or the platform or workspace went away; "
            "run the command again",
            transient=True,
        )

    def _send(self, line: DuplexSocket, block: bytes, *, last: bool = False) -> None:
        framed = block
        if self._form.length is None:  # chunked (RFC 9112, 7.1)
            framed = b"%x\r\n%s\r\n%s" % (len(block), block, b"0\r\n\r\n" if last else b"")
        line.sendall(framed)
        self._sent += len(block)
        self._advance(len(block))

    def _asks(self) -> bool:
        return self._form.length is None or self._form.length >= WORTH_ASKING

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": self._form.content_type}
        if self._form.length is None:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(self._form.length)
        if self._asks():
            headers["Expect"] = "100-continue"
        return headers


class _UploadConnection(HTTPConnection):
    """A connection for one request, whose body is an `Upload`."""

    def __init__(self, host: str, *, upload: Upload, **more: Any) -> None:
        super().__init__(host, **more)
        self._upload = upload

    def connect(self) -> None:
        super().connect()
        self.sock: Any = DuplexSocket(self.sock)

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, Any] = {},
        *,
        encode_chunked: bool = False,
    ) -> None:
        try:
            super().request(method, url, body, headers, encode_chunked=encode_chunked)
            self._upload.send(self.sock)
        except Answered:
            return  # the answer is what getresponse reads

    def getresponse(self) -> HTTPResponse:
        try:
            return super().getresponse()
        except OSError as error:
            raise self._upload.cut(error) from error


class _SecureUploadConnection(_UploadConnection, HTTPSConnection):
    """The same over TLS."""


class _UploadHandler(AbstractHTTPHandler):
    """Makes these connections; `urllib` still finds the proxy and writes the head."""

    handler_order = 400  # before the client's own, which have 500

    def __init__(self, upload: Upload) -> None:
        super().__init__()
        self._upload = upload

    def http_open(self, request: Request) -> HTTPResponse:
        return self.do_open(partial(_UploadConnection, upload=self._upload), request)

    def https_open(self, request: Request) -> HTTPResponse:
        secure = partial(_SecureUploadConnection, upload=self._upload)
        return self.do_open(secure, request, context=ssl.create_default_context())
