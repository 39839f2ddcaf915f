"""
``POST /workspaces``: a workspace and its token, or neither.
"""

from __future__ import annotations

import json

from tests.contract.registry_case import FIRST
from tests.platform.memory_platform import ADMIN, MemoryPlatformCase
from tests.support.memory_client import CHUNKED, Received, chunked, get, post


class CreationTests(MemoryPlatformCase):
    """What an admin is told of a workspace that is to be created."""

    def create(self, **body: object) -> Received:
        fields = f"Authorization: Bearer {ADMIN}".encode()
        return self.ask(post(json.dumps(body).encode(), fields, path=b"/workspaces"))

    def test_created(self) -> None:
        """The token does not open the workspace, or the answer tells more than it."""
        answer = self.create(id=str(FIRST), name="x")
        self.assertEqual(answer.status, 201)
        told = answer.json
        token = told.pop("auth_token")
        self.assertEqual(told, {"id": str(FIRST), "name": "x"})
        self.assertEqual(self.get(f"/workspaces/{FIRST}", token).json["name"], "x")

    def test_at_once(self) -> None:
        """A failure in between leaves a workspace without a token, and a retry is told 409."""
        self.registry.asked.clear()
        self.create(id=str(FIRST))
        self.assertEqual(self.registry.asked, ["create_workspace"])
        self.assertEqual(self.create(id=str(FIRST)).status, 409)


class OptionalBodyTests(MemoryPlatformCase):
    """Requests whose JSON body may be left out."""

    def test_left_out(self) -> None:
        """No body, an empty one and an empty chunked one do not mean the same."""
        self.add(FIRST)
        bearer = f"Authorization: Bearer {ADMIN}".encode()
        for path in (b"/workspaces", b"/workspaces/%b/tokens" % str(FIRST).encode()):
            absent = get(path, bearer, method=b"POST")
            empty = post(b"", bearer, path=path)
            empty_chunked = get(path, bearer, CHUNKED, method=b"POST") + chunked()
            for request in (absent, empty, empty_chunked):
                self.assertEqual(self.ask(request).status, 201, request)

    def test_not_left_out(self) -> None:
        """What is no JSON object is taken for a body that was left out."""
        self.add(FIRST)
        bearer = f"Authorization: Bearer {ADMIN}".encode()
        for path in (b"/workspaces", b"/workspaces/%b/tokens" % str(FIRST).encode()):
            for text in (b" ", b"null", b"[]", b"0"):
                answer = self.ask(post(text, bearer, path=path))
                self.assertEqual((answer.status, answer.json["code"]), (400, "invalid_json"), text)
