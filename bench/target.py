"""
Where a client sends its requests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Failed", "Target"]


class Failed(Exception):
    """A request failed, so nothing was measured."""


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

    @property
    def request(self) -> bytes:
        """A ``GET`` request for it."""
        lines = [f"GET {self.path} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode("ascii")

    def having(self, *headers: tuple[str, str]) -> Target:
        """:return: the same with more headers."""
        return replace(self, headers=(*self.headers, *headers))
