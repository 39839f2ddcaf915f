"""
Where a client sends its requests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """
    A file of a server on 127.0.0.1.

    :param path: path and query.
    :param headers: names and values; the client adds ``Host``.
    """

    port: int
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    scheme: str = "http"

    @property
    def url(self) -> str:
        """The whole URL."""
        return f"{self.scheme}://127.0.0.1:{self.port}{self.path}"

    def having(self, *headers: tuple[str, str]) -> Target:
        """:return: the same with more headers."""
        return replace(self, headers=(*self.headers, *headers))
