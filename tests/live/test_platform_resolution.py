"""
reference/resolution, "Resolution table" on a running platform: which workspace a request is for,
and the response if that cannot be reached.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import uuid

from chatfiles.testing.broken_upstreams import ScriptedServer
from tests.live.platform_case import (
    INVALID_TOKEN,
    MISSING_TOKEN,
    NOBODY,
    NOT_ALLOWED,
    NOT_FOUND,
    UNAVAILABLE,
    PlatformCase,
)
from tests.live.processes import IMPATIENT, Pair, until
from tests.live.rawhttp import fetch


class ResolutionTests(PlatformCase):
    """The table of reference/resolution, "Resolution table", row by row."""

    def both(self, workspace_id: str, status: int, text: str) -> list[dict[str, object]]:
        """:return: the errors, as JSON, of a download and an upload, which are alike."""
        found = []
        for word, answer in (
            ("download", self.download(workspace_id)),
            ("upload", self.upload(workspace_id)),
        ):
            found.append(self.assert_error(answer, status, text.replace("{op}", word), word))
        return found

    def test_id(self) -> None:
        """An id that is not a UUID in its one plain form is 400."""
        for wrong in (
            "x",
            "1",
            "not-a-uuid",
            NOBODY[:-1],
            NOBODY + "0",
            NOBODY.replace("-", ""),
            "{" + NOBODY + "}",
            "urn:uuid:" + NOBODY,
            NOBODY.replace("0", "g"),
            "%20" + NOBODY,
            NOBODY + "%00",
            NOBODY + "%0A",
            "..",
            "%2e%2e",
            "'%20or%201=1--",
            "%EF%BC%90" + NOBODY[1:],
        ):
            self.both(wrong, 400, "invalid workspace ID")
            answer = self.download(wrong, self.pair.token)
            self.assert_error(answer, 401, INVALID_TOKEN, wrong)

    def test_unknown(self) -> None:
        """A workspace that does not exist is 404."""
        self.both(NOBODY, 404, NOT_FOUND)
        self.both(str(uuid.uuid4()), 404, NOT_FOUND)

    def test_capitals(self) -> None:
        """A UUID in capitals is the same one."""
        answer = self.download(self.pair.id.upper())
        self.assertEqual((answer.status, answer.body), (200, b"hello a\n"))
        self.assertEqual(self.download(self.pair.id.upper(), self.pair.token).status, 200)

    def test_removed(self) -> None:
        """A removed workspace does not exist for any route, and its tokens open nothing."""
        made, token = self.pair.add(self.pair.workspace.url)
        self.assertEqual(self.ask(f"/workspaces/{made}", token).status, 200)
        self.assertEqual(self.ask(f"/workspaces/{made}", method="DELETE").status, 204)
        self.both(made, 404, NOT_FOUND)
        self.assert_error(self.download(made, token), 401, INVALID_TOKEN)
        for method, target in (
            ("GET", f"/workspaces/{made}"),
            ("DELETE", f"/workspaces/{made}"),
            ("GET", f"/workspaces/{made}/tokens"),
        ):
            self.assert_error(self.ask(target, method=method), 404, NOT_FOUND, target)
        self.assert_error(self.post(f"/workspaces/{made}/tokens", {}), 404, NOT_FOUND)
        body = {"id": made, "url": self.pair.workspace.url}
        self.assert_error(self.post("/registry/register", body), 404, NOT_FOUND)
        self.assert_error(self.post("/registry/heartbeat", {"workspace_id": made}), 404, NOT_FOUND)
        listed = self.ask("/workspaces").json["workspaces"]
        self.assertNotIn(made, [row["id"] for row in listed])

    def test_removed_by_another_process(self) -> None:
        """A workspace that another process removes becomes 404 soon, and its token invalid."""
        made, token = self.pair.add(self.pair.workspace.url)
        self.change(made, platform_inbound_secret=self.pair.secret)
        self.assertEqual(self.download(made, token).status, 200)
        self.change(made, status="removed")
        until(lambda: self.download(made).status == 404, "the row is seen")
        self.assert_error(self.download(made, token), 401, INVALID_TOKEN)

    def test_no_url_push(self) -> None:
        """A push workspace that has not registered its URL yet is 503 with a time to retry."""
        for url in (None, ""):
            made, _ = self.pair.add(None, delivery_mode="push")
            self.change(made, url=url)
            for told in self.both(made, 503, "workspace url not registered yet"):
                self.assertEqual(told["retry_after_seconds"], 30)

    def test_no_url_otherwise(self) -> None:
        """A workspace in any other mode, or none, and without a URL is 422."""
        text = "workspace has no callback URL — {op} requires push-mode + a public URL"
        for mode in ("poll", "pull", "PUSH", "", None):
            made, _ = self.pair.add(None)
            self.change(made, delivery_mode=mode)
            self.both(made, 422, text)

    def test_url_of_a_poll_workspace(self) -> None:
        """A workspace's URL is used whatever its mode is."""
        made, _ = self.pair.add(self.pair.workspace.url, delivery_mode="poll")
        self.change(made, platform_inbound_secret=self.pair.secret)
        self.assertEqual(self.download(made).body, b"hello a\n")

    def test_url_refused(self) -> None:
        """A URL in the registry is checked again; if it is refused, no connection is made to it."""
        server = ScriptedServer(lambda peer: peer.request())
        self.addCleanup(server.close)
        port = server.url.rpartition(":")[2]
        for url in (
            "nonsense",
            "http://",
            "file:///etc/passwd",
            "unix:///var/run/docker.sock",
            "http://169.254.169.254/latest/meta-data",
            "http://10.0.0.1:8000",
            "http://[::1]:8000",
            f"http://[::ffff:127.0.0.1]:{port}",
            f"http://0.0.0.0:{port}",
            f"http://127.1:{port}",
            f"http://2130706433:{port}",
            f"http://0x7f000001:{port}",
            f"http://0177.0.0.1:{port}",
            f"http://user:password@127.0.0.1:{port}",
            f"http://127.0.0.1:{port}?x=1",
            f"http://127.0.0.1:{port}#x",
            f"http://127.0.0.1:{port}\\@example.com",
            f"http://127.0.0.1:{port} ",
            f"http://127.0.0.1.:{port}",
            "http://127.0.0.1:0",
            "http://127.0.0.1:65536",
        ):
            made, _ = self.pair.add(None)
            self.change(made, url=url)
            self.both(made, 502, NOT_ALLOWED)
        self.assertEqual(server.connections, 0)

    def test_refused_before_a_secret_is_minted(self) -> None:
        """The rows are checked in their order: if the URL is refused, no secret is minted."""
        made, _ = self.pair.add(None)
        self.change(made, url="http://10.0.0.1", platform_inbound_secret=None)
        self.both(made, 502, NOT_ALLOWED)
        self.assertIsNone(self.secret_of(made))

    def test_no_secret(self) -> None:
        """If there is no inbound secret, one is minted and stored for the next registration."""
        for empty in (None, ""):
            for operation in (self.download, self.upload):
                made, token = self.pair.add(self.pair.workspace.url)
                self.change(made, platform_inbound_secret=empty)
                told = self.assert_error(
                    operation(made), 503, "workspace re-registering — please retry in 30 seconds"
                )
                self.assertEqual(told["retry_after_seconds"], 30)
                self.assertIn("RFC #2312", told["detail"])
                minted = self.secret_of(made)
                assert minted is not None
                self.pair.hide(minted)
                self.assertRegex(minted, r"\A[A-Za-z0-9_-]{43}\Z")
                self.assertNotIn(minted, json.dumps(told))
                body = {"workspace_id": made}
                given = self.post("/registry/heartbeat", body, token).json
                self.assertEqual(given["platform_inbound_secret"], minted)

    def test_no_secret_and_a_rule_against_one(self) -> None:
        """
        If a trigger of another program refuses the new secret, the response is 503: the client can
        do nothing about it.
        """
        made = self.pair.add(self.pair.workspace.url)[0]
        self.change(made, platform_inbound_secret=None)
        with contextlib.closing(sqlite3.connect(self.pair.database)) as other:
            other.execute(
                "create trigger theirs before update of platform_inbound_secret on workspaces"
                " begin select raise(abort, 'not by you'); end"
            )
            answer = self.download(made)
            other.execute("drop trigger theirs")
        self.assert_error(answer, 503, "workspace not yet enrolled in v2 download (RFC #2312)")

    def test_order(self) -> None:
        """Credentials come first, then the id, then the form of the path, then the workspace."""
        url = self.pair.platform.url
        for workspace_id in ("nonsense", NOBODY, self.pair.id):
            for query in ("", "?path=", "?path=a", "?path=/etc/passwd"):
                target = f"/workspaces/{workspace_id}/chat/download{query}"
                self.assert_error(fetch(url, target), 401, MISSING_TOKEN, target)
                self.assert_error(self.ask(target, "wrong"), 401, INVALID_TOKEN, target)
        self.assert_error(self.ask("/workspaces/x/chat/download"), 400, "invalid workspace ID")


class LockedRegistryTests(PlatformCase):
    """A registry that another program keeps locked."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(platform=[f"--registry-timeout={IMPATIENT}"])

    def test_no_secret_and_no_way_to_store_one(self) -> None:
        """
        If the new secret cannot be stored, the response is 503 as well, with a message of its own.
        """
        made = self.pair.add(self.pair.workspace.url)[0]
        self.change(made, platform_inbound_secret=None)
        with contextlib.closing(sqlite3.connect(self.pair.database)) as other:
            other.execute("begin immediate")  # no other process can write until it is closed
            # One after the other: a call that waits for the first would still run after its 503.
            answers = {"download": self.download(made), "upload": self.upload(made)}
            other.rollback()
        for word, answer in answers.items():
            text = f"workspace not yet enrolled in v2 {word} (RFC #2312)"
            self.assert_error(answer, 503, text)
        self.assertIsNone(self.secret_of(made))

    def test_locked(self) -> None:
        """While another process writes, requests that only read are served."""
        made, token = self.pair.add(self.pair.workspace.url)
        self.change(made, platform_inbound_secret=self.pair.secret)
        with contextlib.closing(sqlite3.connect(self.pair.database)) as other:
            other.execute("begin exclusive")
            self.assertEqual(self.download(made, token).body, b"hello a\n")
            self.assert_error(self.post("/workspaces", {}), 503, UNAVAILABLE)
            other.rollback()
        self.assertEqual(self.download(made, token).status, 200)


class RegistryDownTests(PlatformCase):
    """A registry that is unavailable."""

    def test_down_and_back(self) -> None:
        """
        An unavailable registry is 503, never 404 or 401; running transfers continue; once the
        registry is available again, requests are served again.
        """
        pair = self.pair
        path = pair.at("workspace", "large.bin")
        with open(path, "wb") as file:
            file.truncate(64 << 20)
        running = self.connect(pair.platform, receive_buffer=65536)
        running.ask("GET", self.target(pair.id, "/workspace/large.bin"), pair.bearer)
        transfer = running.answer()
        self.assertEqual(transfer.head.status, 200)
        away = pair.database + ".away"
        os.rename(pair.database, away)
        try:
            until(lambda: fetch(pair.platform.url, "/ready").status == 503, "it is seen")
            until(lambda: self.download(pair.id).status != 200, "nothing is remembered any more")
            unavailable = [
                self.download(pair.id),
                self.download(pair.id, pair.token),
                self.download(NOBODY),
                self.download(NOBODY, pair.token),
                self.download(pair.id, "unknown-token"),
                self.ask("/workspaces"),
                self.ask(f"/workspaces/{pair.id}"),
                self.ask(f"/workspaces/{NOBODY}"),
                self.ask(f"/workspaces/{pair.id}", method="DELETE"),
                self.ask(f"/workspaces/{pair.id}/tokens"),
                self.post("/workspaces", {}),
                self.post(f"/workspaces/{pair.id}/tokens", {}),
                self.post("/registry/register", {"id": pair.id, "url": pair.workspace.url}),
                self.post("/registry/register", {"id": NOBODY}, pair.token),
                self.post("/registry/heartbeat", {"workspace_id": pair.id}, pair.token),
                self.upload(pair.id),
            ]
            for number, answer in enumerate(unavailable):
                self.assert_error(answer, 503, UNAVAILABLE, number, "platform_unavailable")
                self.assertGreater(int(answer["retry-after"]), 0)
            # What needs no registry still works.
            self.assertEqual(fetch(pair.platform.url, "/health").status, 200)
            self.assert_error(fetch(pair.platform.url, self.target(NOBODY)), 401, MISSING_TOKEN)
            self.assert_error(self.ask("/workspaces/x/chat/download"), 400, "invalid workspace ID")
            self.assertEqual(len(transfer.rest()), 64 << 20)
        finally:
            os.rename(away, pair.database)
        until(lambda: fetch(pair.platform.url, "/ready").status == 200, "it is there again")
        self.assertEqual(self.download(pair.id, pair.token).body, b"hello a\n")
        self.assert_error(self.download(NOBODY), 404, NOT_FOUND)
