"""
The routes of the platform's file operations.
"""

from __future__ import annotations

from urllib.parse import quote, quote_from_bytes

__all__ = ["operation_route"]


def operation_route(
    workspace: str, operation: str, path: bytes | None = None, **parameters: str | int | None
) -> str:
    """
    :param workspace: its id.
    :param operation: such as ``entries``.
    :param path: the virtual path, as bytes; ``None`` if the operation takes none in its query.
    :param parameters: further parameters of the query; those that are ``None`` are left out.
    :return: the route below the platform's base URL, percent-encoded.
    """
    query = [] if path is None else [f"path={quote_from_bytes(path, safe='/')}"]
    given = [(key, value) for key, value in parameters.items() if value is not None]
    query += [f"{key}={quote(str(value))}" for key, value in given]
    return f"/workspaces/{workspace}/fs/{operation}" + ("?" + "&".join(query) if query else "")
