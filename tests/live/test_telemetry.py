"""
What real roles tell their operators: metrics, JSON logs, the audit log and traces.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import struct
import tempfile
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.live.audit_file import AuditFile
from tests.live.metrics_page import METRICS, metric, page_of
from tests.live.processes import LiveCase, Pair, Role, until
from tests.live.rawhttp import Response, fetch

SIZE = 64 << 20
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
#: Bytes of the receive buffer of a client that leaves.
BUFFER = 64 * 1024


class TelemetryTests(LiveCase):
    """Both roles, with all of it."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(both=["--log-format=json", METRICS])

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.write("workspace/a.txt", b"hello a\n")
        with open(pair.at("workspace", "large.bin"), "wb") as file:
            file.truncate(SIZE)

    def download(self, path: str = "/workspace/a.txt", **more: str) -> Response:
        """:return: the response to the download of a file."""
        target = self.pair.download_target(b"path=" + path.encode())
        return fetch(self.pair.platform.url, target, {**self.pair.bearer, **more})

    def logged(self, role: Role, request_id: str) -> dict[str, Any]:
        """:return: the line of the log about a request."""
        match = role.logged(f'.*"request_id":"{request_id}".*')
        line: dict[str, Any] = json.loads(match[0])
        return line

    def audited(self, role: Role, request_id: str) -> dict[str, Any]:
        """:return: the line of the audit log about a request."""
        return self.pair.audit(role.name).of(request_id)

    def both(self, request_id: str) -> list[tuple[Role, dict[str, Any], dict[str, Any]]]:
        """:return: each role, with its lines about a request."""
        return [
            (role, self.logged(role, request_id), self.audited(role, request_id))
            for role in self.pair.roles
        ]

    def test_json(self) -> None:
        """Each line of both logs is an object, from the first one on."""
        self.download()
        for role in self.pair.roles:
            assert role.url, "it is ready"
            for line in role.log.splitlines():
                self.assertLessEqual({"time", "level", "event", "role"}, json.loads(line).keys())

    def test_download(self) -> None:
        """Both roles tell the same of a download, on the ordinary and on the fast path."""
        for _ in range(3):
            counted = [self.counted(role) for role in self.pair.roles]
            answer = self.download(traceparent=TRACEPARENT, tracestate="a=b")
            for role, log, audit in self.both(answer["x-request-id"]):
                for line in (log, audit):
                    self.assertEqual(line["trace_id"], TRACE)
                    self.assertEqual((line["operation"], line["status"]), ("download", 200))
                    self.assertEqual(line["outcome"], "complete")
                self.assertEqual((log["bytes_in"], log["bytes_out"]), (0, 8))
                self.assertEqual((audit["bytes"], audit["size"]), (8, 8))
                self.assertEqual(audit["ref"], "/workspace/a.txt")
                self.assertEqual(audit["version"], answer["etag"])
                by = {"platform": "token", "workspace": "platform"}[role.name]
                self.assertEqual(audit["actor"]["kind"], by)
            for role, before in zip(self.pair.roles, counted, strict=True):
                self.assertEqual(self.counted(role), (before[0] + 1, before[1] + 8))

    def counted(self, role: Role) -> tuple[float, float]:
        """:return: how many downloads the metrics have counted, and their bytes."""
        labels = {"operation": "download", "role": role.name}
        ended = metric(role, "chatfiles_transfers_total", outcome="complete", **labels)
        moved = metric(role, "chatfiles_transfer_bytes_total", direction="out", **labels)
        return ended, moved

    def test_no_trace(self) -> None:
        """A trace that is not valid is not passed on."""
        answer = self.download(traceparent=TRACEPARENT.upper(), tracestate="a=b")
        for _, log, audit in self.both(answer["x-request-id"]):
            self.assertNotIn("trace_id", {**log, **audit})

    def test_part(self) -> None:
        """A part has its range, and the size of the whole."""
        answer = self.download(range="bytes=2-3")
        for _, _, audit in self.both(answer["x-request-id"]):
            found = [audit[name] for name in ("range", "size", "bytes", "status")]
            self.assertEqual(found, ["bytes=2-3", 8, 2, 206])

    def test_refused(self) -> None:
        """A file that does not exist: each role tells how its own response ended."""
        answer = self.download("/workspace/missing")
        (_, log, audit), (_, inner, inner_audit) = self.both(answer["x-request-id"])
        self.assertEqual((log["status"], log["outcome"]), (404, "complete"))
        self.assertEqual((inner["code"], inner["outcome"]), ("file_not_found", "file_not_found"))
        for line in (audit, inner_audit):
            self.assertEqual((line["bytes"], line["ref"]), (len(answer.body), "/workspace/missing"))

    def test_token_of_another(self) -> None:
        """A token that is not valid for a workspace is no credential there."""
        other, token = self.pair.add(None)
        self.pair.hide(token)
        for workspace in (other, "no-uuid"):
            target = f"/workspaces/{workspace}/chat/download?path=/workspace/a.txt"
            answer = fetch(self.pair.platform.url, target, self.pair.bearer)
            self.assertEqual(answer.status, 401)
            log = self.logged(self.pair.platform, answer["x-request-id"])
            self.assertEqual((log["credential"], log.get("token_id")), (None, None))

    def test_upload(self) -> None:
        """An upload has what was received; the workspace knows what was stored."""
        body = (
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n'
            b"Content-Type: text/plain\r\n\r\nhello\r\n--b--\r\n"
        )
        fields = {**self.pair.bearer, "Content-Type": "multipart/form-data; boundary=b"}
        fields["traceparent"] = TRACEPARENT
        target = f"/workspaces/{self.pair.id}/chat/uploads"
        answer = fetch(self.pair.platform.url, target, fields, method="POST", body=body)
        for _, log, audit in self.both(answer["x-request-id"]):
            self.assertEqual((log["operation"], log["bytes_in"]), ("upload", len(body)))
            self.assertEqual(log["trace_id"], TRACE)
            self.assertEqual((audit["operation"], audit["bytes"]), ("upload", len(body)))
        (stored,) = answer.json["files"]
        self.assertEqual((audit["sha256"], audit["size"]), (stored["sha256"], 5))
        self.assertEqual(f"workspace:{audit['ref']}", stored["uri"])

    def test_listing(self) -> None:
        """A listing and an archive have their paths; a trace is passed on with both."""
        fields = {**self.pair.bearer, "traceparent": TRACEPARENT}
        for route, operation in (("entries", "list"), ("archive", "archive")):
            target = f"/workspaces/{self.pair.id}/fs/{route}?path=/workspace/a.txt"
            answer = fetch(self.pair.platform.url, target, fields)
            for _, log, audit in self.both(answer["x-request-id"]):
                self.assertEqual((log["operation"], log["trace_id"]), (operation, TRACE))
                self.assertEqual(
                    (audit["operation"], audit["ref"]), (operation, "/workspace/a.txt")
                )
                self.assertEqual(audit["bytes"], len(answer.body))
        self.assertEqual((audit["members"], audit["skipped"]), (1, 0))

    def test_client_leaves(self) -> None:
        """
        Of a download whose client leaves, the audit logs have what its machine has received: far
        less than what the roles have sent, which is in their sockets.
        """
        target = self.pair.download_target(b"path=/workspace/large.bin")
        role = self.pair.platform
        fields = {**self.pair.bearer, "X-Request-Id": f"leaver-{os.getpid()}"}
        connection = self.connect(role, receive_buffer=BUFFER)
        connection.ask("GET", target, fields)
        connection.answer().exactly(1_000_000)
        taken = struct.pack("ii", 1, 0)
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, taken)
        connection.close()
        line = self.audited(role, fields["X-Request-Id"])
        self.assertEqual(line["outcome"], "client_left")
        self.assertTrue(1_000_000 <= line["bytes"] <= 1_000_000 + 4 * BUFFER, line)
        inner = self.audited(self.pair.workspace, fields["X-Request-Id"])
        self.assertNotEqual(inner["outcome"], "complete")
        self.assertTrue(1_000_000 <= inner["bytes"] < SIZE, inner)

    def test_bytes_move(self) -> None:
        """The bytes of a transfer count while it runs."""
        before = self.counted(self.pair.platform)[1]
        connection = self.connect(self.pair.platform, receive_buffer=BUFFER)
        target = self.pair.download_target(b"path=/workspace/large.bin")
        connection.ask("GET", target, self.pair.bearer)
        connection.answer().exactly(1_000_000)
        for role in self.pair.roles:
            until(lambda: self.counted(role)[1] > before + 900_000, "bytes count")  # noqa: B023
            running = metric(role, "chatfiles_transfers_in_progress", operation="download")
            self.assertEqual(running, 1)

    def test_rights(self) -> None:
        """Changes of rights have a line, with the id of what they concern."""
        pair = self.pair
        made = pair.as_admin("POST", f"/workspaces/{pair.id}/tokens", b'{"scopes":["read"]}')
        pair.hide(made.json["token"])
        gone = pair.as_admin("DELETE", f"/workspaces/{pair.id}/tokens/{made.json['id']}")
        other = pair.as_admin("POST", "/workspaces", b"{}")
        pair.hide(other.json["auth_token"])
        removed = pair.as_admin("DELETE", f"/workspaces/{other.json['id']}")
        asked = b'{"operation":"file","path":"/workspace/a.txt"}'
        link = pair.as_admin("POST", f"/workspaces/{pair.id}/links", asked)
        pair.hide(*re.findall(r"[?&]s=([\w-]+)", link.json["url"]))
        for answer, operation, workspace, more in (
            (made, "token.create", pair.id, {"subject": made.json["id"]}),
            (gone, "token.revoke", pair.id, {"subject": made.json["id"]}),
            (other, "workspace.create", other.json["id"], {}),
            (removed, "workspace.remove", other.json["id"], {}),
            (link, "link.create", pair.id, {"ref": "/workspace/a.txt"}),
        ):
            line = self.audited(pair.platform, answer["x-request-id"])
            self.assertEqual((line["operation"], line["workspace"]), (operation, workspace))
            self.assertEqual(line["actor"]["kind"], "admin")
            self.assertLessEqual(more.items(), line.items())
        opened = fetch(pair.platform.url, link.json["url"].replace(pair.platform.url, ""))
        line = self.audited(pair.platform, opened["x-request-id"])
        self.assertEqual((line["actor"]["kind"], line["bytes"]), ("link", 8))
        self.assertEqual(self.logged(pair.platform, opened["x-request-id"])["credential"], "link")

    def test_metrics_listener(self) -> None:
        """Metrics have a listener of their own, with one page."""
        for role in self.pair.roles:
            self.assertTrue(role.url)
            url = role.logged(r"metrics of the \w+ at (http://[\d.:]+)/metrics")[1]
            self.assertEqual(fetch(url, "/").status, 404)
            self.assertEqual(fetch(url, "/health").status, 404)
            self.assertEqual(fetch(url, "/metrics", method="POST").status, 405)
            self.assertEqual(fetch(url, "/metrics", method="HEAD").status, 200)
            accept = {"Accept": "application/openmetrics-text; version=1.0.0, text/plain;q=0.5"}
            self.assertTrue(fetch(url, "/metrics", accept).body.endswith(b"# EOF\n"))
            self.assertEqual(fetch(role.url, "/metrics").status, 404)

    def test_no_series_of_clients(self) -> None:
        """Whatever clients send, the number of series stays; nothing of it is in the page."""
        for role in self.pair.roles:
            role_url = role.url
            counts = []
            for part in range(2):
                for number in range(25):
                    word = f"probe{part}x{number}"
                    fetch(role_url, f"/{word}?path=/workspace/{word}", method=f"X{word.upper()}")
                    fetch(role_url, f"/workspaces/{word}/fs/entries?path={word}")
                    fetch(role_url, "/internal/file/read", {"X-Request-Id": word})
                counts.append(page_of(role).count("\n"))
            self.assertEqual(*counts)
            self.assertNotIn("probe", page_of(role).lower())

    def test_secrets(self) -> None:
        """No secret is in the metrics."""
        for role in self.pair.roles:
            page = page_of(role)
            self.assertFalse([secret for secret in role.secrets if secret in page])


class OwnRolesTests(SynchronousTestCase):
    """Tests that need roles of their own."""

    def setUp(self) -> None:
        self.base = tempfile.mkdtemp(prefix="chatfiles-live-")
        self.addCleanup(shutil.rmtree, self.base, ignore_errors=True)
        self.audit = AuditFile(os.path.join(self.base, "audit.log"))

    def workspace(self, *options: str) -> Role:
        """:return: a workspace with one file and the secret ``secret``."""
        for name, text in (("a.txt", "hello"), (".platform_inbound_secret", "secret")):
            path = os.path.join(self.base, name)
            with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
                file.write(text)
        directories = (f"--root=/workspace={self.base}", f"--configs-dir={self.base}")
        role = Role("workspace", *directories, *options)
        self.addCleanup(role.kill)
        return role

    def read(self, role: Role) -> Response:
        """:return: the response to a download."""
        fields = {"Authorization": "Bearer secret"}
        return fetch(role.url, "/internal/file/read?path=/workspace/a.txt", fields)

    def test_workers(self) -> None:
        """The page sums all workers; one that was killed keeps its counts."""
        role = self.workspace("--workers=2", METRICS, self.audit.option, "--log-format=json")
        for _ in range(20):
            self.assertEqual(self.read(role).status, 200)
        self.assertEqual(metric(role, "chatfiles_transfers_total"), 20)
        count = metric(role, "chatfiles_first_byte_seconds_count")
        processor = metric(role, "process_cpu_seconds_total")
        for number in (1, 2):
            pid = int(role.logged(rf"worker {number} is process (\d+)")[1])
            mark = role.mark()
            os.kill(pid, signal.SIGKILL)
            role.logged(rf"worker {number} is process ", since=mark)
            self.assertEqual(metric(role, "chatfiles_transfers_total"), 20)
        self.assertEqual(metric(role, "chatfiles_first_byte_seconds_count"), count)
        self.assertGreaterEqual(metric(role, "process_cpu_seconds_total"), processor)
        until(lambda: self.read(role).status == 200, "a worker serves")
        self.assertEqual(metric(role, "chatfiles_transfers_total"), 21)
        until(lambda: len(self.audit.lines()) == 21, "each has a line in the audit log")
        for line in role.log.splitlines():
            json.loads(line)
        role.stop()

    def test_reopened(self) -> None:
        """After a rotation the audit log is a new file, for its owner only; no line is lost."""
        role = self.workspace(self.audit.option)
        first = self.read(role)["x-request-id"]
        self.assertEqual(self.audit.of(first)["bytes"], 5)
        os.rename(self.audit.path, self.audit.path + ".1")
        role.signal(signal.SIGHUP)
        until(lambda: os.path.exists(self.audit.path), "it is opened again")
        second = self.read(role)["x-request-id"]
        self.assertEqual(self.audit.of(second)["bytes"], 5)
        self.assertEqual(stat.S_IMODE(os.stat(self.audit.path).st_mode), 0o600)
        self.assertEqual(len(AuditFile(self.audit.path + ".1").lines()), 1)
        role.stop()

    def test_refused_logins(self) -> None:
        """Refused credentials are counted, and nothing of them is told."""
        role = self.workspace(self.audit.option)
        wrong, count = "wrong-" + os.urandom(16).hex(), 40
        for _ in range(count):
            fields = {"Authorization": f"Bearer {wrong}"}
            answer = fetch(role.url, "/internal/file/read?path=/workspace/a.txt", fields)
            self.assertEqual(answer.status, 401)
        until(lambda: sum(line["count"] for line in self.audit.lines()) == count, "all are told")
        for line in self.audit.lines():
            self.assertEqual((line["operation"], line["status"]), ("login.refused", 401))
        self.audit.check([wrong, wrong[:8]])
        role.stop()

    def test_required(self) -> None:
        """While the audit log cannot be written, operations are refused, and then no longer."""
        os.symlink("/dev/full", self.audit.path)
        role = self.workspace(self.audit.option, "--audit-required")
        self.assertEqual(self.read(role).status, 200)  # its line is the first that fails
        role.logged("cannot be written: No space left on device")
        answer = self.read(role)
        self.assertEqual((answer.status, answer.error), (503, "audit log unavailable"))
        self.assertEqual(answer.json["code"], "audit_unavailable")
        ready = fetch(role.url, "/ready")
        self.assertEqual((ready.status, ready.json["code"]), (503, "audit_unavailable"))
        self.assertEqual(fetch(role.url, "/health").status, 200)
        os.unlink(self.audit.path)
        until(lambda: fetch(role.url, "/ready").status == 200, "it is written again")
        self.assertEqual(self.read(role).status, 200)
        until(lambda: len(self.audit.lines()) == 2, "no line is lost")
        role.stop()

    def test_cannot_start(self) -> None:
        """A path that cannot be opened ends the role, with one line, before it listens."""
        for workers in (1, 2):
            path = "/no/such/directory/audit.log"
            role = self.workspace(f"--audit-log={path}", f"--workers={workers}")
            self.assertEqual(role.wait(), 1)
            self.assertEqual(role.log.count(f"cannot start: --audit-log={path}: No such file"), 1)
            for text in ("worker 1 is process", "Traceback"):
                self.assertNotIn(text, role.log)

    def test_system_log(self) -> None:
        """JSON needs an output of the role itself."""
        role = Role("workspace", "--log-format=json", twistd=["--syslog"])
        self.assertEqual(role.wait(), 1)
        self.assertIn("--log-format=json is not available with the system log", role.log)
