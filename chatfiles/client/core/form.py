"""
A file as the only part of a ``multipart/form-data`` body (RFC 7578; names are escaped as in
WHATWG's forms).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from chatfiles.client.core.steps import Body, Emit, Steps
from chatfiles.client.core.upload_source import Supply
from chatfiles.rules.media_types import media_type

__all__ = ["Form", "new_boundary", "part_headers"]

#: The characters that browsers escape in a quoted name: only line ends and the quote itself.
_ESCAPES = ((b"\r", b"%0D"), (b"\n", b"%0A"), (b'"', b"%22"))


def new_boundary(token_hex: Callable[[int], str] = secrets.token_hex) -> str:
    """
    :param token_hex: returns the given number of random bytes in hexadecimal.
    :return: a boundary that the author of a file cannot guess.
    """
    return f"chatfiles-{token_hex(16)}"


def part_headers(name: bytes) -> bytes:
    """:return: what follows the delimiter before the bytes of the file *name*."""
    # Without the parameters of the media type: the charset of a text is not known here.
    essence = media_type(name).partition(";")[0].encode("ascii")
    for character, escape in _ESCAPES:
        name = name.replace(character, escape)
    return (
        b'\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n'
        b"Content-Type: %s\r\n\r\n" % (name, essence)
    )


@dataclass(frozen=True)
class Form:
    """
    The body.

    :param name: of the file.
    :param supply: its bytes.
    :param boundary: see `new_boundary`.
    """

    name: bytes
    supply: Supply
    boundary: str

    @property
    def content_type(self) -> str:
        """The ``Content-Type`` of the body."""
        return f"multipart/form-data; boundary={self.boundary}"

    def body(self) -> Body:
        """:return: the body."""
        around = len(self._head) + len(self._closing)
        size = self.supply.size
        return Body(None if size is None else size + around, self._pieces)

    def _pieces(self) -> Steps[None]:
        yield Emit(self._head)
        yield from self.supply.pieces()
        yield Emit(self._closing)

    @property
    def _head(self) -> bytes:
        return b"--" + self.boundary.encode("ascii") + part_headers(self.name)

    @property
    def _closing(self) -> bytes:
        return b"\r\n--%s--\r\n" % self.boundary.encode("ascii")
