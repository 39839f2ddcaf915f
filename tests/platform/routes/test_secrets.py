"""
The rotation of an inbound secret at the platform, with a workspace that says what the test lets it
say.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from chatfiles.rules.next_secret import acknowledgement
from tests.contract.registry_case import FIRST, SECRET, UNKNOWN
from tests.platform.memory_platform import ADMIN, MemoryPlatformCase
from tests.support.memory_client import Received, post

OLD, NEXT, LATER = SECRET, "next-secret-0001", "later-secret-0002"
ACCEPTS = {"accepts_next_secret": True}


class RotationTests(MemoryPlatformCase):
    """``POST …/secret/rotate``, and the responses to the workspace."""

    def setUp(self) -> None:
        super().setUp()
        made = iter((NEXT, LATER))
        self.context = replace(self.context, make_secret=lambda: next(made))
        self.add(FIRST, OLD, url="http://8.8.8.8:8000", delivery_mode="push")

    def rotate(
        self, body: object = None, workspace_id: Any = FIRST, token: str = ADMIN
    ) -> Received:
        path = f"/workspaces/{workspace_id}/secret/rotate".encode()
        text = b"" if body is None else json.dumps(body).encode()
        return self.ask(post(text, f"Authorization: Bearer {token}".encode(), path=path))

    def say(self, route: str, **said: Any) -> dict[str, Any]:
        """:return: the secrets in the response to the workspace."""
        key = "id" if route == "register" else "workspace_id"
        body = json.dumps({key: str(FIRST), **said}).encode()
        auth = f"Authorization: Bearer {FIRST}".encode()
        answer = self.ask(post(body, auth, path=f"/registry/{route}".encode()))
        self.assertEqual(answer.status, 200, answer.body)
        return {name: value for name, value in answer.json.items() if "secret" in name}

    def test_pending(self) -> None:
        """The next secret is offered to a workspace that takes it, and only to that."""
        answer = self.rotate()
        self.assertEqual(answer.status, 202)
        self.assertEqual(answer.json, {"state": "pending", "next_prefix": NEXT[:8]})
        both = {"platform_inbound_secret": OLD, "next_platform_inbound_secret": NEXT}
        for route in ("register", "heartbeat"):
            self.assertEqual(self.say(route, **ACCEPTS), both)
            refusing: tuple[dict[str, Any], ...] = (
                {},
                {"accepts_next_secret": 1},
                {"accepts_next_secret": False},
            )
            for said in refusing:
                self.assertEqual(self.say(route, **said), {"platform_inbound_secret": OLD})

    def test_acknowledged(self) -> None:
        """When the workspace says that it has the next secret, that becomes the inbound secret."""
        for route in ("heartbeat", "register"):
            with self.subTest(route):
                self.setUp()
                self.rotate({"force": False})
                said = ACCEPTS | {"next_secret": acknowledgement(NEXT)}
                for _ in range(2):  # the first response may have been lost
                    self.assertEqual(self.say(route, **said), {"platform_inbound_secret": NEXT})
                self.assertEqual(self.say(route), {"platform_inbound_secret": NEXT})

    def test_wrong_acknowledgement(self) -> None:
        """Anything else promotes nothing."""
        self.rotate()
        for given in ("", "0" * 16, acknowledgement(OLD), NEXT, 1, None, [NEXT], {"a": 1}):
            self.assertEqual(
                self.say("heartbeat", next_secret=given)["platform_inbound_secret"], OLD
            )

    def test_replaced(self) -> None:
        """A second rotation replaces the pending secret, which cannot be promoted any more."""
        self.rotate()
        self.assertEqual(self.rotate().json["next_prefix"], LATER[:8])
        said = ACCEPTS | {"next_secret": acknowledgement(NEXT)}
        both = {"platform_inbound_secret": OLD, "next_platform_inbound_secret": LATER}
        self.assertEqual(self.say("heartbeat", **said), both)

    def test_forced(self) -> None:
        """A forced one is the inbound secret at once, and ends a pending one."""
        self.rotate()
        answer = self.rotate({"force": True})
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.json, {"state": "rotated", "prefix": LATER[:8]})
        self.assertEqual(self.say("heartbeat", **ACCEPTS), {"platform_inbound_secret": LATER})

    def test_refused(self) -> None:
        """The admin token, an existing workspace and a boolean are needed."""
        cases: tuple[tuple[dict[str, Any], int, str], ...] = (
            ({"token": str(FIRST)}, 403, "admin_required"),
            ({"token": "wrong"}, 401, "invalid_token"),
            ({"workspace_id": "x"}, 400, "invalid_workspace_id"),
            ({"workspace_id": UNKNOWN}, 404, "workspace_not_found"),
            *(({"body": {"force": value}}, 400, "invalid_field") for value in (1, "true", None)),
            ({"body": []}, 400, "invalid_json"),
        )
        for given, status, code in cases:
            answer = self.rotate(**given)
            self.assertEqual((answer.status, answer.json["code"]), (status, code), given)
        self.assertEqual(self.say("heartbeat", **ACCEPTS), {"platform_inbound_secret": OLD})

    def test_another_node(self) -> None:
        """A node that has the workspace in memory promotes what another node has stored."""
        for _ in range(2):  # the first one changes the status
            self.say("heartbeat")
        self.patch(self.registry._subscribers, "notify", lambda _: None)
        self.registry.rotate_secret(FIRST, NEXT, force=False)
        self.assertEqual(self.say("heartbeat", **ACCEPTS), {"platform_inbound_secret": OLD})
        said = ACCEPTS | {"next_secret": acknowledgement(NEXT)}
        self.assertEqual(self.say("heartbeat", **said), {"platform_inbound_secret": NEXT})
