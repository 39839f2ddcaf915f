"""reference/uploads, "All or nothing": a workspace that is killed at any moment of an upload."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import threading
import time
from collections import Counter
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from tests.live.processes import SOAK, Pair, Role, until
from tests.live.rawhttp import Incomplete, Response, fetch
from tests.live.role import listen_on
from tests.live.upload_client import (
    KIB,
    UploadCase,
    Way,
    at_once,
    file,
    form,
    push,
    report,
    ways,
)
from tests.support.patience import PATIENCE
from tests.support.ports import free_port

#: How many times a workspace is killed, in all.
KILLS = 200 if SOAK else 20
#: How many workspaces are killed in parallel.
VICTIMS = 4

#: Executed before a workspace whose file system has no unnamed files.
_WITHOUT_UNNAMED_FILES = """
import errno, os

def without_unnamed_files(path, flags, *args, _open=os.open, **more):
    if flags & os.O_TMPFILE == os.O_TMPFILE:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    return _open(path, flags, *args, **more)

os.open = without_unnamed_files
"""
_STORED = re.compile(r"[0-9a-f]{32}-(\d+)-(\d+)")


class Victim:
    """
    A workspace that can be killed and started again, and is known to a platform.

    :param unnamed: whether its file system has unnamed files.
    """

    def __init__(self, pair: Pair, number: int, unnamed: bool) -> None:
        self.base = pair.at(f"victim-{number}")
        self.directory = os.path.join(self.base, "workspace", ".molecule", "chat-uploads")
        self._pair = pair
        self._first = "" if unnamed else _WITHOUT_UNNAMED_FILES
        for root in ("workspace", "configs"):
            os.makedirs(os.path.join(self.base, root))
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.id, self._token = pair.add(self.url)
        self._bearer = {"Authorization": f"Bearer {self._token}"}
        self._secret = self._enrol()
        self.start()

    def _enrol(self) -> str:
        body = json.dumps({"id": self.id, "url": self.url}).encode()
        platform = self._pair.platform.url
        answer = fetch(platform, "/registry/register", self._bearer, method="POST", body=body)
        value = str(answer.json["platform_inbound_secret"])
        self._pair.hide(value)
        with open(os.path.join(self.base, "configs", ".platform_inbound_secret"), "w") as secret:
            secret.write(value)
        return value

    def start(self) -> None:
        """Start it; by the time it listens, it has removed leftovers."""
        options = [f"--root=/{root}={self.base}/{root}" for root in ("workspace", "configs")]
        listen = listen_on(self._port)
        self.role = Role("workspace", listen, *options, first=self._first)
        assert self.role.url, "it listens"

    def kill(self) -> None:
        """Kill it, and wait until it has ended."""
        self.role.kill()
        self.role.check_log()

    def ways(self) -> list[Way]:
        """:return: the ways to upload to it: directly, and through the platform."""
        secret = {"Authorization": f"Bearer {self._secret}"}
        direct = Way("direct", self.url, "/internal/chat/uploads/ingest", secret)
        return [direct, ways(self._pair, self.id)[1]._replace(fields=self._bearer)]

    def listed(self) -> list[str]:
        """:return: the names in its directory of uploads."""
        with contextlib.suppress(FileNotFoundError):
            return os.listdir(self.directory)
        return []


def content_of(request: int, number: int) -> bytes:
    """:return: the content of file *number* of upload *request*."""
    size = (0, 70 * KIB, 900 * KIB)[number]
    return random.Random(request * 10 + number).randbytes(size)


class Upload:
    """An upload of three files that is running when its workspace is killed."""

    def __init__(self, way: Way, request: int) -> None:
        self.request = request
        self.answer: Response | None = None
        self.sent = threading.Event()
        self._way = way
        self.body = form(*[file(content_of(request, n), f"{request}-{n}") for n in range(3)])

    def send(self, until_offset: int) -> None:
        """Send it, and set `sent` when *until_offset* bytes have been sent."""
        try:
            with contextlib.suppress(OSError, Incomplete), self._way.connect() as connection:
                self._way.begin(connection, len(self.body))
                push(connection, [self.body[:until_offset]])
                self.sent.set()
                push(connection, [self.body[until_offset:]])
                self.answer = connection.response("POST")
        finally:
            self.sent.set()


class KillTests(SynchronousTestCase):
    """Workspaces that are killed at random moments."""

    def setUp(self) -> None:
        self.pair = Pair()
        self.addCleanup(self.pair.discard)

    def test_killed(self) -> None:
        """
        Whenever a workspace is killed, no part of a file or of a request gets a final name, and
        nothing temporary is left.
        """
        outcomes: Counter[str] = Counter()
        victims = [Victim(self.pair, n, unnamed=n % 2 == 0) for n in range(VICTIMS)]
        for victim in victims:
            self.addCleanup(victim.kill)
        at_once([partial(self.kill_often, n, v, outcomes) for n, v in enumerate(victims)])
        report(f"{KILLS} kills: {dict(outcomes)}")
        self.pair.check_logs()

    def kill_often(self, number: int, victim: Victim, outcomes: Counter[str]) -> None:
        rng = random.Random(number)
        for n in range(KILLS // VICTIMS):
            uploads = [Upload(way, 2 * n + at) for at, way in enumerate(victim.ways())]
            self.kill_once(victim, uploads, rng)
            outcomes.update(self.judge(victim, upload) for upload in uploads)

    def kill_once(self, victim: Victim, uploads: list[Upload], rng: random.Random) -> None:
        """Kill it when a part, or all, of one upload has been sent, and start it again."""
        threads = []
        for upload in uploads:
            offset = min(rng.randrange(2 * len(upload.body)), len(upload.body))
            threads.append(threading.Thread(target=upload.send, args=(offset,)))
            threads[-1].start()
        rng.choice(uploads).sent.wait(PATIENCE)
        time.sleep(rng.choice([0, rng.uniform(0, 0.01), rng.uniform(0, 0.1)]))
        victim.kill()
        for thread in threads:
            thread.join()
        victim.start()

    def judge(self, victim: Victim, upload: Upload) -> str:
        """:return: the outcome of *upload*, which is one of those allowed."""
        self.assertEqual([name for name in victim.listed() if name.startswith(".")], [])
        found = set()
        for name in victim.listed():
            match = _STORED.fullmatch(name)
            assert match is not None, name
            if int(match[1]) == upload.request:
                with open(os.path.join(victim.directory, name), "rb") as stored:
                    content = stored.read()
                self.assertEqual(content, content_of(upload.request, int(match[2])), name)
                found.add(int(match[2]))
        answer = upload.answer
        if answer is not None and answer.status == 200:
            self.assertEqual(found, {0, 1, 2})
            for n, entry in enumerate(answer.json["files"]):
                digest = hashlib.sha256(content_of(upload.request, n)).hexdigest()
                self.assertEqual(entry["sha256"], digest)
            return "answered"
        if answer is not None:
            self.assertEqual(answer.status, 502, answer.body)
        self.assertIn(found, (set(), {0, 1, 2}))
        return "complete" if found else "nothing"


class LeftoverTests(UploadCase):
    """Leftovers at a start."""

    def test_swept(self) -> None:
        """
        A start removes what a killed process has left, and keeps what another process is writing.
        """
        os.makedirs(self.directory, exist_ok=True)
        before = self.names()
        for name in (".upload-1.part", ".upload-2.part", "kept"):
            with open(os.path.join(self.directory, name), "w"):
                pass
        roots = [f"--root=/{r}={self.pair.at(r)}" for r in ("workspace", "configs")]
        way = ways(self.pair)[0]
        body = form(file(b"x" * 500_000))
        with way.connect() as connection:
            way.begin(connection, len(body))
            connection.send(body[:300_000])
            until(self.in_the_making, "it is being written")
            second = Role("workspace", *roots)
            assert second.url
            second.logged("removed 2 uploads that a killed process left")
            second.stop()
            connection.send(body[300_000:])
            (stored,) = self.assert_stored(connection.response("POST"), [b"x" * 500_000])
        self.assertEqual(self.names(), sorted([*before, stored, "kept"]))
