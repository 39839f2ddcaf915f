"""
reference/registration, "Rotation of the inbound secret", and reference/authentication, "Admin
token", with processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from contextlib import ExitStack
from functools import partial

from tests.live.cluster import Cluster
from tests.live.platform_case import PlatformCase
from tests.live.processes import LiveCase, Pair, until
from tests.live.rawhttp import Incomplete, Response, fetch
from tests.live.role import Role, listen_on
from tests.live.rotating import SecretWorkspace, killed_at_commit
from tests.live.several_nodes import Hammer
from tests.live.upload_client import Way, file, form, report
from tests.support.ports import free_port

#: A rotation changes the names of so many files: the next, the previous and the current one, and
#: the next one again.
CHANGES = 4
#: A rotation is committed twice, when it begins and when the workspace has acknowledged it.
MOMENTS = 4


class RotationTests(PlatformCase):
    """
    One platform, and a workspace that registers with it.  The tests try new credentials until they
    are accepted.
    """

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(platform=["--max-refusals-per-client=0"])

    def setUp(self) -> None:
        super().setUp()
        self.workspace = SecretWorkspace(self.pair)

    def start(self, changes: int | None = None) -> None:
        role = self.workspace.start(changes)
        self.addCleanup(role.kill)

    def rotate(self, body: object = None) -> Response:
        text = None if body is None else json.dumps(body).encode()
        return self.pair.as_admin("POST", f"/workspaces/{self.workspace.id}/secret/rotate", text)

    def served(self) -> Response:
        return fetch(self.pair.platform.url, self.workspace.target, self.workspace.bearer)

    def pending(self) -> bool:
        with self.registry() as database:
            rows = database.execute(
                "SELECT platform_inbound_secret, next_inbound_secret FROM workspaces WHERE id = ?",
                (self.workspace.id,),
            )
            current, following = rows.fetchone()
        self.pair.hide(current, following or "")
        return following is not None

    def test_killed_anywhere(self) -> None:
        """
        A workspace that is killed before any change of its files shares a secret with the platform
        when it is started again, before it has registered, and the rotation ends.
        """
        self.start()
        until(lambda: self.served().status == 200, "it is served")
        for changes in range(CHANGES):
            self.workspace.stop()
            self.assertEqual(self.rotate().status, 202)
            before = self.workspace.current()
            self.workspace.start(changes).wait()
            self.start()
            self.assertTrue(self.workspace.role.url)
            self.assertEqual(self.served().status, 200, changes)
            until(lambda: not self.pending(), "the rotation ends")
            until(lambda: "_next" not in self.workspace.files(), "it is stored")
            self.assertEqual(self.served().status, 200, changes)
            self.assertNotEqual(self.workspace.current(), before)
        self.pair.platform.logged(f"the inbound secret of {self.workspace.id}: rotated")

    def second_platform(self, port: int, first: str = "") -> Role:
        """:return: another platform with the same registry."""
        role = Role(
            "platform",
            listen_on(port),
            f"--state-dir={self.pair.state}",
            "--upstream-allow=127.0.0.0/8",
            first=first,
        )
        role.secrets |= self.pair.platform.secrets
        self.addCleanup(role.kill)
        return role

    def test_platform_killed_anywhere(self) -> None:
        """
        A platform that is killed before or after any commit of a rotation shares a secret with the
        workspace when it is started again, as do other platforms, and the rotation ends.
        """
        port = free_port()
        target = f"/workspaces/{self.workspace.id}/secret/rotate"
        admin = {"Authorization": f"Bearer {self.pair.admin}"}
        for moment in range(MOMENTS):
            platform = self.second_platform(port, killed_at_commit(moment))
            self.addCleanup(self.workspace.start(platform=platform.url).kill)
            until(lambda: self.served().status == 200, "it is served")
            before = self.workspace.current()
            with contextlib.suppress(OSError, Incomplete):  # it is killed
                fetch(platform.url, target, admin, method="POST")
            platform.wait()
            self.assertEqual(self.served().status, 200, moment)
            self.assertEqual(self.pending(), moment in (1, 2))
            platform = self.second_platform(port)
            answer = fetch(platform.url, self.workspace.target, self.workspace.bearer)
            self.assertEqual(answer.status, 200, moment)
            if not moment:  # nothing has begun
                self.assertEqual(fetch(platform.url, target, admin, method="POST").status, 202)
            until(lambda: not self.pending(), "the rotation ends")
            until(partial(self.rotated, before), "it is stored")
            self.assertEqual(self.served().status, 200, moment)
            self.workspace.stop()
            platform.kill()

    def rotated(self, before: str) -> bool:
        return self.workspace.current() != before and "_next" not in self.workspace.files()

    def test_forced(self) -> None:
        """A leaked secret is refused as soon as the workspace has heard of the new one."""
        self.start()
        until(lambda: self.served().status == 200, "it is served")
        leaked = self.workspace.current()
        answer = self.rotate({"force": True})
        self.assertEqual((answer.status, answer.json["state"]), (200, "rotated"))
        until(lambda: self.served().status == 200, "it is served again")
        self.assertEqual(self.workspace.files(), {""})
        self.assertTrue(self.workspace.current().startswith(answer.json["prefix"]))
        target = "/internal/file/read?path=/workspace/a.txt"
        old = {"Authorization": f"Bearer {leaked}"}
        self.assertEqual(fetch(self.workspace.role.url, target, old).status, 401)

    def test_third_party(self) -> None:
        """A workspace that takes no next secret keeps its own, and stays pending."""
        self.assertEqual(self.download(self.pair.id).status, 200)
        target = f"/workspaces/{self.pair.id}/secret/rotate"
        self.assertEqual(self.pair.as_admin("POST", target).json["state"], "pending")
        for _ in range(3):
            answer = self.post(
                "/registry/heartbeat", {"workspace_id": self.pair.id}, self.pair.token
            )
            self.assertEqual(
                answer.json, {"status": "ok", "platform_inbound_secret": self.pair.secret}
            )
        self.assertEqual(self.download(self.pair.id).status, 200)

    def opens(self, token: str) -> bool:
        return self.ask("/workspaces", token).status == 200

    def test_admin_token(self) -> None:
        """The admin token is changed in its file; the old one and its links end."""
        link = self.pair.as_admin(
            "POST", f"/workspaces/{self.pair.id}/links", b'{"path": "/workspace/a.txt"}'
        ).json["url"]
        self.assertEqual(fetch(self.pair.platform.url, link).status, 200)
        old, new = self.pair.admin, "a-new-admin-token-of-the-operator"
        path = os.path.join(self.pair.state, "admin-token")
        self.pair.hide(new)
        for text in (new, old):
            with open(os.open(path + ".new", os.O_CREAT | os.O_WRONLY, 0o600), "w") as written:
                written.write(text)
            os.rename(path + ".new", path)
            until(partial(self.opens, text), "it is taken")
            self.assertEqual(self.ask("/workspaces", old if text == new else new).status, 401)
            if text == new:
                answer = fetch(self.pair.platform.url, link)
                self.assert_error(answer, 403, "link has been revoked", code="link_revoked")


class ThreeNodes(Cluster):
    """A cluster with a third platform."""

    def __init__(self) -> None:
        super().__init__()
        self._told.append(self._told[0])
        try:
            self.nodes.append(self._start(2, listen_on(free_port())))
        except BaseException:
            self.discard()
            raise


class ClusterTests(LiveCase):
    """Three platforms on one PostgreSQL, and a workspace that registers with one of them."""

    pair: ThreeNodes

    @classmethod
    def make_pair(cls) -> Pair:
        return ThreeNodes()

    def test_under_load(self) -> None:
        """While clients download and upload at all nodes, rotations fail no request."""
        workspace = SecretWorkspace(self.pair)
        self.addCleanup(workspace.start().kill)
        nodes = [node.url for node in self.pair.nodes]

        def download(url: str) -> str | None:
            answer = fetch(url, workspace.target, workspace.bearer)
            good = (answer.status, answer.body) == (200, b"hello a\n")
            return None if good else f"{answer.status}: {answer.body!r}"

        def upload(url: str) -> str | None:
            target = f"/workspaces/{workspace.id}/chat/uploads"
            answer = Way("rotating", url, target, workspace.bearer).send(form(file(b"up", "up")))
            return None if answer.status == 200 else f"{answer.status}: {answer.body!r}"

        def served(url: str) -> bool:
            return download(url) is None

        def rotated(before: str) -> bool:
            return workspace.current() != before

        for url in nodes:
            until(partial(served, url), "it is served")
        began = time.monotonic()
        with ExitStack() as stack:
            hammers = [
                stack.enter_context(Hammer(partial(ask, url)))
                for url in nodes
                for ask in (download, upload)
            ]
            for _ in range(3):
                before = workspace.current()
                target = f"/workspaces/{workspace.id}/secret/rotate"
                self.assertEqual(self.pair.as_admin("POST", target).status, 202)
                until(partial(rotated, before), "it is rotated")
                for hammer in hammers:
                    hammer.go_on(10)
        rate = sum(hammer.done for hammer in hammers) / (time.monotonic() - began)
        report(f"three rotations under {rate:.0f} requests a second")
        self.assertEqual([hammer.wrong for hammer in hammers], [[]] * len(hammers))
