"""
``/openapi.json``: describes the routes of the platform (reference/openapi).
"""

from __future__ import annotations

from typing import Final

from chatfiles.http.server.request import Request
from chatfiles.platform.routes.context import PlatformContext
from chatfiles.platform.routes.packaged_files import PackagedFile, packaged_file, write_file

__all__ = ["load_document", "show_document"]

_FIELDS: Final = ((b"X-Content-Type-Options", b"nosniff"), (b"Cache-Control", b"no-cache"))


def load_document() -> PackagedFile:
    """:return: the document, which is read now, so that it is the one of this version."""
    return packaged_file("openapi.json", b"application/json")


async def show_document(_context: PlatformContext, request: Request) -> None:
    """Send the document."""
    write_file(request, load_document(), _FIELDS)
