"""
reference/uploads, "Refusals": uploads that are refused, by a role or because a workspace fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live.pair import VIA
from tests.live.processes import SLACK, Pair, until
from tests.live.rawhttp import Connection, fetch
from tests.live.upload_client import (
    DELIMITER,
    END,
    KIB,
    MIB,
    UploadCase,
    Way,
    at_once,
    consumed,
    directory_of,
    file,
    form,
    in_chunks,
    part,
    report,
    ways,
)
from tests.support.patience import PATIENCE

#: The id of a user without rights.
NOBODY = 65534
#: What a refused client declares.
FLOOD = 200 * MIB
NO_FILES = "expected at least one 'files' field"
UPLOADS = "/workspace/.molecule/chat-uploads"
MALFORMED = "failed to parse multipart form"


class RefusalCase(UploadCase):
    """A refused upload stores nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.before = self.names()
        self.addCleanup(self.assert_nothing_is_left, self.before)

    def remove_all(self) -> None:
        """Remove what was stored meanwhile."""
        for name in set(self.names()) - set(self.before):
            os.unlink(os.path.join(self.directory, name))


class RefusalTests(RefusalCase):
    """Refusals by roles with their default options."""

    # -- what is refused for its headers alone

    def refused_heads(self) -> Iterator[tuple[Way, dict[str, str], int | None, int, str]]:
        """:return: headers and declared length, and the status and message of the refusal."""
        direct, through = (ways(self.pair)[number] for number in (0, 1))
        form_limit = "request body exceeds total limit (100 MB)"
        for way in (direct, through):
            for wrong in ("text/plain", "multipart/mixed; boundary=b", "multipart/form-data2"):
                yield way, {"Content-Type": wrong}, FLOOD, 415, "expected multipart/form-data"
            coded = "an upload must not have a Content-Encoding"
            yield way, {"Content-Encoding": "gzip"}, FLOOD, 415, coded
            yield way, {"Content-Type": "multipart/form-data"}, MIB, 400, MALFORMED
            yield way, {}, 104857601, 413, form_limit
            yield way, {}, 10**17, 413, form_limit
        for secret in ("Bearer wrong", "Basic eDp5", ""):
            yield direct, {"Authorization": secret}, FLOOD, 401, "unauthorized"
        invalid = "invalid workspace auth token"
        yield through, {"Authorization": "Bearer wrong"}, FLOOD, 401, invalid
        yield through, {"Authorization": ""}, FLOOD, 401, "missing workspace auth token"
        other = through._replace(target=through.target.replace(self.pair.id, "not-a-uuid"))
        yield other, {"Authorization": "Bearer wrong"}, FLOOD, 401, invalid
        admin = {"Authorization": f"Bearer {self.pair.admin}"}
        yield other, admin, FLOOD, 400, "invalid workspace ID"
        missing = "00000000-0000-0000-0000-000000000000"
        other = through._replace(target=through.target.replace(self.pair.id, missing))
        yield other, admin, FLOOD, 413, form_limit
        yield other, admin, MIB, 404, "workspace not found"

    def test_refused(self) -> None:
        """
        A refusal for the headers alone arrives before any of the body, also if the client expects a
        100, and the connection is closed cleanly.
        """
        for way, fields, length, status, text in self.refused_heads():
            for expects in ({}, {"Expect": "100-continue"}):
                with way.connect() as connection:
                    way.begin(connection, length, {**fields, **expects})
                    first = connection.socket.recv(12)
                    self.assertEqual(first, b"HTTP/1.1 %d" % status, (way.name, fields))
                    connection._buffer += first
                    answer = connection.response("POST")
                    self.assert_error(answer, status, text, (way.name, fields))
                    self.assertEqual(answer["connection"], "close")
                    self.assertEqual(connection.until_closed(), b"")

    def test_methods(self) -> None:
        """Another method is 405, and ``Allow`` names the right one."""
        for way in self.ways():
            for method in ("GET", "PUT", "DELETE"):
                answer = fetch(way.url, way.target, way.fields, method=method)
                self.assert_error(answer, 405, "method not allowed")
                self.assertEqual(answer["allow"], "POST")

    def test_scope(self) -> None:
        """A token that may only read stores no files."""
        made = self.pair.as_admin(
            "POST", f"/workspaces/{self.pair.id}/tokens", json.dumps({"scopes": ["read"]}).encode()
        )
        self.pair.hide(made.json["token"])
        through = ways(self.pair)[1]
        answer = through.send(form(file(b"x")), {"Authorization": f"Bearer {made.json['token']}"})
        self.assert_error(answer, 403, "token does not allow this")

    def test_small_and_kept(self) -> None:
        """After a small body that is refused the connection stays usable."""
        body = form(file(b"x" * 10_000))
        for way in self.ways():
            with way.connect() as connection:
                for _ in range(3):
                    way.begin(connection, len(body), {"Authorization": "Bearer wrong"})
                    connection.send(body)
                    self.assertEqual(connection.response("POST").status, 401)
                self.assertEqual(connection.exchange("GET", "/health").json["status"], "ok")

    def flood(self) -> Iterator[tuple[Way, int | None, Callable[[bytes], bytes]]]:
        for way in self.ways():
            yield way, FLOOD, bytes
            yield way, None, in_chunks_of

    def test_flood_is_not_taken(self) -> None:
        """Little of a body of 200 MiB is read from an unauthenticated client."""
        worst = 0
        for way, length, framed in self.flood():
            with way.connect() as connection:
                way.begin(connection, length, {"Authorization": "Bearer wrong"})
                piece = framed(b"x" * 64 * KIB)
                sent = flood(connection, piece)
                self.assertEqual(connection.response("POST").status, 401)
                worst = max(worst, consumed(connection, sent))
        report(f"taken from an unauthenticated sender: {worst} octets")
        self.assertLess(worst, 256 * KIB)
        self.assertGreater(worst, 0)

    def test_flood_that_does_not_look(self) -> None:
        """
        A client that reads only when it cannot send any more receives the response, not a reset.
        """
        pushed: list[int] = []

        def send(way: Way, length: int | None, framed: Callable[[bytes], bytes]) -> None:
            with way.connect() as connection:
                way.begin(connection, length, {"Authorization": "Bearer wrong"})
                piece, sent = framed(b"x" * 64 * KIB), 0
                with contextlib.suppress(ConnectionError):
                    while sent < FLOOD:
                        connection.send(piece)
                        sent += len(piece)
                self.assertEqual(connection.response("POST").status, 401)
                pushed.append(sent)

        began = time.monotonic()
        at_once([partial(send, *how) for how in self.flood()])
        seconds = time.monotonic() - began
        report(f"pushed by a sender that does not look: {max(pushed)} octets in {seconds:.1f} s")
        self.assertLess(max(pushed), FLOOD)

    def test_stops_late(self) -> None:
        """A client that stops after 64 KiB more receives the response, not a reset."""
        for way, length, framed in self.flood():
            with way.connect() as connection:
                way.begin(connection, length, {"Authorization": "Bearer wrong"})
                connection.send(framed(b"x" * 63 * KIB))
                time.sleep(0.05)
                self.assertEqual(connection.response("POST").status, 401)
                self.assertEqual(connection.until_closed(), b"")

    def test_curl(self) -> None:
        """curl, the client that most people use, reports no reset."""
        curl = shutil.which("curl")
        if curl is None:
            raise SkipTest("there is no curl")
        big = self.pair.at("big")
        with open(big, "wb") as sparse:
            sparse.truncate(FLOOD)
        for way in self.ways():
            for more in (["-H", "Expect:"], []):
                command = [curl, "-sS", "-m", str(PATIENCE), *more, "-H", "Authorization: Bearer x"]
                for _ in range(10):
                    told = subprocess.run(
                        [*command, "-F", f"files=@{big}", way.url + way.target],
                        capture_output=True,
                        check=False,
                    )
                    self.assertEqual((told.returncode, told.stderr), (0, b""), way.name)
                    self.assertIn(
                        json.loads(told.stdout)["code"], ("unauthorized", "invalid_token")
                    )

    # -- what precedes and follows a form costs nothing

    def test_preamble(self) -> None:
        """10 MiB before and after the form are ignored, and do not delay other requests."""
        for filler in (b"x", b"\r\n", b"\r\n" + DELIMITER[:-1]):
            padding = filler * (10 * MIB // len(filler))
            body = padding + form(file(b"x")) + padding
            for way in self.ways():
                slowest = [0.0]
                with polling(way, slowest):
                    self.assert_stored(way.send(body), [b"x"])
                self.remove_all()
                self.assertLess(slowest[0], 0.5 + SLACK)

    # -- hostile or broken directories

    def test_symlink(self) -> None:
        """
        An upload does not follow an agent's symlink; it is refused, and nothing is written outside.
        """
        outside = self.pair.at("home", "outside")
        os.makedirs(os.path.join(outside, "chat-uploads"), exist_ok=True)
        molecule = self.pair.at("workspace", ".molecule")
        os.makedirs(molecule, exist_ok=True)
        os.rename(molecule, molecule + ".aside")
        try:
            for link in (molecule, self.directory):
                os.makedirs(os.path.dirname(link), exist_ok=True)
                os.symlink(outside, link)
                for way in self.ways():
                    for size in (1, 5 * MIB):
                        answer = way.send(form(file(b"x" * size)))
                        told = self.assert_error(
                            answer, 500, "failed to write file", code="write_failed"
                        )
                        line = rf"{told['request_id']} write_failed: .*: {UPLOADS}$"
                        self.pair.workspace.logged(line)
                os.unlink(link)
        finally:
            shutil.rmtree(molecule)
            os.rename(molecule + ".aside", molecule)
        self.assertEqual(os.listdir(outside), ["chat-uploads"])
        self.assertEqual(os.listdir(os.path.join(outside, "chat-uploads")), [])

    def test_root_is_gone(self) -> None:
        """
        An upload to a workspace whose root directory is missing is 500; the directory is not
        created.
        """
        root = self.pair.at("workspace")
        os.rename(root, root + ".gone")
        try:
            for way in self.ways():
                answer = way.send(form(file(b"x")))
                told = self.assert_error(answer, 500, "failed to write file", code="write_failed")
                line = f"{told['request_id']} write_failed: No such file or directory: {root}"
                self.pair.workspace.logged(line)
            self.assertFalse(os.path.exists(root))
        finally:
            os.rename(root + ".gone", root)


class UnwritableTests(RefusalCase):
    """Uploads to a workspace that may not write to its root."""

    @classmethod
    def make_pair(cls) -> Pair:
        """:return: roles of which the workspace is not the superuser."""
        return Pair(uid=None if os.geteuid() else NOBODY)

    def test_told(self) -> None:
        """The client is told, over both hops, that this is not temporary, and whose fault it is."""
        os.chmod(self.pair.at("workspace"), 0o555)
        self.addCleanup(os.chmod, self.pair.at("workspace"), 0o755)
        for way in self.ways():
            told = self.assert_error(
                way.send(form(file(b"x"))), 500, "failed to write file", code="write_failed"
            )
            self.assertIn("the workspace has no permission to write", told["detail"])
            self.assertIn("until its operator changes it", told["detail"])
            self.assertNotIn("retry_after_seconds", told)


class BodyTests(RefusalCase):
    """Uploads that are refused while their body arrives."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(both=["--max-file-bytes=1048576", "--max-request-bytes=3145728"])

    def refused(self, body: bytes, status: int, text: str, code: str) -> None:
        """The body is refused by both roles, whether its length is declared or not."""
        for way in self.ways():
            for wire, length in ((body, len(body)), (in_chunks(body, 10_000), None)):
                began = time.monotonic()
                answer = way.send(wire, length=length)
                self.assert_error(answer, status, text, way.name, code)
                self.assertLess(time.monotonic() - began, 2.5 + SLACK)

    def test_limits(self) -> None:
        """``/uploads/limits`` shows the limits that the operator has set."""
        limits = fetch(self.pair.platform.url, "/uploads/limits").json
        self.assertEqual(limits["per_file_bytes"], MIB)
        self.assertEqual(limits["per_request_bytes"], 3 * MIB)

    def test_as_large_as_may_be(self) -> None:
        """A file, or a request, of exactly the largest size is stored."""
        content = b"x" * MIB
        for way in self.ways():
            for files in (1, 2):
                body = form(*[file(content)] * files)
                for wire, length in ((body, len(body)), (in_chunks(body), None)):
                    self.assert_stored(way.send(wire, length=length), [content] * files)
            head = file(b"", "a")
            padded = b"p" * (3 * MIB - len(head) - len(END) - 1) + form(file(b"y", "a"))
            self.assertEqual(len(padded), 3 * MIB)
            self.assert_stored(way.send(padded), [b"y"])
        self.remove_all()

    def test_file_too_large(self) -> None:
        """A file over the limit is 413, and its message names the file."""
        body = form(file(b"small"), file(b"x" * (MIB + 1), "my big.bin"))
        text = "my_big.bin exceeds per-file limit (1 MB)"
        self.refused(body, 413, text, "file_too_large")

    def test_request_too_large(self) -> None:
        """A request over the limit is 413."""
        text = "request body exceeds total limit (3 MB)"
        for body in (
            form(*[file(b"x" * MIB)] * 3),
            b"p" * (3 * MIB) + form(file(b"x")),
            form(file(b"x")) + b"e" * (3 * MIB),
        ):
            self.refused(body, 413, text, "request_too_large")

    def test_by_one_byte(self) -> None:
        """A chunked body of the largest size is stored; with one more byte it is 413."""
        body = form(file(b"x"))
        exact = body + b"e" * (3 * MIB - len(body))
        for way in self.ways():
            self.assertEqual(way.send(in_chunks(exact), length=None).status, 200)
            self.remove_all()
            self.assertEqual(way.send(in_chunks(exact + b"e"), length=None).status, 413)

    def test_too_many_files(self) -> None:
        """More files than allowed are 400."""
        body = form(*[file(b"x")] * 65)
        self.refused(body, 400, "too many files (limit 64)", "too_many_files")

    def test_no_files(self) -> None:
        """A form without files is 400."""
        for body in (
            DELIMITER + b"--\r\n",
            form(part('name="files"') + b"text"),
            form(part('name="file"; filename="x"') + b"other"),
        ):
            self.refused(body, 400, NO_FILES, "no_files")

    def test_malformed(self) -> None:
        """A malformed form is 400."""
        whole = form(file(b"x" * 100_000))
        for body in (
            b"",
            b"not a form",
            whole[:50_000],
            whole[:-3],
            whole.replace(b"\r\n", b"\n"),
            form(b"\r\n" + DELIMITER + b"\r\nContent-Type: x\r\n\r\n"),
            # a delimiter line among headers, and behind a bare LF
            part('name="files"; filename="x"')[:-4] + whole,
            b"preamble\n" + whole[2:],
        ):
            self.refused(body, 400, MALFORMED, "invalid_multipart")

    def test_hostile(self) -> None:
        """A form that is expensive to parse is refused in time."""
        big_header = part('name="files"; filename="' + "x" * MIB + '"')
        hostile = [
            form(big_header),
            form(part('name="files"; filename="x"', *["X: y"] * 1000)),
            b"\r\n".join(
                [DELIMITER + b'\r\nContent-Disposition: form-data; name="a"\r\n\r\n'] * 30_000
            ),
            form(*[part('name=""')] * 20_000),
        ]
        for body in hostile:
            self.refused(body[: 3 * MIB], 400, MALFORMED, "invalid_multipart")

    def test_malformed_chunks(self) -> None:
        """A body with malformed chunks is 400, and the connection is closed."""
        for way in self.ways():
            for bad in (b"zz\r\n", b"-1\r\n", b"5\r\nabcdefgh\r\n", b"\r\n\r\n"):
                with way.connect() as connection:
                    way.begin(connection, None)
                    connection.send(in_chunks(file(b"x" * 1000), last=False) + bad)
                    answer = connection.response("POST")
                    self.assertEqual(answer.status, 400, (way.name, bad))
                    self.assertEqual(connection.until_closed(), b"")


class FullTests(SynchronousTestCase):
    """A file system that is full."""

    def test_full(self) -> None:
        """
        On a full disk an upload is 507, and no part of it remains, so that a smaller one succeeds.
        """
        if os.getuid() != 0 or not shutil.which("mount"):
            raise SkipTest("only root can mount")
        if VIA == "nat":
            raise SkipTest("what is mounted here is not mounted in a namespace")
        pair = Pair()
        self.addCleanup(pair.discard)
        mounted = pair.at("workspace")
        tmpfs = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mounted]
        if subprocess.run(tmpfs, capture_output=True, check=False).returncode:
            raise SkipTest("tmpfs cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", mounted], check=True)
        directory = directory_of(pair)
        for way in ways(pair):
            for body in (
                form(file(b"x" * 3 * MIB)),
                form(*[file(b"x" * 700_000)] * 4),
                in_chunks(form(file(b"x" * 3 * MIB))),
            ):
                length = None if b"0\r\n\r\n" in body[-10:] else len(body)
                answer = way.send(body, length=length)
                self.assertEqual((answer.status, answer.error), (507, "no space left"), way.name)
                self.assertEqual(answer.json["code"], "no_space")
                until(lambda: not os.listdir(directory), "nothing is left")
            answer = way.send(form(file(b"x" * 1_500_000)))
            self.assertEqual(answer.status, 200)
            for name in os.listdir(directory):
                os.unlink(os.path.join(directory, name))
        pair.check_logs()


class polling:  # noqa: N801
    """Sends other requests to a role all the while, and notes the longest time that one took."""

    def __init__(self, way: Way, slowest: list[float]) -> None:
        self._way, self._slowest, self._over = way, slowest, threading.Event()
        self._thread = threading.Thread(target=self._poll)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _poll(self) -> None:
        with self._way.connect() as connection:
            while not self._over.is_set():
                began = time.monotonic()
                connection.exchange("GET", "/health")
                self._slowest[0] = max(self._slowest[0], time.monotonic() - began)


def in_chunks_of(data: bytes) -> bytes:
    """:return: chunks of a body that is not complete yet."""
    return in_chunks(data, last=False)


def flood(connection: Connection, piece: bytes) -> int:
    """
    Send as fast as possible, whatever is received, until nothing more is accepted for a while.

    :return: bytes that our kernel accepted.
    """
    sock, sent, last = connection.socket, 0, time.monotonic()
    sock.setblocking(False)
    try:
        while time.monotonic() - last < 0.3 and sent < FLOOD:
            try:
                sent += sock.send(piece)
                last = time.monotonic()
            except BlockingIOError:
                time.sleep(0.005)
            except ConnectionError:
                break
    finally:
        sock.settimeout(PATIENCE)
    return sent
