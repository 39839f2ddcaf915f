"""
reference/registration, "What a workspace does": a workspace makes itself known to its platform, and
keeps what it is given.
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

MISSING_TOKEN = "missing workspace auth token"
INVALID_TOKEN = "invalid workspace auth token"


class EnrolmentCase(LiveCase):
    """A platform, and workspaces that register with it by themselves."""

    def enrolled(
        self, workspace_id: str, platform: str = "", token: str | None = None, *more: str
    ) -> tuple[Role, str]:
        """:return: a workspace that was told to register, and its configuration directory."""
        base = tempfile.mkdtemp(prefix="chatfiles-enrol-")
        self.addCleanup(shutil.rmtree, base)
        os.mkdir(os.path.join(base, "files"))
        with open(os.path.join(base, "files", "a.txt"), "wb") as file:
            file.write(b"hello a\n")
        configs = os.path.join(base, "configs")
        os.mkdir(configs)
        if token is not None:
            with open(os.path.join(configs, ".auth_token"), "w") as file:
                file.write(token)
        return self.run_workspace(workspace_id, configs, platform, *more), configs

    def run_workspace(
        self, workspace_id: str, configs: str, platform: str = "", *more: str
    ) -> Role:
        """:return: a workspace with these files."""
        port = free_port()
        role = Role(
            "workspace",
            f"--listen=tcp:{port}:interface=127.0.0.1",
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
        """:return: a credential that the workspace was given, once it is there."""
        path = os.path.join(configs, name)
        until(lambda: os.path.exists(path), f"{name} is stored")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(sorted(set(os.listdir(configs)) - {".auth_token"}), SECRET_ONLY)
        with open(path) as file:
            value = file.read()
        self.pair.hide(value)
        return value

    def download(self, workspace_id: str, token: str) -> Response:
        """:return: the platform's answer."""
        return fetch(
            self.pair.platform.url,
            f"/workspaces/{workspace_id}/chat/download?path=/workspace/a.txt",
            {"Authorization": f"Bearer {token}"},
        )

    def post(self, target: str, body: object, token: str | None = None) -> Response:
        """:return: the platform's answer to a JSON body."""
        fields = {} if token is None else {"Authorization": f"Bearer {token}"}
        return fetch(
            self.pair.platform.url, target, fields, method="POST", body=json.dumps(body).encode()
        )

    def change(self, workspace_id: str, column: str, value: object) -> None:
        """Write into a row of the registry."""
        with contextlib.closing(sqlite3.connect(self.pair.database)) as database, database:
            database.execute(
                f"update workspaces set {column} = ? where id = ?", (value, workspace_id)
            )


SECRET_ONLY = [".platform_inbound_secret"]


def free_port() -> int:
    """:return: a port that was free a moment ago: a workspace must know it to advertise it."""
    server = ScriptedServer(lambda peer: None)
    server.close()
    return int(server.url.rpartition(":")[2])


class EnrolmentTests(EnrolmentCase):
    """With a token that the operator has given it."""

    def test_registers(self) -> None:
        """
        It registers, stores its secret, and can be reached through the platform.  Started again it
        leaves the file alone, or stores the secret that the registry has by then.
        """
        made, token = self.pair.add(None)
        role, configs = self.enrolled(made, token=token)
        secret = self.kept(configs, ".platform_inbound_secret")
        self.assertRegex(secret, r"\A[A-Za-z0-9_-]{43}\Z")
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
        """Every 30 s it shows that it lives, and is told of a new secret."""
        if not SOAK:
            raise SkipTest("takes 30 s: CHATFILES_SOAK=1 is not set")
        made, token = self.pair.add(None)
        role, configs = self.enrolled(made, token=token)
        self.kept(configs, ".platform_inbound_secret")
        self.change(made, "platform_inbound_secret", None)
        first = self.pair.as_admin("GET", f"/workspaces/{made}").json["last_heartbeat_at"]
        answer = self.download(made, token)
        self.assert_error(answer, 503, "workspace re-registering — please retry in 30 seconds")
        role.logged("platform_inbound_secret stored in ", since=role.mark(), seconds=40)
        self.assertEqual(self.download(made, token).body, b"hello a\n")
        row = self.pair.as_admin("GET", f"/workspaces/{made}").json
        self.assertGreater(row["last_heartbeat_at"], first)
        role.stop()

    def test_refused(self) -> None:
        """With a credential that does not count it is refused, says so, and goes on serving."""
        made, _ = self.pair.add(None)
        role, configs = self.enrolled(made, token="wrong")
        role.logged("registry/register .* 401")
        self.assertNotIn(".platform_inbound_secret", os.listdir(configs))
        self.assertEqual(fetch(role.url, "/health").status, 200)
        self.assertEqual(fetch(role.url, "/ready").status, 503)
        role.stop()

    def test_registration_rules(self) -> None:
        """Who may register or heartbeat for whom."""
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
        self.assertEqual(set(answer.json), {"status", "platform_inbound_secret"})
        self.assertEqual(answer.json["status"], "registered")
        self.pair.hide(answer.json["platform_inbound_secret"])
        beats = self.post("/registry/heartbeat", beat, token).json
        self.assertEqual(beats, {**answer.json, "status": "ok"})

    def test_cards(self) -> None:
        """A workspace is turned away for what its agent is called."""
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
        """Registered by the admin, a workspace without any live token gets its first one."""
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
        """What a registration does not say is not changed by it."""
        made, token = self.pair.add("http://127.0.0.1:1", delivery_mode="poll")
        self.post("/registry/register", {"id": made}, token)
        row = self.pair.as_admin("GET", f"/workspaces/{made}").json
        self.assertEqual((row["url"], row["delivery_mode"]), ("http://127.0.0.1:1", "poll"))
        self.post("/registry/heartbeat", {"workspace_id": made, "url": "http://x"}, token)
        row = self.pair.as_admin("GET", f"/workspaces/{made}").json
        self.assertEqual(row["url"], "http://127.0.0.1:1")


class OpenRegistrationTests(EnrolmentCase):
    """A platform that lets workspaces in without a credential."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(platform=["--open-registration"])

    def test_unknown(self) -> None:
        """A workspace that nobody knows is made, gets both credentials, and uses them."""
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
        """Where there is a live token it is needed, as ever."""
        made, token = self.pair.add(None)
        body = {"id": made, "url": self.pair.workspace.url}
        self.assert_error(self.post("/registry/register", body), 401, MISSING_TOKEN)
        self.assert_error(self.post("/registry/register", body, "wrong"), 401, INVALID_TOKEN)
        self.assertEqual(self.post("/registry/register", body, token).status, 200)

    def test_only_once(self) -> None:
        """Whoever comes second needs the token that the first was given."""
        body = {"id": str(uuid.uuid4()), "url": self.pair.workspace.url}
        first = self.post("/registry/register", body).json
        self.assertEqual(set(first), {"status", "platform_inbound_secret", "auth_token"})
        self.pair.hide(first["auth_token"], first["platform_inbound_secret"])
        self.assert_error(self.post("/registry/register", body), 401, MISSING_TOKEN)

    def test_removed(self) -> None:
        """A removed workspace does not come back by registering."""
        made, token = self.pair.add(None)
        self.pair.as_admin("DELETE", f"/workspaces/{made}")
        body = {"id": made, "url": self.pair.workspace.url}
        self.assertIn(self.post("/registry/register", body).status, (401, 404))
        self.assertEqual(self.post("/registry/register", body, token).status, 401)
        self.assertEqual(self.pair.as_admin("GET", f"/workspaces/{made}").status, 404)

    def test_registry_down(self) -> None:
        """A registry that cannot be asked is no proof that there are no tokens."""
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
    """A platform that is not there, or not what it should be."""

    def run_against(self, script: Script) -> tuple[Role, str, ScriptedServer]:
        """:return: a workspace that registers with a script."""
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
        """What fails is tried again after a second or two, until it works."""
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
            },
        )
        role.stop()

    def test_hostile(self) -> None:
        """What is no registration is not stored, and stops nothing."""
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(self.is_not_fooled, HOSTILE))

    def is_not_fooled(self, said: bytes) -> None:
        """A workspace that is told this stores nothing."""

        def script(peer: ServerConnection) -> None:
            if peer.request():
                peer.send(said)

        role, configs, _ = self.run_against(script)
        role.logged("(registry/register|platform_inbound_secret) at ")
        self.assertNotIn(".platform_inbound_secret", os.listdir(configs))
        self.assertEqual(fetch(role.url, "/health").status, 200)
        role.stop()

    def test_hangs(self) -> None:
        """A platform that does not answer does not keep the workspace from stopping."""
        role, _, server = self.run_against(lambda peer: (peer.request(), peer.hang()))
        assert role.url
        until(lambda: server.requests, "it asks")
        role.signal(signal.SIGTERM)
        self.assertEqual(role.wait(), 0)
        role.check_log()
