"""
What makes treq cheap: everything that it would compute for each request is ready.

treq is used through its public parameters.  It gets a URL in its final form, headers as the lines
that are sent, and a cookie jar that keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from http.cookiejar import Cookie
from typing import Any

from hyperlink import EncodedURL
from treq.cookies import IndexableCookieJar
from twisted.web.http_headers import Headers

__all__ = ["NoCookies", "PreparedHeaders", "PreparedURL"]


class PreparedURL(EncodedURL):
    """
    A URL in its final form.  Otherwise treq would parse every URL again, and its host through IDNA,
    which takes half of treq's time.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def to_uri(self) -> EncodedURL:
        """:return: this URL."""
        return self

    def to_text(self, with_password: bool = False) -> str:
        """:return: the URL as text."""
        return self._text


class PreparedHeaders(Headers):
    """
    The headers of one request to a workspace.  What treq adds to them, such as the encodings that
    it could decode, is ignored.

    :param lines: the header lines that are sent, each with its CRLF.
    :param owner: the id of the workspace.  The name look-ups of one workspace do not delay those of
        another.
    :param uri: the URL to request, bytes; ``None`` if it is the one that treq is given.  Twisted
        parses that one at each request, for cookies, so it may be short: that of the origin.
    :param once: whether the request must not be sent twice, even if its method allows that and the
        workspace does not respond for a while.
    """

    def __init__(
        self, lines: bytes, owner: bytes, *, uri: bytes | None = None, once: bool = False
    ) -> None:
        super().__init__()
        self.lines = lines
        self.owner = owner
        self.uri = uri
        self.once = once

    def copy(self) -> PreparedHeaders:
        """:return: these headers, which never change."""
        return self

    def addRawHeader(self, name: str | bytes, value: str | bytes) -> None:
        """Ignore a header."""

    def hasHeader(self, name: str | bytes) -> bool:
        """:return: true, so that treq does not look for cookies to add."""
        return True


class NoCookies(IndexableCookieJar):
    """A cookie jar that keeps nothing: a workspace must not set cookies for another one."""

    def __iter__(self) -> Iterator[Cookie]:
        return iter(())

    def set_cookie(self, cookie: Cookie) -> None:
        """Ignore a cookie."""

    def add_cookie_header(self, request: Any) -> None:
        """Add nothing."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Keep nothing."""
