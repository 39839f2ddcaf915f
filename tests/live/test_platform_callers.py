"""
reference/authentication, "Order of checks" on a running platform: which client may request what,
and what all responses have in common.
"""

from __future__ import annotations

import hashlib
import uuid

from tests.live.platform_case import (
    INVALID_TOKEN,
    MISSING_TOKEN,
    NOBODY,
    PlatformCase,
)
from tests.live.rawhttp import Connection, fetch


class CallerTests(PlatformCase):
    """Which client may request what."""

    def token(self, *scopes: str) -> str:
        """:return: a token of the workspace with these scopes."""
        answer = self.post(f"/workspaces/{self.pair.id}/tokens", {"scopes": list(scopes)})
        self.assertEqual(answer.status, 201)
        made = answer.json
        self.assertEqual(made["scopes"], sorted(scopes))
        self.assertEqual(made["prefix"], made["token"][:8])
        self.pair.hide(made["token"])
        return str(made["token"])

    def test_only_a_bearer(self) -> None:
        """
        Only a bearer token counts as a credential; no other credential opens anything, not even
        beside a valid token.
        """
        token, url = self.pair.token, self.pair.platform.url
        target = self.target(self.pair.id)
        for fields in (
            [],
            [("Cookie", f"token={token}; Authorization=Bearer {token}")],
            [("Referer", url), ("Origin", url)],
            [("X-Auth-Token", token)],
            [("X-Api-Key", token)],
            [("Proxy-Authorization", f"Bearer {token}")],
            [("X-Forwarded-User", "admin")],
        ):
            self.assert_error(fetch(url, target, fields), 401, MISSING_TOKEN, fields)
        for value in (
            "",
            "Bearer",
            "Bearer ",
            f"Basic {token}",
            token,
            f"Bearer {token}x",
            f"Bearer {token[:-1]}",
            f"Bearer {token},{token}",
            f"Bearer {token} {token}",
            f"Bearer {self.pair.secret}",
            "Bearer \xff",
            "Bearer " + "x" * 8000,
        ):
            answer = fetch(url, target, {"Authorization": value})
            self.assertEqual(answer.status, 401, value)
            self.assertIn(answer.error, (MISSING_TOKEN, INVALID_TOKEN))
        twice = [("Authorization", f"Bearer {token}")] * 2
        self.assertEqual(fetch(url, target, twice).status, 401)
        for extra in (
            f"&token={token}",
            f"&access_token={token}",
            f"&Authorization=Bearer+{token}",
        ):
            self.assert_error(fetch(url, target + extra), 401, MISSING_TOKEN)
        self.assertEqual(fetch(url, target, {"Authorization": f"bearer {token}"}).status, 200)

    def test_own_workspace_only(self) -> None:
        """A token opens its own workspace only; for every other one it is an invalid token."""
        other, foreign = self.pair.add(self.pair.workspace.url)
        self.assertEqual(self.download(self.pair.id, self.pair.token).status, 200)
        for workspace_id in (other, NOBODY):
            self.assert_error(self.download(workspace_id, self.pair.token), 401, INVALID_TOKEN)
        answer = self.download(self.pair.id, foreign)
        self.assert_error(answer, 401, INVALID_TOKEN)
        line = f"{answer['x-request-id']} {self.pair.id} download 401 "
        self.pair.platform.logged(line)
        self.assert_error(self.ask(f"/workspaces/{other}", self.pair.token), 401, INVALID_TOKEN)

    def test_scopes(self) -> None:
        """A token allows what its scopes say, and nothing else."""
        denied = "token does not allow this"
        register = {"id": self.pair.id, "url": self.pair.workspace.url}
        for scopes in (("read",), ("write",), ("agent",), ("read", "write"), ("agent", "read")):
            token = self.token(*scopes)
            answers = {
                "read": self.download(self.pair.id, token),
                "agent": self.post("/registry/register", register, token),
            }
            again = self.post("/registry/heartbeat", {"workspace_id": self.pair.id}, token)
            self.assertEqual(again.status, answers["agent"].status, scopes)
            for scope, answer in answers.items():
                if scope in scopes:
                    self.assertEqual(answer.status, 200, (scope, scopes))
                else:
                    self.assert_error(answer, 403, denied, (scope, scopes))
            answer = fetch(
                self.pair.platform.url,
                f"/workspaces/{self.pair.id}/chat/uploads",
                {"Authorization": f"Bearer {token}", "Content-Type": "text/plain"},
                method="POST",
                body=b"",
            )
            self.assertEqual(answer.status, 415 if "write" in scopes else 403, scopes)
            self.assertEqual(self.ask(f"/workspaces/{self.pair.id}", token).status, 200)
        self.assertEqual(
            self.ask(f"/workspaces/{self.pair.id}/chat/download", self.token("write")).status, 403
        )

    def test_wrong_scopes(self) -> None:
        """Scopes are a list of known scopes; anything else is 400."""
        target = f"/workspaces/{self.pair.id}/tokens"
        for scopes in ([], ["admin"], ["read", "x"], "read", {"read": 1}, [1], [None], ["READ"]):
            self.assertEqual(self.post(target, {"scopes": scopes}).status, 400, scopes)
        answer = self.post(target, {})
        self.pair.hide(answer.json["token"])
        self.assertEqual(set(answer.json["scopes"]), {"read", "write", "agent"})
        self.assertEqual(set(answer.json), {"id", "token", "prefix", "scopes"})

    def test_revoked(self) -> None:
        """A revoked token is refused at once; a list of tokens never shows the token itself."""
        target = f"/workspaces/{self.pair.id}/tokens"
        made = self.post(target, {"name": "short-lived"}).json
        self.pair.hide(made["token"])
        self.assertEqual(self.download(self.pair.id, made["token"]).status, 200)
        listed = self.ask(target)
        self.assertNotIn(made["token"].encode(), listed.body)
        self.assertIn(made["id"], [token["id"] for token in listed.json["tokens"]])
        self.assertEqual(self.ask(f"{target}/{made['id']}", method="DELETE").status, 204)
        self.assert_error(self.download(self.pair.id, made["token"]), 401, INVALID_TOKEN)
        self.assertEqual(self.ask(f"{target}/{made['id']}", method="DELETE").status, 404)
        self.assertEqual(self.ask(f"{target}/nonsense", method="DELETE").status, 404)
        self.assertEqual(self.ask(f"{target}/{NOBODY}", method="DELETE").status, 404)

    def test_revoked_by_another_process(self) -> None:
        """A token that another process revokes in the registry is refused."""
        made = self.post(f"/workspaces/{self.pair.id}/tokens", {}).json
        self.pair.hide(made["token"])
        self.assertEqual(self.download(self.pair.id, made["token"]).status, 200)
        with self.registry() as database:
            database.execute(
                "update workspace_auth_tokens set revoked_at = '2024-01-01 00:00:00+00:00' "
                "where prefix = ?",
                (made["prefix"],),
            )
        self.assertEqual(self.download(self.pair.id, made["token"]).status, 401)

    def test_foreign_token(self) -> None:
        """A token without scopes that another program has put into the registry has every scope."""
        token = "a-token-of-another-program"
        self.pair.hide(token)
        row = {
            "id": str(uuid.uuid4()),
            "workspace_id": self.pair.id,
            "token_hash": hashlib.sha256(token.encode()).digest(),
            "prefix": token[:8],
            "created_at": "2024-01-01T00:00:00+00:00",
        }
        with self.registry() as database:
            database.execute(
                f"insert into workspace_auth_tokens ({', '.join(row)}) values (?, ?, ?, ?, ?)",
                tuple(row.values()),
            )
        self.assertEqual(self.download(self.pair.id, token).body, b"hello a\n")
        beat = self.post("/registry/heartbeat", {"workspace_id": self.pair.id}, token)
        self.assertEqual(beat.status, 200)

    def test_admin_routes(self) -> None:
        """The admin's routes require the admin token."""
        for method, target in (
            ("GET", "/workspaces"),
            ("POST", "/workspaces"),
            ("DELETE", f"/workspaces/{self.pair.id}"),
            ("GET", f"/workspaces/{self.pair.id}/tokens"),
            ("POST", f"/workspaces/{self.pair.id}/tokens"),
            ("DELETE", f"/workspaces/{self.pair.id}/tokens/{NOBODY}"),
        ):
            answer = fetch(self.pair.platform.url, target, method=method)
            self.assertEqual(answer.status, 401, (method, target))
            self.assertEqual(answer["www-authenticate"], "Bearer")
            self.assertEqual(self.ask(target, "wrong", method).status, 401, (method, target))
            self.assertIn(self.ask(target, self.pair.token, method).status, (401, 403))

    def test_never_a_secret(self) -> None:
        """Responses about workspaces contain no secret."""
        for target in ("/workspaces", f"/workspaces/{self.pair.id}"):
            answer = self.ask(target)
            for secret in (self.pair.secret, self.pair.token, self.pair.admin):
                self.assertNotIn(secret.encode(), answer.body)
        row = self.ask(f"/workspaces/{self.pair.id}").json
        is_dialled = self.pair.via == "url"
        self.assertEqual(
            set(row) - ({"channel"} if not is_dialled else set()),
            {"id", "name", "url", "status", "delivery_mode", "last_heartbeat_at"},
        )
        url = self.pair.workspace.url if is_dialled else None
        self.assertEqual((row["id"], row["url"]), (self.pair.id, url))

    def test_create(self) -> None:
        """A workspace is created as requested, once; a second one with the same id is 409."""
        wanted = str(uuid.uuid4())
        answer = self.post("/workspaces", {"id": wanted, "name": "mine", "delivery_mode": "poll"})
        self.assertEqual((answer.status, set(answer.json)), (201, {"id", "name", "auth_token"}))
        self.assertEqual((answer.json["id"], answer.json["name"]), (wanted, "mine"))
        self.pair.hide(answer.json["auth_token"])
        self.assertRegex(answer.json["auth_token"], r"\A[A-Za-z0-9_-]{43}\Z")
        secret = self.secret_of(wanted)
        assert secret is not None
        self.assertRegex(secret, r"\A[A-Za-z0-9_-]{43}\Z")
        self.assertEqual(self.post("/workspaces", {"id": wanted}).status, 409)
        for wrong in ({"id": "x"}, {"id": 1}, {"name": 1}, {"name": "a\nb"}, {"url": 1}):
            self.assertEqual(self.post("/workspaces", wrong).status, 400, wrong)

    def test_wrong_bodies(self) -> None:
        """A body that is not a JSON object of bounded size is refused."""
        fields = {"Authorization": f"Bearer {self.pair.admin}"}
        for body in (b"x", b"[]", b'"a"', b"null", b"{", b"\xff", b"{}x", b"[" * 50_000):
            for target in ("/workspaces", "/registry/register", "/registry/heartbeat"):
                answer = fetch(self.pair.platform.url, target, fields, method="POST", body=body)
                self.assertEqual(answer.status, 400, (target, body[:20]))
        large = b'{"name": "' + b"x" * 1_000_000 + b'"}'
        with Connection(self.pair.platform.url) as connection:
            length = {**fields, "Content-Length": str(len(large))}
            connection.ask("POST", "/workspaces", length)
            self.assertEqual(connection.response().status, 413)

    def test_methods(self) -> None:
        """Unknown routes are 404, known ones with another method 405 with ``Allow``."""
        one = f"/workspaces/{self.pair.id}"
        for target, allowed in (
            ("/health", {"GET", "HEAD"}),
            ("/ready", {"GET", "HEAD"}),
            ("/uploads/limits", {"GET", "HEAD"}),
            (f"{one}/chat/download?path=/workspace/a.txt", {"GET", "HEAD"}),
            (f"{one}/chat/uploads", {"POST"}),
            ("/registry/register", {"POST"}),
            ("/registry/heartbeat", {"POST"}),
            ("/workspaces", {"GET", "HEAD", "POST"}),
            (one, {"GET", "HEAD", "DELETE"}),
            (f"{one}/tokens", {"GET", "HEAD", "POST"}),
            (f"{one}/tokens/{NOBODY}", {"DELETE"}),
        ):
            for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} - allowed:
                answer = self.ask(target, method=method)
                self.assert_error(answer, 405, "method not allowed", (method, target))
                self.assertEqual(set(answer["allow"].split(", ")), allowed, target)
        for target in (
            "/",
            "//",
            "/health/",
            "/healthz",
            "/workspaces/",
            f"{one}/",
            f"{one}/chat",
            f"{one}/chat/",
            f"{one}/chat/download/",
            f"{one}/chat/download/x",
            f"{one}/chat/uploads/x",
            f"{one}//chat/download",
            f"{one}/./chat/download",
            f"{one}/x/../chat/download",
            f"{one}/chat%2Fdownload",
            f"{one}/tokens/",
            f"{one}/tokens/{NOBODY}/x",
            "/registry",
            "/registry/",
            "/registry/Register",
            "/internal/file/read",
            "/uploads",
            "/favicon.ico",
        ):
            answer = self.ask(target + "?path=/workspace/a.txt")
            self.assertEqual((answer.status, answer.json["code"]), (404, "no_route"), target)

    def test_open_routes(self) -> None:
        """Some routes need no credentials."""
        url = self.pair.platform.url
        self.assertEqual(fetch(url, "/health").json, {"status": "ok", "role": "platform"})
        self.assertEqual(fetch(url, "/ready").status, 200)
        self.assertEqual(
            fetch(url, "/uploads/limits").json,
            {
                "per_file_bytes": 104857600,
                "per_request_bytes": 104857600,
                "max_files_per_request": 64,
                "max_attachments_per_message": 10,
            },
        )

    def test_request_id(self) -> None:
        """The client's request id is sent to the workspace and is in both logs."""
        answer = fetch(
            self.pair.platform.url,
            self.target(self.pair.id),
            {**self.pair.bearer, "X-Request-Id": "followed.all-the_way"},
        )
        self.assertEqual(answer["x-request-id"], "followed.all-the_way")
        for role in (self.pair.platform, self.pair.workspace):
            role.logged(r"followed\.all-the_way .* 200 8 bytes [0-9.]+ s complete")

    def test_no_trace_of_a_hostile_request(self) -> None:
        """No control character that a client sends gets into a log or a response."""
        mark = self.pair.platform.mark()
        for target in (
            "/%0A%0Dforged",
            "/\x1b[31mred",
            "/workspaces/%1b%5b31m/chat/download",
            f"/workspaces/{self.pair.id}/chat/download?path=/workspace/%1b%5b31mforged",
        ):
            answer = fetch(self.pair.platform.url, target, self.pair.bearer)
            self.assertNotIn(b"\x1b", answer.body)
            self.assertNotIn(b"<", answer.body)
        fetch(self.pair.platform.url, self.target(self.pair.id), {"X-Request-Id": "after-them"})
        self.pair.platform.logged("after-them", since=mark)
        self.assertNotIn("forged", self.pair.platform.log)
