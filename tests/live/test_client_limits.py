"""
reference/limits-and-shutdown, "Limits per client": a platform with small limits.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from tests.live.processes import LONG_AGO, LiveCase, Pair, until
from tests.live.rawhttp import Answer, Connection, Response, fetch

#: Larger than what is in flight at once.
LARGE = 48 << 20
MOST_REFUSALS = 1


class ClientLimitTests(LiveCase):
    """One token may run two transfers, and one client present one wrong credential a second."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(
            platform=["--max-transfers-per-token=2", f"--max-refusals-per-client={MOST_REFUSALS}"]
        )

    @classmethod
    def prepare(cls, pair: Pair) -> None:
        pair.write("workspace/small.bin", b"small")
        path = pair.at("workspace", "large.bin")
        with open(path, "wb") as large:
            large.truncate(LARGE)
        os.utime(path, (LONG_AGO, LONG_AGO))

    def begin(self) -> tuple[Connection, Answer]:
        """:return: a transfer of the large file that is far from its end."""
        connection = Connection(self.pair.platform.url, receive_buffer=65536)
        self.addCleanup(connection.close)
        target = self.pair.download_target(b"path=/workspace/large.bin")
        connection.ask("GET", target, self.pair.bearer)
        return connection, connection.answer()

    def small(self) -> Response:
        target = self.pair.download_target(b"path=/workspace/small.bin")
        return fetch(self.pair.platform.url, target, self.pair.bearer)

    def test_transfers(self) -> None:
        """The third is refused, an upload before its body; when one has ended, another may run."""
        self.assertEqual(self.small().status, 200)
        first, _ = self.begin()
        self.begin()
        answer = self.small()
        self.assert_error(answer, 429, "too many transfers", code="too_many_transfers")
        self.assertEqual(answer["retry-after"], "1")
        self.assertIn("--max-transfers-per-token", answer.json["detail"])
        upload = self.connect(self.pair.platform)
        fields = {
            **self.pair.bearer,
            "Content-Type": "multipart/form-data; boundary=b",
            "Content-Length": "1000000",
            "Expect": "100-continue",
        }
        upload.ask("POST", f"/workspaces/{self.pair.id}/chat/uploads", fields)
        self.assertEqual(upload.socket.recv(12), b"HTTP/1.1 429")
        target = self.pair.download_target(b"path=/workspace/small.bin")
        admin = fetch(
            self.pair.platform.url, target, {"Authorization": f"Bearer {self.pair.admin}"}
        )
        self.assertEqual(admin.body, b"small")
        first.close()
        until(lambda: self.small().status == 200, "another transfer may run")

    def test_refusals(self) -> None:
        """
        Of wrong credentials that arrive at the same time, no more are looked up than may be wrong;
        one that is known is served meanwhile.
        """
        self.assertEqual(self.small().status, 200)
        url = self.pair.platform.url

        def guess(number: int) -> int:
            fields = {"Authorization": f"Bearer guess-{number}"}
            return fetch(url, f"/workspaces/{self.pair.id}", fields).status

        def refused() -> list[int]:
            with ThreadPoolExecutor(16) as threads:
                return list(threads.map(guess, range(64)))

        since = self.pair.platform.mark()
        statuses = refused()
        self.assertEqual(self.small().status, 200)
        self.assertEqual(set(statuses), {401, 429})
        self.assertEqual(self.pair.platform.log_since(since).count("Traceback"), 0)
        answer = fetch(url, "/whoami", {"Authorization": "Bearer guess"})
        if answer.status == 429:  # else a second has passed
            text = "too many refused credentials"
            self.assert_error(answer, 429, text, code="too_many_refusals")
        until(lambda: guess(0) == 401, "a second passes")
