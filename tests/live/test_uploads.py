"""reference/uploads, "Back-pressure": uploads that succeed, and what they cost."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from unittest import mock

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.live import test_resumable as resumable
from tests.live.pair import VIA
from tests.live.processes import IMPATIENT, SOAK, Pair, canary, until
from tests.live.rawhttp import Connection, Incomplete, answers_in, fetch
from tests.live.upload_client import (
    BOUNDARY,
    DELIMITER,
    END,
    FORM,
    KIB,
    MIB,
    UploadCase,
    Way,
    at_once,
    directory_of,
    file,
    form,
    in_chunks,
    in_the_making,
    most_memory,
    pace,
    part,
    push,
    report,
    ways,
)
from tests.support.patience import PATIENCE

#: A URI, by reference/uploads, "Response".
URI = re.compile(
    r"workspace:/workspace/\.molecule/chat-uploads/([0-9a-f]{32}-[A-Za-z0-9._-]{1,100})"
)


class StoreTests(UploadCase):
    """What is stored, and the response."""

    def test_answer(self) -> None:
        """The response has the form that clients in the field understand."""
        content = b"hello, world\n"
        for way in self.ways():
            answer = way.send(form(file(content, "my notes.txt", "Content-Type: text/plain")))
            self.assertEqual((answer.status, answer["content-type"]), (200, "application/json"))
            self.assertEqual(answer["content-length"], str(len(answer.body)))
            (entry,) = json.loads(answer.body)["files"]
            match = URI.fullmatch(entry["uri"])
            assert match is not None, entry
            self.assertEqual(match[1][32:], "-my_notes.txt")
            self.assertEqual(
                answer.body.strip(),
                b'{"files":[{"uri":"%b","name":"my_notes.txt","mimeType":"text/plain",'
                b'"size":13,"originalName":"my notes.txt","sha256":"%b"}]}'
                % (entry["uri"].encode(), hashlib.sha256(content).hexdigest().encode()),
            )
            self.assertEqual(self.content(match[1]), content)
            path = os.path.join(self.directory, match[1])
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
            self.assertEqual(os.stat(path).st_nlink, 1)
        self.assertEqual(self.in_the_making(), {})

    def test_downloaded_again(self) -> None:
        """The URI in the response leads to the content that was stored."""
        content = random.Random(1).randbytes(300 * KIB)
        for way in self.ways():
            (entry,) = way.send(form(file(content))).json["files"]
            for answer in self.pair.file(entry["uri"].removeprefix("workspace:")).values():
                self.assertEqual(answer.body, content)

    def test_several_files(self) -> None:
        """The files of a request are stored in their order, and other fields are ignored."""
        contents = [b"one", b"", b"\r\n" + DELIMITER[:-1], b"three" * 50_000]
        parts = [file(content, f"{n}.txt") for n, content in enumerate(contents)]
        parts.insert(1, part('name="note"') + b"a text field")
        parts.insert(3, part('name="other"; filename="x"') + b"a file of another field")
        for way in self.ways():
            before = self.names()
            answer = way.send(form(*parts))
            stored = self.assert_stored(answer, contents)
            self.assertEqual(
                [e["name"] for e in answer.json["files"]], ["0.txt", "1.txt", "2.txt", "3.txt"]
            )
            self.assertEqual(self.names(), sorted([*before, *stored]))

    def test_64_files(self) -> None:
        """The limit of files per request is as large as documented."""
        contents = [b"%d" % n for n in range(64)]
        for way in self.ways():
            self.assert_stored(way.send(form(*map(file, contents))), contents)

    def test_names(self) -> None:
        """A file name of any kind is accepted by both roles, made safe, and leads nowhere else."""
        beside = sorted({*os.listdir(self.pair.at("workspace")), ".molecule"})
        for given, name in (
            ("日本.txt", "__.txt"),
            ("a%22b%0D%0A.txt", "a_22b_0D_0A.txt"),
            ("../../../../etc/passwd", "passwd"),
            ("", "file"),
            ("..", "file"),
            ("x" * 300 + ".pdf", "x" * 96 + ".pdf"),
            ("a;b='c'", "a_b__c_"),
        ):
            for way in self.ways():
                answer = way.send(form(file(b"x", given)))
                self.assert_stored(answer, [b"x"])
                self.assertEqual(answer.json["files"][0]["name"], name, given)
        self.assertEqual(sorted(os.listdir(self.pair.at("workspace"))), beside)

    def test_segments(self) -> None:
        """No bytes are lost where segments or chunks end."""
        content = b"".join(b"\r\n" + DELIMITER[:n] for n in range(1, len(DELIMITER))) + b"\r"
        body = b"preamble" + form(file(content), file(b"")) + b"epilogue"
        for way in self.ways():
            for wire in (body, in_chunks(body), in_chunks(body, 1), in_chunks(body, 7)):
                length = len(body) if wire is body else None
                for size in (97, 1):
                    with way.connect() as connection:
                        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        way.begin(connection, length)
                        push(connection, pieces_of(wire, size))
                        self.assert_stored(connection.response("POST"), [content, b""])

    def test_boundaries(self) -> None:
        """Boundaries of any length and with any characters divide a form, and nothing else does."""
        for boundary in (
            "-",
            "--",
            "0",
            "a:b",
            "a b",
            "'()+_,-./:=?",
            ".*",
            "^$.*+?{}[]|(<x>",
            "-" * 70,
            ("--" + BOUNDARY) * 2,
        ):
            raw = boundary.encode()
            near = [b"\r\n--%b%b" % (raw, end) for end in (b"x", b" x", b"--x", b"--\n", b"\rx")]
            near += [b"\n--%b\r\n" % raw, b"\r--%b--" % raw, (b"\r\n--" + raw)[:-1], b"\r\n"]
            contents = [b"x".join(near), b"", b"".join(near)]
            head = file(b"").replace(DELIMITER, b"--" + raw)
            parts = [head + each for each in contents]
            body = b"".join(parts) + b"\r\n--%b--" % raw
            fields = {"Content-Type": f'multipart/form-data; boundary="{boundary}"'}
            for way in self.ways():
                for wire, length in ((body, len(body)), (in_chunks(body, 3), None)):
                    self.assert_stored(way.send(wire, fields, length=length), contents)

    def test_large(self) -> None:
        """A large content is stored unchanged."""
        content = random.Random(2).randbytes(7 * MIB + 13)
        for way in self.ways():
            for body, length in ((form(file(content)), -1), (in_chunks(form(file(content))), None)):
                self.assert_stored(way.send(body, length=length), [content])

    def test_media_types(self) -> None:
        """
        If the client gives no media type, it is derived from the name, alike on every machine.
        """
        for way in self.ways():
            answer = way.send(form(file(b"", "a.pdf"), file(b"", "a.xyz"), file(b"", "a.tar.gz")))
            self.assertEqual(
                [entry["mimeType"] for entry in answer.json["files"]],
                ["application/pdf", "", "application/gzip"],
            )

    def test_limits(self) -> None:
        """``/uploads/limits`` shows the default limits."""
        self.assertEqual(
            fetch(self.pair.platform.url, "/uploads/limits").json,
            {
                "per_file_bytes": 104857600,
                "per_request_bytes": 104857600,
                "max_files_per_request": 64,
                "max_attachments_per_message": 10,
            },
        )

    def test_log(self) -> None:
        """Both logs have a line for an upload, without the file's name."""
        name = canary()
        marks = [role.mark() for role in (self.pair.platform, self.pair.workspace)]
        body = form(file(b"x", name))
        way = ways(self.pair)[1]
        answer = way.send(body, {"X-Request-Id": "upload-1"})
        self.assertEqual((answer.status, answer["x-request-id"]), (200, "upload-1"))
        line = rf"upload-1 %s %s 200 {len(body)} bytes \d+\.\d+ s complete"
        self.pair.platform.logged(line % (self.pair.id, "upload"), since=marks[0])
        registered = "-" if self.pair.via == "url" else self.pair.id
        self.pair.workspace.logged(line % (registered, "ingest"), since=marks[1])
        for role in (self.pair.platform, self.pair.workspace):
            self.assertNotIn(name, role.log)

    # -- how the body arrives

    def test_continue(self) -> None:
        """A client that waits for a 100 receives exactly one."""
        for way in self.ways():
            for length in (len(form(file(b"x"))), None):
                with way.connect() as connection:
                    way.begin(connection, length, {"Expect": "100-continue"})
                    asked = connection.socket.recv(100)
                    self.assertEqual(asked, b"HTTP/1.1 100 Continue\r\n\r\n")
                    body = form(file(b"x"))
                    connection.send(body if length else in_chunks(body))
                    self.assert_stored(connection.response("POST"), [b"x"])

    def test_continue_without_waiting(self) -> None:
        """A client that expects a 100 and does not wait for it is served."""
        body = form(file(b"x"))
        for way in self.ways():
            self.assert_stored(way.send(body, {"Expect": "100-continue"}), [b"x"])

    def test_curl(self) -> None:
        """curl, the client that most people use, can upload."""
        curl = shutil.which("curl")
        if curl is None:
            raise SkipTest("there is no curl")
        contents = [random.Random(3).randbytes(3 * MIB), b"", b"small"]
        for n, content in enumerate(contents):
            self.pair.write(f"sent/{n} ü.bin", content)
        files = [f"-Ffiles=@{self.pair.at('sent', f'{n} ü.bin')}" for n in range(3)]
        for way in self.ways():
            for more in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"]):
                header = f"Authorization: {way.fields['Authorization']}"
                told = subprocess.run(
                    [
                        curl,
                        "-sS",
                        "-m",
                        str(PATIENCE),
                        "-H",
                        header,
                        *more,
                        *files,
                        way.url + way.target,
                    ],
                    capture_output=True,
                    check=True,
                )
                entries = json.loads(told.stdout)["files"]
                self.assertEqual(
                    [e["originalName"] for e in entries], [f"{n} ü.bin" for n in range(3)]
                )
                for entry, content in zip(entries, contents, strict=True):
                    self.assertEqual(self.content(entry["uri"].rpartition("/")[2]), content)

    def test_one_connection(self) -> None:
        """Several uploads on one connection are kept apart."""
        body = form(file(b"x" * 100_000)) + b"epilogue"
        for way in self.ways():
            with way.connect() as connection:
                for wire, length in ((body, len(body)), (in_chunks(body), None)) * 3:
                    way.begin(connection, length)
                    connection.send(wire)
                    self.assert_stored(connection.response("POST"), [b"x" * 100_000])

    def test_pipelined(self) -> None:
        """Pipelined requests after an upload are served, in their order."""
        body = form(file(b"x" * 70_000))
        for way in self.ways():
            with way.connect() as connection:
                wire = bytearray()
                for framed, framing in (
                    (body, f"Content-Length: {len(body)}"),
                    (in_chunks(body), "Transfer-Encoding: chunked"),
                ):
                    lines = [f"{n}: {v}" for n, v in {**FORM, **way.fields}.items()]
                    head = "\r\n".join([f"POST {way.target} HTTP/1.1", "Host: x", *lines, framing])
                    wire += head.encode() + b"\r\n\r\n" + framed
                    wire += b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
                wire += b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                sender = threading.Thread(target=connection.send, args=(bytes(wire),))
                sender.start()
                answers = answers_in(connection.until_closed())
                sender.join()
                self.assertEqual([answer.status for answer in answers], [200] * 5)
                self.assert_stored(answers[0], [b"x" * 70_000])
                self.assert_stored(answers[2], [b"x" * 70_000])
                self.assertEqual(answers[4].json["status"], "ok")

    def test_first_half(self) -> None:
        """The workspace writes the first half before the second is sent."""
        body = form(file(b"x" * (600 * KIB)))
        for way in self.ways():
            with way.connect() as connection:
                way.begin(connection, len(body))
                half = len(body) // 2
                connection.send(body[:half])
                until(partial(self.there_are, half - KIB), "the workspace has the first half")
                connection.send(body[half:])
                self.assert_stored(connection.response("POST"), [b"x" * (600 * KIB)])

    def there_are(self, octets: int) -> bool:
        return sum(self.in_the_making().values()) >= octets

    def test_a_byte_at_a_time(self) -> None:
        """Small segments are written at once rather than collected."""
        for way in self.ways():
            with way.connect() as connection:
                way.begin(connection, None)
                connection.send(in_chunks(file(b""), last=False))
                for n in range(1, 4):
                    connection.send(in_chunks(b"x", last=False))
                    until(partial(self.there_are, n), "each byte arrives")
                connection.send(in_chunks(END))
                self.assert_stored(connection.response("POST"), [b"xxx"])


class PaceTests(UploadCase):
    """How fast an upload arrives."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(both=[f"--idle-timeout={IMPATIENT}", f"--header-timeout={IMPATIENT}"])

    def test_slow(self) -> None:
        """A client that sends slowly, but steadily, is not aborted."""
        size = int(1.5 * IMPATIENT * 10_000)
        body = form(file(b"x" * size))

        def send(way: Way) -> None:
            with way.connect() as connection:
                way.begin(connection, len(body))
                at = 0
                for step in pace(len(body), 10_000):
                    connection.send(body[at : at + step])
                    at += step
                self.assert_stored(connection.response("POST"), [b"x" * size])

        at_once([partial(send, way) for way in self.ways()])

    def test_silent(self) -> None:
        """A client that stops sending receives 408, and nothing of its upload is kept."""
        body = form(file(b"x" * 25_000))

        def send(way: Way, sent: int) -> None:
            with way.connect() as connection:
                way.begin(connection, len(body))
                connection.send(body[:sent])
                answer = connection.response("POST")
                self.assert_error(answer, 408, "request body was not received in time")
                self.assertEqual(answer["connection"], "close")
                self.assertEqual(connection.until_closed(), b"")

        before = self.names()
        at_once([partial(send, way, sent) for way in self.ways() for sent in (0, 99, 20_000)])
        self.assert_nothing_is_left(before)

    def test_leaves(self) -> None:
        """
        A client that disconnects during its upload leaves neither a part of a file nor a
        descriptor.
        """
        rng = random.Random(4)
        body = form(file(b"x" * (400 * KIB)), file(b"y" * (400 * KIB)))
        before = self.names()
        for way in self.ways():
            for n in range(200 if SOAK else 25):
                at = rng.choice([rng.randrange(1, len(body)), len(body) - 1 - n])
                with way.connect() as connection:
                    way.begin(connection, len(body) if n % 2 else None)
                    wire = body if n % 2 else in_chunks(body)
                    push(connection, [wire[:at]])
                    if n % 3 == 0:  # with a reset
                        connection.socket.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")
            # Before that, the last request may not have begun.
            self.wait_until_all_ended()
            self.assert_nothing_is_left(before)
        self.pair.platform.logged(r"upload 0 \d+ bytes \S+ s client_left")
        self.pair.workspace.logged(r"ingest 0 \d+ bytes \S+ s client_left")

    def test_leaves_before_the_answer(self) -> None:
        """
        A client that disconnects right after its last byte leaves no descriptor, and all files of
        its request or none.
        """
        body = form(*[file(b"x" * (300 * KIB))] * 3)
        before = self.names()
        for way in self.ways():
            for _ in range(10):
                with way.connect() as connection:
                    way.begin(connection, len(body))
                    push(connection, [body])
        self.wait_until_all_ended()
        self.assertEqual(self.in_the_making(), {})
        stored = set(self.names()) - set(before)
        self.assertEqual(len(stored) % 3, 0, stored)


class DrainTests(SynchronousTestCase):
    """Both roles are stopped during an upload."""

    BODY = form(file(b"x" * (2 * MIB)))

    def begin(self, pair: Pair, way: Way) -> Connection:
        """Stop the roles when half of the body has arrived."""
        connection = way.connect()
        self.addCleanup(connection.close)
        way.begin(connection, len(self.BODY))
        connection.send(self.BODY[: len(self.BODY) // 2])
        until(partial(self.half_is_there, pair), "half of it is there")
        for role in (pair.platform, pair.workspace):
            role.signal(signal.SIGTERM)
        return connection

    def half_is_there(self, pair: Pair) -> bool:
        return sum(in_the_making(pair).values()) >= MIB - KIB

    def end(self, pair: Pair) -> list[int]:
        """:return: the sizes of the stored files, once both roles have exited with 0."""
        self.assertEqual((pair.platform.wait(), pair.workspace.wait()), (0, 0))
        pair.check_logs()
        paths = [os.path.join(directory_of(pair), n) for n in os.listdir(directory_of(pair))]
        return [os.stat(path).st_size for path in paths]

    def test_drain(self) -> None:
        """An upload that runs is finished; idle connections are closed, and new ones refused."""
        for n in (0, 1) if VIA != "nat" else (1,):
            pair = Pair()
            self.addCleanup(pair.discard)
            way = ways(pair)[n]
            with way.connect() as idle:
                self.assertEqual(idle.exchange("GET", "/health").status, 200)
                connection = self.begin(pair, way)
                self.assertEqual(idle.until_closed(), b"")
            until(partial(refuses, way.url), "no more connections are accepted")
            push(connection, [self.BODY[len(self.BODY) // 2 :]])
            self.assertEqual(connection.response("POST").status, 200)
            self.assertEqual(connection.until_closed(), b"")
            self.assertEqual(self.end(pair), [2 * MIB])

    def test_drain_is_over(self) -> None:
        """
        A client that does not finish in time is aborted; both roles exit, and nothing is stored.
        """
        pair = Pair(both=["--drain-timeout=0.3"])
        self.addCleanup(pair.discard)
        connection = self.begin(pair, ways(pair)[1])
        with contextlib.suppress(Incomplete):
            # The workspace may be the first of the two to close the connection.
            self.assertEqual(connection.response("POST").status, 502)
        self.assertEqual(self.end(pair), [])


class MemoryTests(UploadCase):
    """The memory that an upload takes, whatever its size."""

    #: Bytes by which either process may grow.
    GROWTH = 48 * MIB

    @classmethod
    def make_pair(cls) -> Pair:
        limit = 3 << 30
        return Pair(both=[f"--max-file-bytes={limit}", f"--max-request-bytes={limit}"])

    def test_memory(self) -> None:
        """No whole part, file or body is kept in memory."""
        self.grow(2, 96 * MIB)

    def test_memory_soak(self) -> None:
        """As `test_memory`, with the sizes that issue 3 names."""
        if not SOAK:
            raise SkipTest("CHATFILES_SOAK=1 sends 8 GiB")
        self.grow(4, 2048 * MIB)

    def test_resumable(self) -> None:
        """Resumable uploads that run at once take less than 2 MiB each."""
        count, size = 32, (64 if SOAK else 4) * MIB
        base = f"/workspaces/{self.pair.id}/uploads"
        way = resumable.Way("through", self.pair.platform.url, base, self.pair.bearer)

        def send() -> None:
            target = way.create(size)
            with way.begin(target, 0, size, b"") as connection:
                push(connection, [b"x" * MIB] * (size // MIB))
                answer = connection.response("PATCH")
            self.assertEqual(answer.status, 204, answer.body)
            os.unlink(os.path.join(self.directory, answer["chatfiles-uri"].rpartition("/")[2]))

        send()
        roles = (self.pair.platform, self.pair.workspace)
        before = [role.forget_peak() for role in roles]
        at_once([send] * count)
        growth = [(role.memory() - was) / MIB for role, was in zip(roles, before, strict=True)]
        report(f"{count} resumable uploads of {size // MIB} MiB at once grow {growth} MiB")
        for grown in growth:
            self.assertLess(grown, 2 * count)

    def grow(self, count: int, size: int) -> None:
        way = ways(self.pair)[1]
        self.assertEqual(way.send(form(file(b"x" * MIB))).status, 200)
        roles = (self.pair.platform, self.pair.workspace)
        before = [most_memory(role) for role in roles]
        piece = random.Random(5).randbytes(MIB)
        digest = hashlib.sha256()
        for _ in range(size // MIB):
            digest.update(piece)
        began = time.monotonic()

        def send() -> None:
            head = file(b"")
            with way.connect() as connection:
                way.begin(connection, len(head) + size + len(END))
                push(connection, self.pieces(head, piece, size))
                answer = connection.response("POST")
                self.assertEqual(answer.status, 200, answer.body)
                (entry,) = answer.json["files"]
                self.assertEqual((entry["size"], entry["sha256"]), (size, digest.hexdigest()))
                os.unlink(os.path.join(self.directory, entry["uri"].rpartition("/")[2]))

        at_once([send] * count)
        seconds = time.monotonic() - began
        growth = [most_memory(role) - was for role, was in zip(roles, before, strict=True)]
        report(
            f"{count} x {size // MIB} MiB, {count * size / 1e6 / seconds:.0f} MB/s;"
            f" growth {growth[0] / MIB:.1f} MiB platform, {growth[1] / MIB:.1f} MiB workspace"
        )
        for grown in growth:
            self.assertLess(grown, self.GROWTH)

    def pieces(self, head: bytes, piece: bytes, size: int) -> Iterator[bytes]:
        yield head
        for _ in range(size // len(piece)):
            yield piece
        yield END


#: Makes a role note the longest time for which its reactor did not poll its sockets.
_WATCHED = """
import os, sys, time
from twisted.internet.epollreactor import EPollReactor

class Watched:
    def __init__(self, poller):
        self.poller, self.left, self.worst = poller, None, 0.0

    def __getattr__(self, name):
        return getattr(self.poller, name)

    def poll(self, *args):
        self.look()
        try:
            return self.poller.poll(*args)
        finally:
            self.left = time.monotonic()

    def look(self):
        gap = 0 if self.left is None else time.monotonic() - self.left
        if gap > self.worst and os.path.exists(os.environ["GAPS"]):
            self.worst = gap
            role = next(arg[7:] for arg in sys.argv if arg.startswith("--role="))
            with open(os.path.join(os.environ["GAPS"], role), "w") as file:
                file.write(str(gap))

real = EPollReactor.__init__

def init(reactor, *args, **more):
    real(reactor, *args, **more)
    reactor._poller = Watched(reactor._poller)

EPollReactor.__init__ = init
"""


class ReactorTests(SynchronousTestCase):
    """The time for which an upload occupies the reactor."""

    def setUp(self) -> None:
        if not SOAK:
            raise SkipTest("CHATFILES_SOAK=1 measures times")
        self.gaps = os.path.realpath(self.mktemp())
        limits = [f"--max-{of}-bytes={1 << 30}" for of in ("file", "request")]
        with mock.patch.dict(os.environ, {"GAPS": self.gaps}):
            self.pair = Pair(both=limits, first=_WATCHED)
        self.addCleanup(self.pair.discard)
        self.way = ways(self.pair)[1]
        self.assertEqual(self.way.send(form(file(b"x" * MIB))).status, 200)

    def test_gaps(self) -> None:
        """An upload never occupies a reactor for more than 100 ms (issue 3)."""
        hostile = part('name="a"') + b"x"
        os.makedirs(self.gaps)
        for what, body, status in (
            ("100 MiB", form(file(b"x" * (100 * MIB))), 200),
            ("64 files", form(*[file(b"x" * MIB)] * 64), 200),
            ("65 files", form(*[file(b"x" * MIB)] * 65), 400),
            ("64 empty files", form(*[file(b"")] * 64), 200),
            ("no files", form(*[hostile] * 1000), 400),
            ("preambles", b"\r\n--" * (20 * MIB) + form(file(b"x")), 200),
            ("beginnings of the boundary", form(file((b"\r\n" + DELIMITER[:-1]) * MIB)), 200),
            ("tiny parts", form(*[hostile] * 100_000), 400),
            ("a long header", form(part('name="' + "x" * MIB + '"')), 400),
        ):
            self.send(body, len(body), status, what)
        body = form(file(b"x" * (500 * KIB)))
        self.send(in_chunks(body, 1), None, 200, "chunks of one byte")
        self.send(in_chunks(body, 3)[:-5] + b"x\r\n", None, 400, "chunks of three bytes, malformed")
        small = form(file(b"x" * (20 * KIB)))
        self.send(small, len(small), 200, "segments of one byte", 1)

    def send(
        self, wire: bytes, length: int | None, status: int, what: str, size: int = 64 * KIB
    ) -> None:
        with self.way.connect() as connection:
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.way.begin(connection, length)
            push(connection, pieces_of(wire, size))
            self.assertEqual(connection.response("POST").status, status, what)
        self.judge(what)

    def judge(self, what: str) -> None:
        for role in os.listdir(self.gaps):
            with open(os.path.join(self.gaps, role)) as noted:
                gap = float(noted.read())
            report(f"{what}: longest gap of the {role} so far {gap * 1000:.1f} ms")
            self.assertLess(gap, 0.1)


def pieces_of(wire: bytes, size: int) -> Iterator[bytes]:
    return (wire[at : at + size] for at in range(0, len(wire), size))


def refuses(url: str) -> bool:
    try:
        Connection(url).close()
    except ConnectionError:
        return True
    return False
