"""
A response of the platform.  Its body is complete, or reading it raises an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Self

import h11

from chatfiles.cli.errors import CliError, Exit, untrusted
from chatfiles.client.blocking.connection import Connection

__all__ = ["Response"]


class Response:
    """
    A status, its headers, and a body that can be read once.  As a context manager, it closes the
    connection at the end, or gives it back.

    :param connection: receives the body, after h11 has parsed the status and headers.
    :param release: receives the connection at the end; by default it is closed.
    :ivar status: the HTTP status, 200 or greater.
    :ivar reason: the reason phrase after the status.
    """

    def __init__(
        self,
        connection: Connection,
        head: h11.Response,
        release: Callable[[Connection], object] = Connection.close,
    ) -> None:
        self._release = release
        self.status = head.status_code
        self.reason = bytes(head.reason).decode("latin-1")
        self._headers = list(head.headers)
        self._connection = connection

    def header(self, name: str, default: str = "") -> str:
        """:return: the first value of the header *name*; *default* if it is absent."""
        wanted = name.lower().encode("ascii")
        values = [bytes(value) for key, value in self._headers if key == wanted]
        return values[0].decode("latin-1") if values else default

    @property
    def length(self) -> int | None:
        """
        The length of the body in bytes; ``None`` if it is chunked (RFC 9112, 6.3).

        :raise CliError: with these headers, a client cannot distinguish a complete body from an
            interrupted one.
        """
        length = self.header("Content-Length")
        if self.header("Transfer-Encoding"):
            if length:
                raise untrusted("it is framed in two ways")
            return None
        if not length:
            raise untrusted("it has no length, so it cannot be proved to be complete")
        return int(length)

    def body(self) -> Iterator[bytes]:
        """
        :return: the bytes of the body, which is complete when the iterator ends.
        :raise CliError: the body was interrupted, stalled, or is malformed.
        """
        length = self.length
        received = 0
        try:
            for piece in self._connection.body():
                received += len(piece)
                yield piece
        except h11.RemoteProtocolError as error:
            if not self._connection.ended:
                raise untrusted(
                    "a chunk size is malformed, or a chunk is longer than it says"
                ) from error
            raise _interrupted("was interrupted", received, length) from error
        except TimeoutError as error:
            raise _interrupted("stalled", received, length) from error
        except OSError as error:
            raise _interrupted("was interrupted", received, length) from error

    def json(self, limit: int) -> object:
        """
        :param limit: maximum length of the body in bytes.
        :return: the JSON value of the body.
        :raise CliError: the body is incomplete, not JSON, or too long.
        """
        data = bytearray()
        for piece in self.body():
            data += piece
            if len(data) > limit:
                raise untrusted("it is too long")
        try:
            value: object = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise untrusted("it is not JSON") from error
        return value

    def close(self) -> None:
        """Close the connection or give it back, even if the body has not been read to its end."""
        self._release(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def _interrupted(how: str, received: int, length: int | None) -> CliError:
    of = "" if length is None else f" of {length}"
    return CliError(
        f"the transfer {how} after {received}{of} bytes",
        Exit.INCOMPLETE,
        hint="the file may have changed meanwhile, or a connection broke; run the command again",
        transient=True,
    )
