"""
Commands against a platform that means harm: whatever value it puts into a response, a command ends
with one of its exit statuses, and writes nothing that controls a terminal.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Iterator
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from chatfiles.cli.exit_status import Exit
from tests.cli.cli_stub import WORKSPACE, StubCase, said

#: What a member of a response may be, but should not; `LEFT_OUT` removes it.
LEFT_OUT = object()
VALUES: list[Any] = [
    None, [], {}, "\ud800", "\x1b[2J", 10**400, 2**63, -1, 1.5, float("inf"), True, "", "..",
    "a\0b", [[[]]], {"x": [1]}, "x" * 5000, 0, ["a"], [None], "/etc/passwd", "http://e/", LEFT_OUT,
]  # fmt: skip
SHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
ENTRY = {
    "name": "a",
    "ref": "/workspace/a",
    "type": "file",
    "size": 3,
    "mtime": "2026-11-29T10:02:03.123456789Z",
    "mode": "0644",
    "etag": '"v"',
}
ADMIN = ("--admin-token-file", "token")
USER = ("--token-file", "token")
STORED = {"files": [{"uri": "workspace:/workspace/f", "name": "f", "size": 3, "sha256": SHA256}]}
REFUSED = {
    "error": "x",
    "code": "c",
    "request_id": "r",
    "detail": {"entries": 1, "bytes": 2, "limit": 3},
    "retry_after_seconds": 3,
}
#: Commands, and the response that each gets first.
COMMANDS: list[tuple[tuple[str, ...], str, dict[str, Any]]] = [
    (("stat", *USER, WORKSPACE, "/workspace/a"), "200 OK", {"entry": ENTRY}),
    (("ls", *USER, "-l", WORKSPACE, "/workspace"), "200 OK", {"entries": [ENTRY], "next": "x"}),
    (("ls", *USER, "-l", WORKSPACE), "200 OK", {"roots": [{"path": "/w", "available": True}]}),
    (("digest", *USER, WORKSPACE, "/w/a"), "200 OK", {"sha256": SHA256, "size": 3, "etag": '"v"'}),
    (("link", *USER, WORKSPACE, "/w/a"), "200 OK", {"url": "/links/file?x"}),
    (("put", *USER, "f", WORKSPACE), "200 OK", STORED),
    (("put", *USER, "f", f"{WORKSPACE}:/w/f"), "201 Made", {"size": 3, "sha256": SHA256}),
    (("rm", *USER, "n:/w/f"), "200 OK", {"workspace": {"id": WORKSPACE, "name": "n"}}),
    (("stat", *USER, WORKSPACE, "/workspace/a"), "503 No", REFUSED),
    (
        ("workspace", "list", *ADMIN),
        "200 OK",
        {"workspaces": [{"id": WORKSPACE, "name": "n", "url": "http://x"}], "next": "x"},
    ),
    (("token", "create", *ADMIN, WORKSPACE), "200 OK", {"id": WORKSPACE, "token": "tok"}),
    (
        ("token", "create", *ADMIN, WORKSPACE, "--save-token", "new"),
        "200 OK",
        {"id": WORKSPACE, "token": "tok"},
    ),
]


def members(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """:return: the path of each member of a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in pairs:
        yield (*above, key)
        if isinstance(each, dict | list):
            yield from members(each, (*above, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """:return: *value* with another member at *path*."""
    changed = inside = copy.deepcopy(value)
    for key in path[:-1]:
        inside = inside[key]
    if new is LEFT_OUT:
        del inside[path[-1]]
    else:
        inside[path[-1]] = new
    return changed


CASES = [(index, path) for index, case in enumerate(COMMANDS) for path in members(case[2])]


class HostileTests(StubCase):
    """One member of a response is what it should not be."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(time, "sleep", lambda _: None)
        self.write("f", "abc")

    @given(st.sampled_from(CASES), st.sampled_from(VALUES))
    @example((1, ("next",)), "\ud800")
    @example((1, ("entries",)), [])
    @example((1, ("entries", 0, "ref")), "/workspace/\ud800")
    @example((1, ("entries", 0, "size")), 10**400)
    @example((2, ("roots", 0, "path")), "\ud800")
    @example((9, ("next",)), "\ud800")
    @example((11, ("token",)), "\ud800")
    def test_member(self, case: tuple[int, tuple[Any, ...]], value: Any) -> None:
        """The command ends in order, and in a pipe a line is a line."""
        words, status, response = COMMANDS[case[0]]
        self.server.answers.clear()
        self.play(said(status, replaced(response, case[1], value)), *[said("200 OK", {})] * 3)
        result = self.invoke(*words)
        self.assertIn(result.exit_code, set(Exit), result.output)
        if result.exception is not None:
            self.assertIsInstance(result.exception, SystemExit)
        self.assertNotIn("\x1b", result.stderr)
        left = set(os.listdir(self.directory)) - {"f", "token", ".state"}
        self.assertEqual(left, {"new"} if result.exit_code == 0 and "new" in words else set())
        for name in left:
            os.unlink(self.path(name))
