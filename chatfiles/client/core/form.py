"""
A file as the only part of a ``multipart/form-data`` body (RFC 7578; names are escaped as in
WHATWG's forms).
"""

from __future__ import annotations

from dataclasses import dataclass

from chatfiles.client.core.steps import Body, Emit, Steps
from chatfiles.client.core.supply import Supply
from chatfiles.rules.media_types import media_type

__all__ = ["Form", "escaped_name"]

#: The characters that browsers escape in a quoted name: only line ends and the quote itself.
_ESCAPES = ((b"\r", b"%0D"), (b"\n", b"%0A"), (b'"', b"%22"))


def escaped_name(name: bytes) -> bytes:
    """:return: *name* as the value of ``filename``, without its quotation marks."""
    for character, escape in _ESCAPES:
        name = name.replace(character, escape)
    return name


@dataclass(frozen=True)
class Form:
    """
    The body.

    :param name: of the file.
    :param supply: its bytes.
    :param boundary: what the author of the file cannot guess.
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
        # Without the parameters of the media type: the charset of a text is not known here.
        essence = media_type(self.name).partition(";")[0].encode("ascii")
        return b'--%s\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n' % (
            self.boundary.encode("ascii"),
            escaped_name(self.name),
        ) + (b"Content-Type: %s\r\n\r\n" % essence)

    @property
    def _closing(self) -> bytes:
        return b"\r\n--%s--\r\n" % self.boundary.encode("ascii")
