"""
The platform's table of routes: each row, its access control, and where it can be mounted.
"""

from __future__ import annotations

import inspect
import re
from uuid import UUID

from twisted.web.resource import Resource

from chatfiles.model import Scope, token_hash
from chatfiles.platform.authentication import Access
from chatfiles.platform.routes.route_table import ROUTES, platform_tree
from tests.contract.registry_case import FIRST, SECOND, begun
from tests.platform.memory_platform import ADMIN, MemoryPlatformCase
from tests.support.memory_client import Caller, get

#: The credential that is presented → the code of the response, for each kind of access.  The
#: workspace in the path is `FIRST`.
REFUSED = {
    Access.WORKSPACE: {
        "": "missing_token",
        "wrong": "invalid_token",
        str(SECOND): "invalid_token",
    },
    Access.READ: {
        "": "missing_token",
        "wrong": "invalid_token",
        str(SECOND): "invalid_token",
        "write-agent": "insufficient_scope",
    },
    Access.WRITE: {
        "": "missing_token",
        "wrong": "invalid_token",
        str(SECOND): "invalid_token",
        "read": "insufficient_scope",
    },
    Access.LINK: {
        "": "missing_token",
        "wrong": "invalid_token",
        str(SECOND): "invalid_token",
        "agent": "insufficient_scope",
    },
    Access.ANY_TOKEN: {"": "missing_token", "wrong": "invalid_token"},
    Access.AGENT: {"": "missing_token", "wrong": "invalid_token"},
    Access.REGISTER: {"": "missing_token", "wrong": "invalid_token"},
    Access.CHANNEL: {
        "": "missing_token",
        "wrong": "invalid_token",
        "read": "insufficient_scope",
        ADMIN: "insufficient_scope",
    },
    Access.ADMIN: {"": "missing_token", "wrong": "invalid_token", str(FIRST): "admin_required"},
    Access.ANYONE: {},
}


class TableTests(MemoryPlatformCase):
    """Each row of the table."""

    def setUp(self) -> None:
        super().setUp()
        self.add(FIRST)
        self.add(SECOND)
        for name, scopes in (
            ("read", {Scope.READ}),
            ("write-agent", {Scope.WRITE, Scope.AGENT}),
            ("agent", {Scope.AGENT}),
        ):
            adding = self.registry.create_token(
                FIRST, digest=token_hash(name), prefix="", scopes=frozenset(scopes), name=None
            )
            self.successResultOf(begun(adding))

    def test_refused(self) -> None:
        """
        Each route refuses credentials without the required access, and does not reveal to their
        holder whether the workspace exists.
        """
        for route in ROUTES:
            self.clock.advance(0)  # few results are delivered in one turn of the reactor
            for token, code in REFUSED[route.access].items():
                for workspace_id in (FIRST, UUID(int=5)) if token in ("", "wrong") else (FIRST,):
                    path = route.path.format(workspace_id=workspace_id, token_id="x", upload_id="x")
                    fields = [f"Authorization: Bearer {token}".encode()] if token else []
                    request = get(path.encode(), *fields, method=route.method.encode())
                    caller = Caller(platform_tree(self.context)).send(request)
                    answer = caller.answer(head=route.method == "HEAD")
                    status = 403 if code in ("insufficient_scope", "admin_required") else 401
                    self.assertEqual(answer.status, status, (route.method, path, token))
                    if route.method != "HEAD":
                        self.assertEqual(answer.json["code"], code, (path, token))

    def test_ids(self) -> None:
        """
        An invalid workspace id does not reach a handler, and is only reported for a valid token.
        """
        for route in ROUTES:
            if "{workspace_id}" not in route.path or route.method == "HEAD":
                continue
            path = route.path.format(workspace_id="x", token_id="x", upload_id="x").encode()
            for token, code in ((ADMIN, "invalid_workspace_id"), ("wrong", "invalid_token")):
                bearer = f"Authorization: Bearer {token}".encode()
                answer = self.ask(get(path, bearer, method=route.method.encode()))
                if route.access is Access.ANYONE:  # it says nothing of the workspace
                    self.assertEqual(answer.status, 204, path)
                else:
                    self.assertEqual(answer.json["code"], code, path)

    def test_own_token(self) -> None:
        """``GET /token`` names the workspace and the scopes of the token, and of no other one."""
        for token, scopes in (
            ("read", ["read"]),
            ("write-agent", ["agent", "write"]),
            (str(FIRST), ["agent", "read", "write"]),
        ):
            answer = self.get("/token", token)
            own = {"id": str(FIRST), "name": self.get(f"/workspaces/{FIRST}", token).json["name"]}
            self.assertEqual(answer.json, {"workspace": own, "scopes": scopes})
        admin = {"workspace": None, "scopes": ["agent", "read", "write"]}
        self.assertEqual(self.get("/token", ADMIN).json, admin)

    def test_whoami(self) -> None:
        """``GET /whoami`` says what a token is, without the token."""
        tokens = self.successResultOf(begun(self.registry.tokens(FIRST)))
        ids = {tuple(sorted(map(str, each.scopes))): str(each.id) for each in tokens}
        name = self.get(f"/workspaces/{FIRST}", ADMIN).json["name"]
        for token, scopes in (
            ("read", ["read"]),
            ("write-agent", ["agent", "write"]),
            (str(FIRST), ["agent", "read", "write"]),
        ):
            answer = self.get("/whoami", token)
            expected = {
                "workspace": str(FIRST),
                "name": name,
                "scopes": scopes,
                "admin": False,
                "token_id": ids[tuple(scopes)],
            }
            self.assertEqual(answer.json, expected)
            self.assertEqual(answer.fields["cache-control"], "no-store")
        admin = {
            "workspace": None,
            "name": None,
            "scopes": ["agent", "read", "write"],
            "admin": True,
            "token_id": "admin-8c6976e5",
        }
        self.assertEqual(self.get("/whoami", ADMIN).json, admin)

    def test_own_token_of_a_removed_workspace(self) -> None:
        """A token whose workspace was removed opens nothing."""
        self.successResultOf(begun(self.registry.remove_workspace(FIRST)))
        for path in ("/token", "/whoami"):
            self.assertEqual(self.get(path, "read").status, 401)

    def test_handlers(self) -> None:
        """Each handler is a coroutine function whose parameters are those of its path."""
        for route in ROUTES:
            given = tuple(inspect.signature(route.handler).parameters)[2:]
            self.assertEqual(given, tuple(re.findall(r"{(\w+)}", route.path)), route)
            self.assertTrue(inspect.iscoroutinefunction(route.handler), route)

    def test_mounted(self) -> None:
        """The platform can be mounted below the root of a site."""
        root = Resource()
        root.putChild(b"files", platform_tree(self.context))
        bearer = f"Authorization: Bearer {FIRST}".encode()
        answer = Caller(root).send(get(f"/files/workspaces/{FIRST}".encode(), bearer)).answer()
        self.assertEqual((answer.status, answer.json["id"]), (200, str(FIRST)))
        answer = Caller(root).send(get(f"/workspaces/{FIRST}".encode(), bearer)).answer()
        self.assertEqual(answer.status, 404)
