"""
``POST /workspaces``: a workspace and its token are created together.
"""

from __future__ import annotations

import json

from tests.contract.registry_case import FIRST
from tests.platform.memory_platform import ADMIN, MemoryPlatformCase
from tests.support.memory_client import CHUNKED, Received, chunked, get, post


class CreationTests(MemoryPlatformCase):
    """The creation of a workspace."""

    def create(self, **body: object) -> Received:
        fields = f"Authorization: Bearer {ADMIN}".encode()
        return self.ask(post(json.dumps(body).encode(), fields, path=b"/workspaces"))

    def test_created(self) -> None:
        """
        The response has the id, the name and a token that gives access to the workspace, and
        nothing else.
        """
        answer = self.create(id=str(FIRST), name="x")
        self.assertEqual(answer.status, 201)
        told = answer.json
        token = told.pop("auth_token")
        self.assertEqual(told, {"id": str(FIRST), "name": "x"})
        self.assertEqual(self.get(f"/workspaces/{FIRST}", token).json["name"], "x")

    def test_at_once(self) -> None:
        """
        One call of the registry creates the workspace and its token. No failure leaves a workspace
        without a token, for which a retry gets 409.
        """
        self.registry.asked.clear()
        self.create(id=str(FIRST))
        self.assertEqual(self.registry.asked, ["create_workspace"])
        self.assertEqual(self.create(id=str(FIRST)).status, 409)


class OptionalBodyTests(MemoryPlatformCase):
    """Requests whose JSON body is optional."""

    def test_left_out(self) -> None:
        """No body, an empty body and an empty chunked body are equivalent."""
        self.add(FIRST)
        bearer = f"Authorization: Bearer {ADMIN}".encode()
        for path in (b"/workspaces", b"/workspaces/%b/tokens" % str(FIRST).encode()):
            absent = get(path, bearer, method=b"POST")
            empty = post(b"", bearer, path=path)
            empty_chunked = get(path, bearer, CHUNKED, method=b"POST") + chunked()
            for request in (absent, empty, empty_chunked):
                self.assertEqual(self.ask(request).status, 201, request)

    def test_not_left_out(self) -> None:
        """A body that is not a JSON object is refused."""
        self.add(FIRST)
        bearer = f"Authorization: Bearer {ADMIN}".encode()
        for path in (b"/workspaces", b"/workspaces/%b/tokens" % str(FIRST).encode()):
            for text in (b" ", b"null", b"[]", b"0"):
                answer = self.ask(post(text, bearer, path=path))
                self.assertEqual((answer.status, answer.json["code"]), (400, "invalid_json"), text)
