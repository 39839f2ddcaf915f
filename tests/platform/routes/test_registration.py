"""
``/registry/register`` and ``/registry/heartbeat``, when tokens change during the request.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred, fail

from chatfiles.errors import BadRequest, ConstraintViolated
from chatfiles.model import Workspace
from chatfiles.platform.routes.route_table import platform_tree
from chatfiles.testing import MemoryRegistry
from tests.contract.registry_case import FIRST, SECOND, SECRET, THIRD
from tests.platform.memory_platform import ADMIN, START, MemoryPlatformCase
from tests.support.memory_client import Caller, Received, post

NEW = "http://new.test"


class EnrolmentCase(MemoryPlatformCase):
    """
    :ivar lookups: the checks of URLs that are in progress, in order; each waits for its result.
    """

    open_registration = False

    def setUp(self) -> None:
        super().setUp()
        self.lookups: list[Deferred[None]] = []
        cache: Any = self.context.registry
        authenticator = self.authenticator(cache, open_registration=self.open_registration)
        self.context = replace(self.context, check_url=self.check_url, authenticator=authenticator)

    def check_url(self, url: str) -> Deferred[None]:
        self.lookups.append(Deferred())
        return self.lookups[-1]

    def request(
        self, route: str, body: object, token: object | None, *, whole: bool = True
    ) -> tuple[Caller, bytes]:
        """:return: the client that has sent the request, or all but its end; and that end."""
        fields = [] if token is None else [f"Authorization: Bearer {token}".encode()]
        wire = post(json.dumps(body).encode(), *fields, path=f"/registry/{route}".encode())
        length = len(wire) if whole else len(wire) - 5
        return Caller(platform_tree(self.context)).send(wire[:length]), wire[length:]

    def register(self, url: str = NEW, token: object | None = None) -> Caller:
        """:return: the client that registers the first workspace."""
        return self.request("register", {"id": str(FIRST), "url": url}, token)[0]

    def revoke(self) -> None:
        """Revoke all tokens of the first workspace."""
        for token in self.successResultOf(self.registry.tokens(FIRST)):
            self.successResultOf(self.registry.revoke_token(FIRST, token.id))

    def row(self, workspace_id: UUID = FIRST) -> Workspace:
        found = self.successResultOf(self.registry.workspace(workspace_id))
        assert found is not None
        return found

    def refused(self, answer: Received, code: str) -> None:
        """Assert that the response is a 401 without the secret."""
        self.assertEqual((answer.status, answer.json.get("code")), (401, code))
        self.assertNotIn(SECRET.encode(), answer.body)


class RevokedTests(EnrolmentCase):
    """A token that is revoked during a request with it."""

    def setUp(self) -> None:
        super().setUp()
        self.add(FIRST, SECRET)

    def test_while_a_registration_comes(self) -> None:
        """
        A registration is refused if its token is revoked before its body is complete. Delaying the
        body does not keep a revoked token usable.
        """
        self.late("register", {"id": str(FIRST), "url": NEW})
        self.assertEqual(self.lookups, [])

    def test_while_a_heartbeat_comes(self) -> None:
        """
        A heartbeat is refused, and does not receive the secret, if its token is revoked before its
        body is complete.
        """
        self.late("heartbeat", {"workspace_id": str(FIRST)})
        self.assertIsNone(self.heartbeats.latest(FIRST))

    def late(self, route: str, body: object) -> None:
        """Assert that a request is refused if its token is revoked before its body is complete."""
        caller, rest = self.request(route, body, FIRST, whole=False)
        self.revoke()
        caller.send(rest)
        self.refused(caller.answer(), "invalid_token")

    def test_while_the_name_is_looked_up(self) -> None:
        """
        A registration is refused if its token is revoked while the host is looked up. With a slow
        name server, a revoked token cannot redirect a workspace's clients.
        """
        caller = self.register(token=FIRST)
        self.revoke()
        self.lookups[0].callback(None)
        self.refused(caller.answer(), "invalid_token")
        self.assertIsNone(self.row().url)

    def test_not_revoked(self) -> None:
        """A token that has not been revoked is accepted."""
        caller = self.register(token=FIRST)
        self.lookups[0].callback(None)
        self.assertEqual(caller.answer().json["platform_inbound_secret"], SECRET)
        self.assertEqual(self.row().url, NEW)


class StatusTests(EnrolmentCase):
    """The status of a workspace that registers, sends heartbeats, or stops sending them."""

    def setUp(self) -> None:
        super().setUp()
        self.add(FIRST, SECRET)

    def set_status(self, status: str) -> None:
        """Let another program set the status."""
        self.registry.set_status(FIRST, status)

    def shown(self) -> str | None:
        """:return: the status in ``GET /workspaces/{id}``."""
        status: str | None = self.get(f"/workspaces/{FIRST}").json["status"]
        return status

    def beat(self) -> Received:
        """:return: the response to a heartbeat."""
        return self.request("heartbeat", {"workspace_id": str(FIRST)}, FIRST)[0].answer()

    def test_bytes(self) -> None:
        """JSON has no blanks: scripts of existing workspaces search the bytes."""
        caller = self.register(token=FIRST)
        self.lookups[0].callback(None)
        expected = b'{"status":"registered","platform_inbound_secret":"%s","delivery_mode":"push"}'
        self.assertEqual(caller.answer().body, expected % SECRET.encode() + b"\n")

    def test_registration(self) -> None:
        """A registration makes a workspace online, but not one that is paused."""
        for status, expected in (("offline", "online"), ("failed", "online"), ("paused", "paused")):
            self.set_status(status)
            caller = self.register(token=FIRST)
            self.lookups.pop().callback(None)
            self.assertEqual(caller.answer().status, 200)
            self.assertEqual(self.row().status, expected)

    def test_heartbeat(self) -> None:
        """A heartbeat makes online what only waits for one, at once and for every reader."""
        for status in ("offline", "provisioning", "awaiting_agent", "paused", "failed"):
            self.set_status(status)
            self.assertEqual(self.beat().json, {"status": "ok", "platform_inbound_secret": SECRET})
            lifted = "online" if status in ("offline", "provisioning", "awaiting_agent") else status
            self.assertEqual((self.row().status, self.shown()), (lifted, lifted))

    def test_offline(self) -> None:
        """A workspace whose last heartbeat is older than 90 s is shown as offline."""
        self.beat()
        for seconds, expected in ((90, "online"), (91, "offline")):
            self.moment = START + timedelta(seconds=seconds)
            self.assertEqual(self.shown(), expected)
        self.assertEqual(self.row().status, "online")
        self.beat()
        self.assertEqual(self.shown(), "online")
        self.set_status("paused")
        self.moment += timedelta(days=1)
        self.assertEqual(self.shown(), "paused")

    def test_provisioned(self) -> None:
        """The address that a provisioner has stored is kept, and the given one is not looked up."""
        self.successResultOf(
            self.registry.register(
                FIRST, url="http://127.0.0.1:9", delivery_mode="push", create_name=None
            )
        )
        self.assertEqual(self.register(token=FIRST).answer().status, 200)
        self.assertEqual((self.lookups, self.row().url), ([], "http://127.0.0.1:9"))


class ClaimTests(EnrolmentCase):
    """``--open-registration``: the first registration gets the token."""

    open_registration = True

    def test_first(self) -> None:
        """The first registration receives a token that gives access to the workspace."""
        caller = self.register()
        self.lookups[0].callback(None)
        answer = caller.answer().json
        self.assertEqual(
            set(answer), {"status", "platform_inbound_secret", "delivery_mode", "auth_token"}
        )
        self.assertEqual(self.row().url, NEW)
        again = self.register(token=answer["auth_token"])
        self.lookups[1].callback(None)
        self.assertEqual(again.answer().status, 200)

    def test_token_meanwhile(self) -> None:
        """
        A registration without a token is refused if the workspace was created while the host was
        looked up. A slow name server does not let it set the workspace's URL.
        """
        caller = self.register()
        self.add(FIRST, SECRET)
        self.lookups[0].callback(None)
        self.refused(caller.answer(), "missing_token")
        self.assertIsNone(self.row().url)

    def test_claimed_meanwhile(self) -> None:
        """
        Of two concurrent registrations, one receives the token and sets the URL; the other one gets
        401.
        """
        callers = [self.register(url) for url in (NEW, "http://other.test")]
        self.registry.holding = True  # both are checked before either has registered
        for lookup in self.lookups:
            lookup.callback(None)
        self.registry.release()
        answers = [caller.answer() for caller in callers]
        self.assertEqual([answer.status for answer in answers], [200, 401])
        self.refused(answers[1], "missing_token")
        self.assertEqual(self.row().url, NEW)

    def test_removed(self) -> None:
        """A removed workspace cannot be registered again."""
        self.add(FIRST, SECRET)
        self.successResultOf(self.registry.remove_workspace(FIRST))
        caller = self.register()
        self.lookups[0].callback(None)
        self.assertEqual(caller.answer().status, 404)


class StrictNames(MemoryRegistry):
    """A registry whose tables, of a third party, accept only short names, and each once."""

    def register(self, workspace_id: UUID, **given: Any) -> Deferred[Workspace | None]:
        return self._if_new(given["create_name"]) or super().register(workspace_id, **given)

    def claim(self, workspace_id: UUID, **given: Any) -> Deferred[Workspace | None]:
        return self._if_new(given["create_name"]) or super().claim(workspace_id, **given)

    def _if_new(self, name: str | None) -> Deferred[Workspace | None] | None:
        taken = {row.workspace.name for row in self._rows.values()}
        if name and len(name) > 255:
            return fail(BadRequest("too long", code="invalid_field"))
        return fail(ConstraintViolated(detail="one_name")) if name in taken else None


class NameTests(EnrolmentCase):
    """The card of an agent has a name that the registry does not accept."""

    open_registration = True
    registry_class = StrictNames

    def setUp(self) -> None:
        super().setUp()
        self.add(SECOND, SECRET)  # its name is "one"

    def status(self, name: str, token: str | None, workspace_id: UUID = FIRST) -> int:
        body = {"id": str(workspace_id), "url": NEW, "agent_card": {"name": name}}
        caller = self.request("register", body, token)[0]
        self.lookups[-1].callback(None)
        return caller.answer().status

    def test_registered(self) -> None:
        """The card is no reason to refuse: the workspace has its id as name."""
        for token, each, name in ((None, FIRST, "one"), (ADMIN, THIRD, "x" * 256)):
            self.assertEqual(self.status(name, token, each), 200)
            self.assertEqual(self.row(each).name, str(each))

    def test_another_rule(self) -> None:
        """A registration that violates a rule with any name is refused with it."""
        self.add(THIRD, SECRET, name=str(FIRST))
        for token in (None, ADMIN):
            for name in ("one", ""):
                self.assertEqual(self.status(name, token), 409)
