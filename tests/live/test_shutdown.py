"""
reference/limits-and-shutdown, "Shutdown": a role that is stopped finishes what runs, or aborts it
visibly, and exits with 0.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.live.processes import SLACK, Pair, Role, until
from tests.live.rawhttp import Answer, Connection, Incomplete, fetch
from tests.live.role import listen_on
from tests.support.ports import free_port

SIZE = 96 << 20


class ShutdownTests(SynchronousTestCase):
    """Shutdown of a role. Every test has processes of its own, for it ends them."""

    def start(self, *both: str) -> Pair:
        """:return: a pair with a large file."""
        # A test starts the platform again at the same port.
        pair = Pair(both=both, platform=[listen_on(free_port())])
        self.addCleanup(pair.discard)
        with open(pair.at("workspace", "large.bin"), "wb") as file:
            file.truncate(SIZE)
        pair.write("workspace/small.txt", b"small")
        return pair

    def begin(self, pair: Pair, hop: int) -> tuple[Connection, Answer]:
        """:return: a transfer of the large file that is far from its end."""
        _, role, target, fields = pair.hops("path=/workspace/large.bin")[hop]
        connection = Connection(role.url, receive_buffer=65536)
        self.addCleanup(connection.close)
        connection.ask("GET", target, fields)
        answer = connection.answer()
        answer.exactly(100_000)
        return connection, answer

    def refuses(self, role: Role) -> None:
        """No new request is accepted: the connection is refused, or the response is 503."""
        try:
            answer = fetch(role.url, "/ready")
        except (ConnectionError, Incomplete):
            return
        self.assertEqual(answer.status, 503)

    def test_drains(self) -> None:
        """
        Each role finishes the running transfer. Idle connections are closed at once; on the one in
        use ``/ready`` is 503, if there is still a response.
        """
        pair = self.start()
        for hop, role in ((1, pair.platform), (0, pair.workspace)):
            connection, answer = self.begin(pair, hop)
            connection.ask("GET", "/ready")  # waits behind the transfer
            idle = Connection(role.url)
            self.addCleanup(idle.close)
            self.assertEqual(idle.exchange("GET", "/ready").status, 200)
            role.signal(signal.SIGTERM)
            self.assertEqual(idle.until_closed(), b"")
            self.refuses(role)
            self.assertEqual(100_000 + len(answer.rest()), SIZE)
            with contextlib.suppress(Incomplete):
                ready = connection.response()
                self.assertEqual((ready.status, ready.json["code"]), (503, "draining"))
            role.ended_well()
            self.assertRegex(role.log, rf" 200 {SIZE} bytes .* complete")

    def test_both_drain(self) -> None:
        """If both are stopped at the same time, a transfer through both is finished."""
        pair = self.start()
        _, answer = self.begin(pair, 1)
        for role in pair.roles:
            role.signal(signal.SIGTERM)
            role.logged("Received SIGTERM")
        self.assertEqual(100_000 + len(answer.rest()), SIZE)
        for role in pair.roles:
            role.ended_well()

    def test_late(self) -> None:
        """
        A transfer that is not finished in time is visibly aborted; the role exits with 0 all the
        same.
        """
        pair = self.start("--drain-timeout=0.5")
        for hop, role in ((1, pair.platform), (0, pair.workspace)):
            _, answer = self.begin(pair, hop)
            began = time.monotonic()
            role.signal(signal.SIGTERM)
            role.ended_well()
            self.assertGreater(time.monotonic() - began, 0.4, "it did not wait")
            self.assertLess(time.monotonic() - began, 0.5 + SLACK)
            self.assertRaises(Incomplete, answer.rest)
            self.assertRegex(role.log, r" 200 \d+ bytes .* shutdown")

    def test_waits_no_longer_than_it_may(self) -> None:
        """
        A platform exits in time though its workspace hangs; the request that waits is aborted.
        """
        pair = self.start("--drain-timeout=1")
        role = pair.platform
        waiting = Connection(role.url)
        self.addCleanup(waiting.close)
        pair.get("path=/workspace/small.txt")  # the connection is kept for the next request
        pair.workspace.signal(signal.SIGSTOP)
        self.addCleanup(pair.workspace.signal, signal.SIGCONT)
        waiting.ask("GET", pair.download_target(b"path=/workspace/small.txt"), pair.bearer)
        until(pair.workspace.has_unread, "the workspace is asked")
        began = time.monotonic()
        role.signal(signal.SIGTERM)
        role.ended_well()
        self.assertLess(time.monotonic() - began, 4.5 + SLACK)
        self.assertEqual(waiting.until_closed(), b"")

    def test_half_requests(self) -> None:
        """
        Incomplete requests without credentials are refused soon, and a running transfer is
        finished.
        """
        pair = self.start("--drain-timeout=600")
        role = pair.platform
        _, answer = self.begin(pair, 1)
        head, body = Connection(role.url), Connection(role.url)
        for connection in (head, body):
            self.addCleanup(connection.close)
            self.assertEqual(connection.exchange("GET", "/health").status, 200)
        head.send(b"GET /health HTTP/1.1\r\nHost")
        fields = {"Authorization": f"Bearer {pair.admin}", "Content-Length": "50"}
        body.ask("POST", "/workspaces", fields)
        body.send(b"{")
        self.assertEqual(fetch(role.url, "/health").status, 200)  # both have been read
        role.signal(signal.SIGTERM)
        for connection in (head, body):
            refused = connection.response()
            self.assertEqual((refused.status, refused.json["code"]), (503, "draining"))
            self.assertEqual(connection.until_closed(), b"")
        self.assertEqual(100_000 + len(answer.rest()), SIZE)
        role.ended_well()

    def test_told_twice(self) -> None:
        """Further SIGTERMs, such as ``timeout`` sends, change nothing and leave no traceback."""
        pair = self.start()
        for hop, role, signum in (
            (1, pair.platform, signal.SIGTERM),
            (0, pair.workspace, signal.SIGINT),
        ):
            _, answer = self.begin(pair, hop)
            role.signal(signum)
            role.logged("Received SIG")
            role.signal(signal.SIGTERM)
            self.assertEqual(100_000 + len(answer.rest()), SIZE)
            role.ended_well()
            self.assertEqual(role.log.count("Received SIG"), 1)
            self.assertNotRegex(role.log, "Traceback|ReactorNotRunning|aborts what is left")

    def test_impatient(self) -> None:
        """A second Ctrl-C visibly aborts what runs, and the role exits with 0 at once."""
        pair = self.start("--drain-timeout=600")
        for hop, role in ((1, pair.platform), (0, pair.workspace)):
            _, answer = self.begin(pair, hop)
            role.signal(signal.SIGINT)
            for _ in range(100):
                if "aborts what is left" in role.log:
                    break
                role.signal(signal.SIGINT)  # as users do
                time.sleep(0.1)
            role.ended_well()
            self.assertRaises(Incomplete, answer.rest)
            self.assertRegex(role.log, r" 200 \d+ bytes .* shutdown")
            self.assertNotIn("Traceback", role.log)

    def test_deaths(self) -> None:
        """
        If a platform is killed, its transfer at the workspace ends; a new process at the same
        address serves again. If a workspace is killed, the client detects that its response is
        incomplete. Without transfers a role exits at once, even with open connections; on SIGINT as
        well.
        """
        pair = self.start()
        _, answer = self.begin(pair, 1)
        port = pair.platform.port
        pair.platform.kill()
        self.assertRaises(Incomplete, answer.rest)
        pair.workspace.logged(r" 200 \d+ bytes .* client_left", seconds=1.5 + SLACK)

        again = Role(
            "platform",
            f"--state-dir={pair.state}",
            "--upstream-allow=127.0.0.0/8",
            listen_on(port),
            *pair.outside,
        )
        self.addCleanup(again.kill)
        pair.platform = again
        self.assertEqual(again.port, port)
        self.assertEqual(pair.get("path=/workspace/small.txt")["through"].body, b"small")
        _, answer = self.begin(pair, 1)
        pair.workspace.kill()
        self.assertRaises(Incomplete, answer.rest)
        again.logged(r" 200 \d+ bytes .* upstream_cut")

        for _ in range(3):
            kept, silent = Connection(again.url), Connection(again.url)
            self.addCleanup(kept.close)
            self.addCleanup(silent.close)
            self.assertEqual(kept.exchange("GET", "/health").status, 200)
        began = time.monotonic()
        again.signal(signal.SIGINT)
        again.ended_well()
        self.assertLess(time.monotonic() - began, 4.5 + SLACK)


class SeveralListenersTests(SynchronousTestCase):
    """A role may listen at more than one address."""

    def test_several(self) -> None:
        """Each address gets its own line in the log, and all serve the same."""
        base = tempfile.mkdtemp(prefix="chatfiles-live-")
        self.addCleanup(shutil.rmtree, base)
        path = os.path.join(base, "socket")
        role = Role(
            "workspace",
            "--listen=tcp:0:interface=127.0.0.1",
            "--listen=tcp:0:interface=127.0.0.2",
            f"--listen=unix:{path}",
            f"--root=/workspace={base}",
            f"--configs-dir={base}",
        )
        self.addCleanup(role.kill)
        for address in (r"http://127\.0\.0\.1:(\d+)", r"http://127\.0\.0\.2:(\d+)"):
            url = role.logged(f"chatfiles workspace ready on ({address})$")[1]
            self.assertEqual(fetch(url, "/health").status, 200)
        role.logged(f"chatfiles workspace ready on unix:{path}$")
        self.assertTrue(os.path.exists(path))
        role.stop()
        self.assertFalse(os.path.exists(path))
