"""
reference/registration, "What a workspace does": a workspace registers with its platform, and stores
the credentials that it receives.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import stat
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.testing.broken_upstreams import Script, ScriptedServer, ServerConnection
from tests.live.processes import SOAK, LiveCase, Pair, Role, until
from tests.live.rawhttp import Response, fetch
from tests.live.role import listen_on
from tests.support.patience import PATIENCE
from tests.support.ports import free_port

MISSING_TOKEN = "missing workspace auth token"
INVALID_TOKEN = "invalid workspace auth token"


class EnrolmentCase(LiveCase):
    """A platform, and workspaces that register with it."""

    def enrolled(
        self, workspace_id: str, platform: str = "", token: str | None = None, *more: str
    ) -> tuple[Role, str]:
        """:return: a workspace that registers, and its configuration directory."""
        base = tempfile.mkdtemp(prefix="chatfiles-enrol-")
        self.addCleanup(shutil.rmtree, base)
        os.mkdir(os.path.join(base, "files"))
        with open(os.path.join(base, "files", "a.txt"), "wb") as file:
            file.write(b"hello a\n")
        configs = os.path.join(base, "configs")
        if token is not None:
            os.mkdir(configs)
            with open(os.path.join(configs, ".auth_token"), "w") as file:
                file.write(token)
        return self.run_workspace(workspace_id, configs, platform, *more), configs

    def run_workspace(
        self, workspace_id: str, configs: str, platform: str = "", *more: str
    ) -> Role:
        """:return: a workspace with this configuration directory."""
        port = free_port()
        role = Role(
            "workspace",
            listen_on(port),
            f"--root=/workspace={os.path.dirname(configs)}/files",
            f"--configs-dir={configs}",
            f"--platform={platform or self.pair.platform.url}",
            f"--workspace-id={workspace_id}",
            f"--advertise=http://127.0.0.1:{port}",
            *more,
        )
        self.addCleanup(role.kill)
        return role

    def kept(self, configs: str, name: str) -> str:
        """:return: a credential that the workspace has stored; waits for it."""
        path = os.path.join(configs, name)
        until(lambda: os.path.exists(path), f"{name} is stored")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(sorted(set(os.listdir(configs)) - {".auth_token"}), SECRET_ONLY)
        with open(path) as file:
            value = file.read()
        self.pair.hide(value)
        return value

    def download(self, workspace_id: str, token: str) -> Response:
        """:return: the platform's response."""
        return fetch(
            self.pair.platform.url,
            f"/workspaces/{workspace_id}/chat/download?path=/workspace/a.txt",
            {"Authorization": f"Bearer {token}"},
        )

    def post(self, target: str, body: object, token: str | None = None) -> Response:
        """:return: the platform's response to a JSON body."""
        fields = {} if token is None else {"Authorization": f"Bearer {token}"}
        return fetch(
            self.pair.platform.url, target, fields, method="POST", body=json.dumps(body).encode()
        )

    def change(self, workspace_id: str, column: str, value: object) -> None:
        """Change a column of the workspace's row in the registry."""
        with contextlib.closing(sqlite3.connect(self.pair.database)) as database, database:
            database.execute(
                f"update workspaces set {column} = ? where id = ?", (value, workspace_id)
            )


SECRET_ONLY = [".platform_inbound_secret"]


class EnrolmentTests(EnrolmentCase):
    """Registration with a token from the operator."""

    def test_registers(self) -> None:
        """
        A workspace registers, stores its secret, and is reachable through the platform.  After a
        restart it rewrites the file only if the secret in the registry has changed.
        """
        made, token = self.pair.add(None)
        role, configs = self.enrolled(made, token=token)
        secret = self.kept(configs, ".platform_inbound_secret")
        self.assertRegex(secret, r"\A[A-Za-z0-9_-]{43}\Z")
        role.logged(r"/ready is still 503 \(no inbound secret yet\): chatfiles workspace ready on ")
        role.secrets.update((secret, token))
        self.assertEqual(self.download(made, token).body, b"hello a\n")
        row = self.pair.as_admin("GET", f"/workspaces/{made}").json
        self.assertEqual((row["status"], row["delivery_mode"]), ("online", "push"))
        self.assertEqual(row["url"], role.url)
        self.assertIsNotNone(row["last_heartbeat_at"])
        role.logged("registry/register .* accepted")
        role.logged(rf" {made} read 200 8 bytes ")
        before = os.stat(os.path.join(configs, ".platform_inbound_secret"))
        role.stop()

        again = self.run_workspace(made, configs)
        again.logged(r"#info\] chatfiles workspace ready on ")
        again.logged("registry/register .* accepted")
        self.assertEqual(self.kept(configs, ".platform_inbound_secret"), secret)
        after = os.stat(os.path.join(configs, ".platform_inbound_secret"))
        self.assertEqual((before.st_ino, before.st_mtime_ns), (after.st_ino, after.st_mtime_ns))
        self.assertEqual(self.download(made, token).body, b"hello a\n")
        again.stop()

        self.change(made, "platform_inbound_secret", "a-rotated-secret")
        third = self.run_workspace(made, configs)
        third.logged("platform_inbound_secret stored in ")
        self.assertEqual(self.kept(configs, ".platform_inbound_secret"), "a-rotated-secret")
        self.assertEqual(self.download(made, token).body, b"hello a\n")
        third.stop()

    def test_heartbeat(self) -> None:
        """A workspace sends a heartbeat every 30 s, and receives a new secret in the response."""
        if not SOAK:
            raise SkipTest("takes 30 s: CHATFILES_SOAK=1 is not set")
        made, token = self.pair.add(None)
        role, configs = self.enrolled(made, token=token)
        self.kept(configs, ".platform_inbound_secret")
        self.change(made, "platform_inbound_secret", None)
        first = self.pair.as_admin("GET", f"/workspaces/{made}").json["last_heartbeat_at"]
        answer = self.download(made, token)
        self.assert_error(answer, 503, "workspace re-registering — please retry in 30 seconds")
        role.logged("platform_inbound_secret stored in ", since=role.mark(), seconds=30 + PATIENCE)
        self.assertEqual(self.download(made, token).body, b"hello a\n")
        row = self.pair.as_admin("GET", f"/workspaces/{made}").json
        self.assertGreater(row["last_heartbeat_at"], first)
        role.stop()

    def test_refused(self) -> None:
        """A workspace with an invalid token is refused, logs that, and continues to serve."""
        made, _ = self.pair.add(None)
        role, configs = self.enrolled(made, token="wrong")
        role.logged("registry/register .* 401")
        self.assertNotIn(".platform_inbound_secret", os.listdir(configs))
        self.assertEqual(fetch(role.url, "/health").status, 200)
        self.assertEqual(fetch(role.url, "/ready").status, 503)
        role.stop()

    def test_registration_rules(self) -> None:
        """Registration and heartbeat require a valid workspace ID and the workspace's own token."""
        made, token = self.pair.add(None)
        url = self.pair.workspace.url
        body, beat = {"id": made, "url": url}, {"workspace_id": made}
        foreign = self.pair.token
        unknown = str(uuid.uuid4())
        self.assert_error(self.post("/registry/register", body), 401, MISSING_TOKEN)
        self.assert_error(self.post("/registry/heartbeat", beat), 401, MISSING_TOKEN)
        for wrong in ("wrong", foreign):
            for target, given in (("/registry/register", body), ("/registry/heartbeat", beat)):
                self.assert_error(self.post(target, given, wrong), 401, INVALID_TOKEN, target)
        self.assertEqual(self.post("/registry/register", {"id": unknown, "url": url}).status, 401)
        for wrong_id in ("x", None, 1, [made], {"id": made}):
            answer = self.post("/registry/register", {"id": wrong_id}, token)
            self.assert_error(answer, 400, "invalid workspace ID", wrong_id)
        self.assertEqual(self.post("/registry/register", {}, token).status, 400)
        self.assertEqual(self.post("/registry/heartbeat", {}, token).status, 400)
        answer = self.post("/registry/register", {**body, "agent_card": {"name": "n"}}, token)
        self.assertEqual(answer.status, 200)
        secret = answer.json["platform_inbound_secret"]
        expected = {"status": "registered", "platform_inbound_secret": secret}
        self.assertEqual(answer.json, {**expected, "delivery_mode": "push"})
        self.pair.hide(answer.json["platform_inbound_secret"])
        beats = self.post("/registry/heartbeat", beat, token).json
        self.assertEqual(beats, {**expected, "status": "ok"})

    def test_cards(self) -> None:
        """
        Any agent name is accepted: it is cleaned and truncated to 256 characters.  An unusable one
        is replaced by the workspace ID.
        """
        made, token = self.pair.add(None)
        url = self.pair.workspace.url
        names: dict[object, str | None] = {
            "a\u00a0b": "a b",
            "\U0001f468\u200d\U0001f469": "\U0001f468 \U0001f469",
            "x" * 300: "x" * 256,
            " \r\n": None,
            "": None,
            7: None,
        }
        for name, kept in names.items():
            for fresh in (False, True):
                workspace_id = str(uuid.uuid4()) if fresh else made
                body = {"id": workspace_id, "url": url, "agent_card": {"name": name}}
                answer = self.post("/registry/register", body, self.pair.admin if fresh else token)
                self.assertEqual(answer.status, 200, name)
                self.pair.hide(answer.json["platform_inbound_secret"])
                self.pair.hide(answer.json.get("auth_token", ""))
                if fresh:
                    row = self.pair.as_admin("GET", f"/workspaces/{workspace_id}").json
                    self.assertEqual(row["name"], kept or workspace_id)
        cards: tuple[object, ...] = (None, "x", [], {"name": None})
        for card in cards:
            answer = self.post(
                "/registry/register", {"id": made, "url": url, "agent_card": card}, token
            )
            self.assertEqual(answer.status, 200, card)

    def test_first_token_for_the_admin(self) -> None:
        """If the admin registers a workspace without a live token, the response contains one."""
        made, _ = self.pair.add(None)
        target = f"/workspaces/{made}/tokens"
        [token] = self.pair.as_admin("GET", target).json["tokens"]
        self.assertEqual(self.pair.as_admin("DELETE", f"{target}/{token['id']}").status, 204)
        body = {"id": made, "url": self.pair.workspace.url}
        self.assert_error(self.post("/registry/register", body), 401, MISSING_TOKEN)
        first = self.post("/registry/register", body, self.pair.admin).json
        self.pair.hide(first["auth_token"], first["platform_inbound_secret"])
        second = self.post("/registry/register", body, self.pair.admin).json
        self.assertNotIn("auth_token", second)
        self.assertEqual(self.post("/registry/register", body, first["auth_token"]).status, 200)

    def test_mode_and_url_are_kept(self) -> None:
        """A registration without URL and mode keeps both; the URL in a heartbeat is ignored."""
        made, token = self.pair.add("http://127.0.0.1:1", delivery_mode="poll")
        self.post("/registry/register", {"id": made}, token)
        row = self.pair.as_admin("GET", f"/workspaces/{made}").json
        self.assertEqual((row["url"], row["delivery_mode"]), ("http://127.0.0.1:1", "poll"))
        self.post("/registry/heartbeat", {"workspace_id": made, "url": "http://x"}, token)
        row = self.pair.as_admin("GET", f"/workspaces/{made}").json
        self.assertEqual(row["url"], "http://127.0.0.1:1")


class OpenRegistrationTests(EnrolmentCase):
    """A platform with ``--open-registration``: new workspaces need no credential."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(platform=["--open-registration"])

    def test_unknown(self) -> None:
        """An unknown workspace is created, and receives and uses both credentials."""
        made = str(uuid.uuid4())
        role, configs = self.enrolled(made)
        secret = self.kept(configs, ".platform_inbound_secret")
        token = self.kept(configs, ".auth_token")
        self.assertRegex(token, r"\A[A-Za-z0-9_-]{43}\Z")
        role.secrets.update((secret, token))
        self.assertEqual(self.download(made, token).body, b"hello a\n")
        role.stop()
        again = self.run_workspace(made, configs)
        again.logged("registry/register .* accepted")
        self.assertEqual(self.kept(configs, ".auth_token"), token)
        again.stop()

    def test_one_with_a_live_token(self) -> None:
        """A workspace that has a live token has to present it, even with open registration."""
        made, token = self.pair.add(None)
        body = {"id": made, "url": self.pair.workspace.url}
        self.assert_error(self.post("/registry/register", body), 401, MISSING_TOKEN)
        self.assert_error(self.post("/registry/register", body, "wrong"), 401, INVALID_TOKEN)
        self.assertEqual(self.post("/registry/register", body, token).status, 200)

    def test_only_once(self) -> None:
        """A second registration needs the token that the first one received."""
        body = {"id": str(uuid.uuid4()), "url": self.pair.workspace.url}
        first = self.post("/registry/register", body).json
        self.assertEqual(
            set(first), {"status", "platform_inbound_secret", "delivery_mode", "auth_token"}
        )
        self.pair.hide(first["auth_token"], first["platform_inbound_secret"])
        self.assert_error(self.post("/registry/register", body), 401, MISSING_TOKEN)

    def test_removed(self) -> None:
        """A removed workspace cannot register again."""
        made, token = self.pair.add(None)
        self.pair.as_admin("DELETE", f"/workspaces/{made}")
        body = {"id": made, "url": self.pair.workspace.url}
        self.assertIn(self.post("/registry/register", body).status, (401, 404))
        self.assertEqual(self.post("/registry/register", body, token).status, 401)
        self.assertEqual(self.pair.as_admin("GET", f"/workspaces/{made}").status, 404)

    def test_registry_down(self) -> None:
        """
        If the registry is unavailable, registration fails with 503: whether the workspace has live
        tokens is unknown.
        """
        body = {"id": self.pair.id, "url": self.pair.workspace.url}
        away = self.pair.database + ".away"
        os.rename(self.pair.database, away)
        try:
            answer = self.post("/registry/register", body)
        finally:
            os.rename(away, self.pair.database)
        self.assertEqual((answer.status, answer.json["code"]), (503, "platform_unavailable"))
        self.assertNotIn("platform_inbound_secret", answer.json)


HOSTILE = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n{"platform_inbound_secret":"a\\nb"}',
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
)


class OtherPlatformTests(SynchronousTestCase):
    """Registration with a platform that fails, hangs or sends invalid responses."""

    def run_against(self, script: Script) -> tuple[Role, str, ScriptedServer]:
        """:return: a workspace that registers with *script*, its configs, the script's server."""
        server = ScriptedServer(script)
        self.addCleanup(server.close)
        configs = tempfile.mkdtemp(prefix="chatfiles-enrol-")
        self.addCleanup(shutil.rmtree, configs)
        with open(os.path.join(configs, ".auth_token"), "w") as file:
            file.write("the-token-of-this-workspace")
        role = Role(
            "workspace",
            f"--root=/workspace={configs}",
            f"--configs-dir={configs}",
            f"--platform={server.url}/base/",
            "--workspace-id=5f0f1f0c-9b4e-4a43-9d0e-3a8f5f4b7f10",
            "--advertise=http://127.0.0.1:8000",
        )
        role.secrets.update(("the-token-of-this-workspace", "a-secret-from-a-script"))
        self.addCleanup(role.kill)
        return role, configs, server

    def test_tries_again(self) -> None:
        """A failed registration is retried after a second or two, until it succeeds."""
        good = json.dumps(
            {"status": "registered", "platform_inbound_secret": "a-secret-from-a-script"}
        ).encode()
        bodies: list[bytes] = []

        def script(peer: ServerConnection) -> None:
            while asked := peer.request():
                bodies.append(peer.body(asked))
                if peer.number == 0:
                    return
                peer.send(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(good), good)
                )

        role, configs, server = self.run_against(script)
        role.logged("platform_inbound_secret stored in ")
        with open(os.path.join(configs, ".platform_inbound_secret")) as file:
            self.assertEqual(file.read(), "a-secret-from-a-script")
        asked = server.requests[-1]
        self.assertEqual((asked.method, asked.target), ("POST", "/base/registry/register"))
        self.assertEqual(asked.header("authorization"), "Bearer the-token-of-this-workspace")
        self.assertEqual(
            json.loads(bodies[-1]),
            {
                "id": "5f0f1f0c-9b4e-4a43-9d0e-3a8f5f4b7f10",
                "url": "http://127.0.0.1:8000",
                "agent_card": {"name": "chatfiles workspace"},
                "delivery_mode": "push",
                "accepts_next_secret": True,
            },
        )
        role.stop()

    def test_hostile(self) -> None:
        """An invalid response is not stored, and the workspace continues to serve."""
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(self.is_not_fooled, HOSTILE))

    def is_not_fooled(self, said: bytes) -> None:
        """A workspace that receives *said* stores nothing and continues to serve."""

        def script(peer: ServerConnection) -> None:
            if peer.request():
                peer.send(said)

        role, configs, _ = self.run_against(script)
        role.logged("(registry/register|platform_inbound_secret) at ")
        self.assertNotIn(".platform_inbound_secret", os.listdir(configs))
        self.assertEqual(fetch(role.url, "/health").status, 200)
        role.stop()

    def test_hangs(self) -> None:
        """A workspace stops on SIGTERM even if the platform does not respond."""
        role, _, server = self.run_against(lambda peer: (peer.request(), peer.hang()))
        assert role.url
        until(lambda: server.requests, "it asks")
        role.signal(signal.SIGTERM)
        self.assertEqual(role.wait(), 0)
        role.check_log()
