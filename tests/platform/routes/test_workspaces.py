"""
``GET /workspaces``: a short list as a whole, a long one in pages.
"""

from __future__ import annotations

from uuid import UUID

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.routes.workspaces import MAX_PAGE
from tests.contract.registry_case import FIRST, SECOND, THIRD, UNKNOWN
from tests.platform.memory_platform import MemoryPlatformCase


class PageTests(MemoryPlatformCase):
    """The list of workspaces."""

    def listed(self, query: str = "") -> tuple[list[str], str | None]:
        """:return: the ids in one response, and where the next page begins."""
        answer = self.get(f"/workspaces{query}").json
        self.assertLessEqual(set(answer), {"workspaces", "next"})
        return [row["id"] for row in answer["workspaces"]], answer.get("next")

    def test_few(self) -> None:
        """A short list is returned as a whole, without ``next``."""
        self.assertEqual(self.listed(), ([], None))
        for each in (SECOND, FIRST, THIRD):
            self.add(each)
        expected = [str(each) for each in (FIRST, SECOND, THIRD)]
        for query in ("", "?limit=3", "?limit=1000", "?other=1", "?limit=003"):
            self.assertEqual(self.listed(query), (expected, None), query)

    def test_pages(self) -> None:
        """The pages contain each workspace once, in order; the last page has no ``next``."""
        for each in (FIRST, SECOND, THIRD):
            self.add(each)
        self.assertEqual(self.listed("?limit=2"), ([str(FIRST), str(SECOND)], str(SECOND)))
        self.assertEqual(self.listed(f"?limit=2&after={SECOND}"), ([str(THIRD)], None))
        self.assertEqual(self.listed(f"?after={FIRST}"), ([str(SECOND), str(THIRD)], None))
        self.assertEqual(self.listed(f"?after={THIRD}"), ([], None))

    def test_many(self) -> None:
        """A response has at most `MAX_PAGE` workspaces, which bounds its time and memory."""
        for number in range(MAX_PAGE + 1):
            self.add(UUID(int=number))
        found, behind = self.listed()
        self.assertEqual((len(found), found[-1]), (MAX_PAGE, behind))
        self.assertEqual(self.listed(f"?after={behind}"), ([str(UUID(int=MAX_PAGE))], None))

    def test_wrong(self) -> None:
        """An invalid parameter gets 400, with its own code."""
        self.add(FIRST)
        table = (
            ("limit=0", "invalid_limit"),
            ("limit=1001", "invalid_limit"),
            ("limit=-1", "invalid_limit"),
            ("limit=", "invalid_limit"),
            ("limit=1e2", "invalid_limit"),
            ("limit=%C2%B2", "invalid_limit"),
            ("limit=" + "9" * 5000, "invalid_limit"),
            ("limit=1&limit=1", "invalid_limit"),
            ("after=", "invalid_after"),
            ("after=x", "invalid_after"),
            ("after=%FF", "invalid_after"),
            (f"after={FIRST}&after={FIRST}", "invalid_after"),
            (f"after={UNKNOWN}", "invalid_after"),
        )
        for query, code in table:
            answer = self.get(f"/workspaces?{query}")
            self.assertEqual((answer.status, answer.json["code"]), (400, code), query)

    def test_for_the_admin(self) -> None:
        """Only the admin can list workspaces; the token is checked before the parameters."""
        self.add(FIRST)
        self.assertEqual(self.get("/workspaces?limit=0", "wrong").status, 401)
        self.assertEqual(self.get("/workspaces?limit=0", str(FIRST)).status, 403)

    def test_unavailable(self) -> None:
        """While the registry is unavailable, the response is 503, not an empty list."""
        self.registry.failing = True
        answer = self.get("/workspaces")
        self.assertEqual((answer.status, answer.json["code"]), (503, RegistryUnavailable.code))
