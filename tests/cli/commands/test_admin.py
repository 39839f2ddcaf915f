"""
``chatfiles workspace``, ``chatfiles token`` and ``chatfiles secret``: the requests they send, and
what they print.
"""

from __future__ import annotations

import json
import os
import stat
from typing import Any

from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.cli.terminal.tables import cell, table
from tests.cli.cli_stub import TOKEN, WORKSPACE, StubCase, answer, counted, said

TOKEN_ID = "9b2d5c1e-0f4a-4b6c-8e7d-1a2b3c4d5e6f"
NEW = "new-token-abcdefgh"
ROWS: list[dict[str, Any]] = [
    {
        "id": WORKSPACE,
        "name": "build-7",
        "url": "http://10.1.2.3:8000",
        "status": "online",
        "delivery_mode": "push",
        "last_heartbeat_at": "2026-01-02T03:04:05.678901+00:00",
    },
    {"id": TOKEN_ID, "name": "a\x1bb", "url": None, "status": "provisioning"},
]


class AdminCase(StubCase):
    def admin(self, *words: str, **more: Any) -> Result:
        return self.invoke(*words, "--admin-token-file", "token", **more)


class WorkspaceTests(AdminCase):
    """``chatfiles workspace``."""

    def test_revoke_links(self) -> None:
        """All links of a workspace end with one request."""
        self.play(answer("204 No Content"))
        result = self.admin("workspace", "revoke-links", WORKSPACE)
        self.ended(result, 0)
        self.assertEqual(
            (result.stdout, result.stderr), ("", f"revoked all links of {WORKSPACE}\n")
        )
        asked = self.asked[0]
        self.assertEqual((asked.method, asked.target), ("DELETE", f"/workspaces/{WORKSPACE}/links"))

    def test_create(self) -> None:
        """Only the given options are sent; the id and the token are printed."""
        made = {"id": WORKSPACE, "name": "", "auth_token": NEW}
        self.play(said("201 Created", made))
        result = self.admin("workspace", "create")
        self.ended(result, 0)
        self.assertEqual(
            result.stdout, f"id          {WORKSPACE}\nname        -\nauth_token  {NEW}\n"
        )
        asked = self.asked[0]
        self.assertEqual((asked.method, asked.target, asked.json), ("POST", "/workspaces", {}))
        self.assertEqual(asked.headers["Content-Type"], "application/json")
        self.assertEqual(asked.headers["Authorization"], f"Bearer {TOKEN}")
        self.play(said("200 OK", ROWS), said("201 Created", made))
        words = ["--name", "n", "--url", "http://h:1", "--delivery-mode", "push", "--id"]
        result = self.admin("workspace", "create", *words, WORKSPACE.upper(), "--json")
        self.assertEqual(json.loads(result.stdout), made)
        self.assertEqual(
            self.asked[2].json,
            {"name": "n", "url": "http://h:1", "delivery_mode": "push", "id": WORKSPACE},
        )

    def test_save_token(self) -> None:
        """``--save-token`` writes the token to a private file and does not print it."""
        made = {"id": WORKSPACE, "name": "n", "auth_token": NEW}
        for words in ((), ("--json",)):
            self.play(said("201 Created", made))
            result = self.admin("workspace", "create", "--save-token", "t", *words)
            self.ended(result, 0, "the token is in t")
            self.assertNotIn(NEW, result.output)
            self.assertIn(WORKSPACE, result.stdout)
            self.assertEqual(self.read("t"), f"{NEW}\n".encode())
            self.assertEqual(stat.S_IMODE(os.stat(self.path("t")).st_mode), 0o600)
            os.unlink(self.path("t"))

    def test_save_token_to_what_exists(self) -> None:
        """If the token's file exists, it is not replaced and no token is created."""
        self.write("t", "mine")
        result = self.admin("workspace", "create", "--save-token", "t")
        self.ended(result, 8, "cannot make t: File exists")
        self.assertEqual(self.read("t"), b"mine")
        self.assertEqual(self.asked, [])

    def test_save_token_of_a_failure(self) -> None:
        """If no token is created, no file is left."""
        for wire, status in (
            (said("409 Conflict", {"error": "already exists"}), 5),
            (said("201 Created", {"id": WORKSPACE}), 7),
            (said("201 Created", {"id": WORKSPACE, "auth_token": 5}), 7),
        ):
            self.play(wire)
            self.ended(self.admin("workspace", "create", "--save-token", "t"), status)
            self.assertEqual(self.files(), [])

    def test_list(self) -> None:
        """Workspaces are printed as an aligned table without control characters, or as JSON."""
        for shape in (ROWS, {"workspaces": ROWS}):
            self.play(said("200 OK", shape), said("200 OK", shape))
            lines = self.admin("workspace", "list").stdout.splitlines()
            self.assertEqual(len(lines), 3)
            self.assertEqual(lines[1].split()[-1], "2026-01-02T03:04:05+00:00")
            self.assertEqual(
                lines[0].split(),
                ["ID", "NAME", "STATUS", "URL", "DELIVERY", "MODE", "LAST", "HEARTBEAT", "AT"],
            )
            self.assertEqual(
                {
                    line.index(word)
                    for line, word in zip(lines, ("STATUS", "online", "provisioning"), strict=True)
                },
                {lines[0].index("STA")},
            )
            self.assertIn(r"a\x1bb", lines[2])
            result = self.admin("workspace", "list", "--json")
            self.assertEqual(json.loads(result.stdout), ROWS)
            self.assertNotIn("\x1b", result.stdout)

    def test_pages(self) -> None:
        """
        All pages of a list are fetched; a page that names no valid next page ends with status 7.
        """
        first = {"workspaces": ROWS[:1], "next": WORKSPACE}
        self.play(said("200 OK", first), said("200 OK", {"workspaces": ROWS[1:]}))
        result = self.admin("workspace", "list", "--json")
        self.assertEqual(json.loads(result.stdout), ROWS)
        targets = [asked.target for asked in self.asked]
        self.assertEqual(targets, ["/workspaces", f"/workspaces?after={WORKSPACE}"])
        for broken in ({"workspaces": [], "next": WORKSPACE}, {"workspaces": ROWS, "next": 1}):
            self.play(said("200 OK", broken))
            self.ended(self.admin("workspace", "list"), 7, "more comes, but not where")
        self.play(said("200 OK", first), said("503 Service Unavailable", {"error": "later"}))
        self.ended(self.admin("workspace", "list"), 6)

    def test_summaries(self) -> None:
        """The help of a group shows the whole summary of each command."""
        for group in ("workspace", "token", "registry"):
            _, commands = self.invoke(group, "--help").stdout.split("\nCommands:\n")
            self.assertNotIn("...", commands)

    def test_empty_list(self) -> None:
        """An empty list is a message on standard error, or ``[]`` with ``--json``."""
        self.play(said("200 OK", []), said("200 OK", []))
        result = self.admin("workspace", "list")
        self.ended(result, 0, "no workspaces")
        self.assertEqual(result.stdout, "")
        self.assertEqual(self.admin("workspace", "list", "--json").stdout, "[]\n")

    def test_show(self) -> None:
        """A workspace is shown with the admin token or with a token of its own."""
        self.play(*[said("200 OK", ROWS[0])] * 3)
        result = self.admin("workspace", "show", WORKSPACE)
        self.ended(result, 0)
        self.assertIn("status             online\n", result.stdout)
        self.assertIn("last_heartbeat_at  2026-01-02T03:04:05+00:00\n", result.stdout)
        self.assertEqual(self.asked[0].target, f"/workspaces/{WORKSPACE}")
        self.write("own", "own-token")
        result = self.invoke("workspace", "show", WORKSPACE, "--token-file", "own", "--json")
        self.assertEqual(json.loads(result.stdout), ROWS[0])
        self.assertEqual(self.asked[1].headers["Authorization"], "Bearer own-token")

    def test_connected(self) -> None:
        """In place of a URL, a workspace that connects by itself shows whether it does."""
        rows = [
            {**ROWS[1], "channel": {"connected": connected, "seen_at": None}}
            for connected in (True, False)
        ]
        self.play(said("200 OK", {"workspaces": rows}), said("200 OK", rows[0]))
        lines = self.admin("workspace", "list").stdout.splitlines()
        self.assertIn("  (connected)  ", lines[1])
        self.assertIn("  (not connected)  ", lines[2])
        shown = self.admin("workspace", "show", WORKSPACE).stdout
        self.assertIn("url                (connected)\n", shown)

    def test_remove(self) -> None:
        """A workspace is removed without a question if there is no terminal."""
        self.play(answer("204 No Content"))
        self.ended(self.admin("workspace", "remove", WORKSPACE), 0, f"removed {WORKSPACE}")
        asked = self.asked[0]
        self.assertEqual((asked.method, asked.target), ("DELETE", f"/workspaces/{WORKSPACE}"))


class TokenTests(AdminCase):
    """``chatfiles token``."""

    def test_create(self) -> None:
        """Scopes and name are sent if they are given; the token is printed."""
        made = {"id": TOKEN_ID, "token": NEW, "prefix": NEW[:8], "scopes": ["read", "write"]}
        self.play(said("201 Created", made), said("201 Created", made))
        words = ["--scope", "read", "--scope", "write", "--name", "alice"]
        result = self.admin("token", "create", WORKSPACE, *words)
        self.ended(result, 0)
        self.assertEqual(
            result.stdout,
            f"id      {TOKEN_ID}\nprefix  {NEW[:8]}\nscopes  read,write\ntoken   {NEW}\n",
        )
        asked = self.asked[0]
        self.assertEqual((asked.method, asked.target), ("POST", f"/workspaces/{WORKSPACE}/tokens"))
        self.assertEqual(asked.json, {"scopes": ["read", "write"], "name": "alice"})
        self.ended(self.admin("token", "create", WORKSPACE, "--json"), 0)
        self.assertEqual(self.asked[1].json, {})

    def test_unknown_scope(self) -> None:
        """An unknown scope is a usage error."""
        result = self.admin("token", "create", WORKSPACE, "--scope", "all")
        self.assertEqual(result.exit_code, 2)

    def test_list(self) -> None:
        """The list shows the first characters of each token, to distinguish them."""
        rows = [{"id": TOKEN_ID, "prefix": "abcdefgh", "scopes": ["read"], "name": None}]
        self.play(said("200 OK", rows))
        result = self.admin("token", "list", WORKSPACE)
        self.ended(result, 0)
        self.assertEqual(self.asked[0].target, f"/workspaces/{WORKSPACE}/tokens")
        self.assertEqual(result.stdout.split()[-6:], [TOKEN_ID, "abcdefgh", "read", "-", "-", "-"])

    def test_revoke(self) -> None:
        """A token is revoked by its id."""
        self.play(answer("204 No Content"))
        self.ended(self.admin("token", "revoke", WORKSPACE, TOKEN_ID), 0, f"revoked {TOKEN_ID}")
        asked = self.asked[0]
        self.assertEqual(asked.method, "DELETE")
        self.assertEqual(asked.target, f"/workspaces/{WORKSPACE}/tokens/{TOKEN_ID}")


class SecretTests(AdminCase):
    """``chatfiles secret``."""

    def rotate(self, response: dict[str, object], *options: str) -> Any:
        """:return: the result; the request is checked."""
        self.play(said("202 Accepted", response))
        result = self.admin("secret", "rotate", WORKSPACE, *options)
        (asked,) = self.asked
        self.assertEqual(asked.method, "POST")
        self.assertEqual(asked.target, f"/workspaces/{WORKSPACE}/secret/rotate")
        self.assertEqual(asked.json, {"force": "--force" in options})
        return result

    def test_rotate(self) -> None:
        """It prints that the secret is pending, and its first characters."""
        result = self.rotate({"state": "pending", "next_prefix": "abcdefgh"})
        self.ended(result, 0)
        self.assertEqual(result.stdout, "state        pending\nnext_prefix  abcdefgh\n")

    def test_force(self) -> None:
        """``--force`` replaces it at once; ``--json`` prints the response."""
        response: dict[str, object] = {"state": "rotated", "prefix": "abcdefgh"}
        result = self.rotate(response, "--force", "--json")
        self.ended(result, 0)
        self.assertEqual(json.loads(result.stdout), response)


class OddAnswerTests(AdminCase):
    """Responses that violate the contract: exit status 7, never a traceback."""

    def test_odd(self) -> None:
        """A malformed response is refused with status 7, even if its HTTP status is 200."""
        for wire in (
            counted(b"<html>"),
            counted(b""),
            counted(b"[" * 100000),
            counted(b"[]", short=1),
            said("200 OK", "text"),
            said("200 OK", {"rows": []}),
            said("200 OK", [1]),
            answer("200 OK", body=b"[]"),
            answer("302 Found", "Location: /login", "Content-Length: 0"),
        ):
            self.play(wire)
            self.ended(self.admin("workspace", "list"), 7)

    def test_refused(self) -> None:
        """A refused admin token has the exit status of any refused credential."""
        self.play(said("401 Unauthorized", {"error": "invalid workspace auth token"}))
        self.ended(self.admin("workspace", "list"), 4, "invalid workspace auth token", "admin")


class TableTests(SynchronousTestCase):
    """Tables."""

    def test_cells(self) -> None:
        """Every JSON value is shown as one printable line."""
        for value, shown in (
            (None, "-"),
            ("", "-"),
            ([], "-"),
            (["a", None], "a,-"),
            (0, "0"),
            (False, "false"),
            ({"a": 1}, '{"a": 1}'),
            ("a\nb", r"a\nb"),
        ):
            self.assertEqual(cell(value), shown)

    @given(st.lists(st.fixed_dictionaries({"a": st.text(max_size=9), "b": st.integers()})))
    def test_aligned(self, rows: list[dict[str, Any]]) -> None:
        """Each row is one line; each column begins where its header does."""
        lines = table(["a", "b"], rows).split("\n")
        self.assertEqual(len(lines), 1 + len(rows))
        start = lines[0].index("B")
        for line, row in zip(lines[1:], rows, strict=True):
            self.assertEqual(line[start:], str(row["b"]))
            self.assertEqual(line[:start].strip(), cell(row["a"]).strip())
