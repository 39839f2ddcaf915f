"""
A response on a blocking connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Self

import h11

from chatfiles.client.blocking.connection import Connection
from chatfiles.client.core.errors import BadAnswer, Incomplete

__all__ = ["BlockingResponse"]


class BlockingResponse:
    """
    See `chatfiles.client.core.steps.Response`.

    :param connection: has received the headers.
    :param begun: the status and the headers.
    :param release: takes the connection at the end.
    :param has_body: whether a body follows; a response to ``HEAD`` has none.
    """

    def __init__(
        self,
        connection: Connection,
        begun: h11.Response,
        release: Callable[[Connection], object],
        *,
        has_body: bool,
    ) -> None:
        self.status = begun.status_code
        self.reason = bytes(begun.reason).decode("latin-1")
        self._headers = [(bytes(name), bytes(value)) for name, value in begun.headers]
        self._connection = connection
        self._release: Callable[[Connection], object] | None = release
        self._received = 0
        lengths, codings = self.values("Content-Length"), self.values("Transfer-Encoding")
        if lengths and codings:
            self.close()
            raise BadAnswer("the end of the response is given in two ways")
        self.length = int(lengths[0]) if lengths else None
        has_body = has_body and self.status not in (204, 304)
        self.framed = not has_body or bool(lengths or codings)

    def values(self, name: str) -> Sequence[str]:
        """See `Response`."""
        wanted = name.lower().encode("ascii")
        return [value.decode("latin-1") for key, value in self._headers if key == wanted]

    def receive(self) -> bytes:
        """See `Receive`."""
        try:
            piece = next(self._pieces, b"")
        except h11.RemoteProtocolError as error:
            if not self._connection.ended:
                raise BadAnswer(
                    "a chunk size of the response is malformed, or a chunk is longer than it says"
                ) from error
            raise self._interrupted("was interrupted") from error
        except TimeoutError as error:
            raise self._interrupted("stalled") from error
        except OSError as error:
            raise self._interrupted("was interrupted") from error
        self._received += len(piece)
        if not piece and not self.framed:
            raise Incomplete("the response may have been interrupted: it has no length")
        return piece

    @cached_property
    def _pieces(self) -> Iterator[bytes]:
        return filter(None, self._connection.body())

    def _interrupted(self, how: str) -> Incomplete:
        of = "" if self.length is None else f" of {self.length}"
        return Incomplete(
            f"the response {how} after {self._received}{of} bytes",
            done=self._received,
            total=self.length,
            transient=True,
        )

    def close(self) -> None:
        """See `Response`."""
        release, self._release = self._release, None
        if release is not None:
            release(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
