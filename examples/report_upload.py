"""A part of a program that uses a platform: it stores a report and reads it back."""

from __future__ import annotations

import treq


class Reports:
    """
    Keeps reports in a workspace.

    :param url: of the platform.
    :param workspace: the id of the workspace.
    :param token: of the workspace, with the scopes ``read`` and ``write``.
    """

    def __init__(self, url: str, workspace: str, token: str) -> None:
        self._base = f"{url}/workspaces/{workspace}/fs/file?path=/workspace/reports/"
        self._headers: dict[bytes | str, bytes | str] = {"Authorization": f"Bearer {token}"}

    async def store(self, name: str, text: str) -> None:
        """:raise RuntimeError: it is not stored."""
        target = f"{self._base}{name}&parents=1"
        response = await treq.put(target, text.encode(), headers=self._headers, persistent=False)
        answer = await response.json()
        if response.code not in (200, 201):
            raise RuntimeError(f"{answer['error']} ({answer['code']})")

    async def read(self, name: str) -> str:
        """:raise LookupError: there is no such report."""
        response = await treq.get(self._base + name, headers=self._headers, persistent=False)
        if response.code == 404:
            raise LookupError(name)
        content: bytes = await response.content()
        return content.decode()
