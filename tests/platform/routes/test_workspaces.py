"""
``GET /workspaces``: all of a few, and pages of many.
"""

from __future__ import annotations

from uuid import UUID

from chatfiles.errors import RegistryUnavailable
from chatfiles.platform.routes.workspaces import MAX_PAGE
from tests.contract.registry_case import FIRST, SECOND, THIRD, UNKNOWN
from tests.platform.memory_platform import MemoryPlatformCase


class PageTests(MemoryPlatformCase):
    """What an admin is told."""

    def listed(self, query: str = "") -> tuple[list[str], str | None]:
        """:return: the ids in one answer, and where the next one begins."""
        answer = self.get(f"/workspaces{query}").json
        self.assertLessEqual(set(answer), {"workspaces", "next"})
        return [row["id"] for row in answer["workspaces"]], answer.get("next")

    def test_few(self) -> None:
        """A list of a few is cut, or says that more comes."""
        self.assertEqual(self.listed(), ([], None))
        for each in (SECOND, FIRST, THIRD):
            self.add(each)
        expected = [str(each) for each in (FIRST, SECOND, THIRD)]
        for query in ("", "?limit=3", "?limit=1000", "?other=1", "?limit=003"):
            self.assertEqual(self.listed(query), (expected, None), query)

    def test_pages(self) -> None:
        """Pages leave something out, give it twice, or do not end."""
        for each in (FIRST, SECOND, THIRD):
            self.add(each)
        self.assertEqual(self.listed("?limit=2"), ([str(FIRST), str(SECOND)], str(SECOND)))
        self.assertEqual(self.listed(f"?limit=2&after={SECOND}"), ([str(THIRD)], None))
        self.assertEqual(self.listed(f"?after={FIRST}"), ([str(SECOND), str(THIRD)], None))
        self.assertEqual(self.listed(f"?after={THIRD}"), ([], None))

    def test_many(self) -> None:
        """One answer takes as long, and as much memory, as there are workspaces."""
        for number in range(MAX_PAGE + 1):
            self.add(UUID(int=number))
        found, behind = self.listed()
        self.assertEqual((len(found), found[-1]), (MAX_PAGE, behind))
        self.assertEqual(self.listed(f"?after={behind}"), ([str(UUID(int=MAX_PAGE))], None))

    def test_wrong(self) -> None:
        """A mistake reads as the end of the list, or as a failure of ours."""
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
        """A workspace's token lists them all, or a mistake is told before who asks is known."""
        self.add(FIRST)
        self.assertEqual(self.get("/workspaces?limit=0", "wrong").status, 401)
        self.assertEqual(self.get("/workspaces?limit=0", str(FIRST)).status, 403)

    def test_unavailable(self) -> None:
        """An outage reads as an empty list."""
        self.registry.failing = True
        answer = self.get("/workspaces")
        self.assertEqual((answer.status, answer.json["code"]), (503, RegistryUnavailable.code))
