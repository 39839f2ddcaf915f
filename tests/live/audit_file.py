"""
The audit log of a role.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

from tests.live.role import until

__all__ = ["AuditFile"]


class AuditFile:
    """
    One file.

    :param path: of the file.
    :ivar option: makes a role write it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.option = f"--audit-log={path}"
        self._checked = 0

    def lines(self) -> list[dict[str, Any]]:
        """:return: all lines until now."""
        return [json.loads(line) for line in self._text(0).splitlines()]

    def of(self, request_id: str) -> dict[str, Any]:
        """:return: the line about a request, once it is there."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines() if line["request_id"] == request_id]

        until(found, f"a line about {request_id}")
        (line,) = found()
        return line

    def check(self, secrets: Iterable[str]) -> None:
        """
        :raise AssertionError: what was written since the last time has a secret, or is no JSON.
        """
        text = self._text(self._checked)
        text = text[: text.rfind("\n") + 1]
        self._checked += len(text)
        for line in text.splitlines():
            json.loads(line)
        wrong = [secret for secret in secrets if secret in text]
        if wrong or not text.isascii():
            raise AssertionError(f"{wrong} in {self.path}:\n{text}")

    def _text(self, start: int) -> str:
        if not os.path.exists(self.path):
            return ""
        with open(self.path) as file:
            file.seek(start)
            return file.read()
