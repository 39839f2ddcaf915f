"""
Workspaces that are given by name, wherever a command takes an id.
"""

from __future__ import annotations

from typing import Any

from chatfiles.cli.options import ADMIN
from tests.cli.cli_stub import WORKSPACE, StubCase, answer, counted, said

OTHER = "9b2d5c1e-0f4a-4b6c-8e7d-1a2b3c4d5e6f"


def listed(*names: str, **more: Any) -> bytes:
    """:return: a page of workspaces with these names; the first one is `WORKSPACE`."""
    ids = [WORKSPACE, OTHER, *(f"{n:08x}-0000-4000-8000-000000000000" for n in range(9))]
    rows = [{"id": key, "name": name} for key, name in zip(ids, names, strict=False)]
    return said("200 OK", {"workspaces": rows, **more})


def opens(name: str | None, **more: Any) -> bytes:
    """:return: what the platform says of a token of `WORKSPACE`, which has this name."""
    return said("200 OK", {"workspace": {"id": WORKSPACE, "name": name, **more}})


OF_ADMIN = said("200 OK", {"workspace": None})
USES = {
    "get": ("get", "NAME", "/workspace/f", "-o", "-"),
    "put": ("put", "token", "NAME"),
    "show": ("workspace", "show", "NAME"),
    "remove": ("workspace", "remove", "NAME"),
    "revoke-links": ("workspace", "revoke-links", "NAME"),
    "create": ("token", "create", "NAME"),
    "list": ("token", "list", "NAME"),
    "revoke": ("token", "revoke", "NAME", OTHER),
}


class NameCase(StubCase):
    """Runs commands that name a workspace."""

    def use(self, command: str, name: str, option: str) -> Any:
        words = [name if word == "NAME" else word for word in USES[command]]
        return self.invoke(*words, option, "token")


class NameTests(NameCase):
    """Names that one workspace has."""

    def test_everywhere(self) -> None:
        """Every command that takes an id takes a name, and sends the id that it stands for."""
        refused = said("404 Not Found", {"error": "workspace not found"})
        for command in USES:
            user = command in ("get", "put")
            found = [opens("demo")] if user else [listed("demo", "x")]
            self.play(*found, refused)
            result = self.use(command, "demo", "--token-file" if user else ADMIN.option)
            self.ended(result, 3, "workspace not found")
            first, second = self.asked[-2:]
            self.assertEqual(first.target, "/token" if user else "/workspaces")
            self.assertIn(f"/workspaces/{WORKSPACE}", second.target)

    def test_id(self) -> None:
        """An id is never looked up, not even if a workspace has it as its name."""
        self.play(counted(b"x"))
        self.ended(self.use("get", WORKSPACE.upper(), "--token-file"), 0)
        self.assertEqual(len(self.asked), 1)

    def test_admin_token_for_a_transfer(self) -> None:
        """``get`` with the admin token finds any workspace, on every page of the list."""
        self.play(OF_ADMIN, listed("a", next=OTHER), listed("demo"), counted(b"x"))
        result = self.use("get", "demo", "--token-file")
        self.ended(result, 0)
        self.assertEqual(result.stdout, "x")

    def test_exactly(self) -> None:
        """A name is compared exactly: no case, no blanks, no beginning."""
        for name in ("Demo", "dem", "demo ", "demo2"):
            self.play(listed("demo"))
            self.ended(self.use("list", name, ADMIN.option), 3, f"no workspace is named '{name}'")

    def test_own_token(self) -> None:
        """``workspace show`` with a token of the workspace takes the name, too."""
        self.play(opens("demo"), said("200 OK", {"id": WORKSPACE, "name": "demo"}))
        self.ended(self.use("show", "demo", "--token-file"), 0)


class RefusedNameTests(NameCase):
    """Names that stand for no workspace, or for more than one."""

    def test_ambiguous(self) -> None:
        """A name of several workspaces is refused, with their ids."""
        self.play(listed("demo", "demo", "x"))
        result = self.use("remove", "demo", ADMIN.option)
        self.ended(result, 2, "2 workspaces are named 'demo'", WORKSPACE, OTHER)
        self.play(listed(*["demo"] * 9))
        self.ended(self.use("remove", "demo", ADMIN.option), 2, "9 workspaces", ", …")
        self.assertEqual({asked.method for asked in self.asked}, {"GET"})

    def test_not_opened(self) -> None:
        """A token finds only the workspace that it opens, and the hint names that one."""
        for own in ("other", None):
            self.play(opens(own))
            result = self.use("get", "demo", "--token-file")
            self.ended(result, 3, "does not open a workspace named 'demo'", WORKSPACE)

    def test_platform_without_names(self) -> None:
        """A platform without the route is no reason to look for the workspace elsewhere."""
        self.play(answer("404 Not Found", "Content-Length: 0"))
        self.ended(self.use("get", "demo", "--token-file"), 2, "give the workspace's id")

    def test_untrusted(self) -> None:
        """A response without a valid id is not used to build another request."""
        for wrong in ("../x", "", None, 5):
            self.play(opens("demo", id=wrong))
            self.ended(self.use("get", "demo", "--token-file"), 7, "without an id")

    def test_refused(self) -> None:
        """An invalid token is reported as for any other request."""
        self.play(said("401 Unauthorized", {"error": "invalid workspace auth token"}))
        self.ended(self.use("get", "demo", "--token-file"), 4, "is it for this workspace")

    def test_unreadable_file_first(self) -> None:
        """``put`` of a file that cannot be read asks nothing."""
        result = self.invoke("put", "nothing", "demo", "--token-file", "token")
        self.ended(result, 8, "nothing")
        self.assertEqual(self.asked, [])


class SecondTests(NameCase):
    """``workspace create`` with a name that a workspace has already."""

    MADE = said("201 Created", {"id": OTHER, "name": "demo", "auth_token": "t" * 43})

    def create(self) -> Any:
        return self.invoke("workspace", "create", "--name", "demo", ADMIN.option, "token")

    def test_warned(self) -> None:
        """Without a terminal the second workspace is created, and a warning names the first one."""
        self.play(listed("demo"), self.MADE)
        self.ended(self.create(), 0, f"warning: workspace {WORKSPACE} is named 'demo' already")

    def test_first(self) -> None:
        """There is no warning about a new name."""
        self.play(listed("another"), self.MADE)
        self.assertNotIn("warning", self.create().stderr)
