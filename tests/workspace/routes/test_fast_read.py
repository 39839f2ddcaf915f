"""
The workspace's part of the fast path: which requests it serves, and that it changes no response.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.http.server.observers import TransferEnded
from chatfiles.posix.openat2 import WouldWait
from chatfiles.rules.conditional_requests import SETTLED_NS
from chatfiles.rules.http_dates import format_http_date
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.inbound_secrets import InboundSecrets
from chatfiles.workspace.routes import fast_read
from chatfiles.workspace.routes.context import WorkspaceContext
from chatfiles.workspace.routes.fast_read import FastRead
from chatfiles.workspace.routes.ingest import IngestContext
from chatfiles.workspace.routes.opening import SMALL_FILE
from chatfiles.workspace.routes.route_table import workspace_tree
from chatfiles.workspace.uploads.ingestion import IngestLimits
from chatfiles.workspace.uploads.upload_directory import UploadDirectory
from tests.contract.file_store import Symlink, answers_at_once, build, scratch
from tests.http.server.test_observers import Recorder
from tests.support.ended import comparable
from tests.support.memory_client import Caller, get
from tests.workspace.routes.test_ingest import _AtOnce

AUTH = b"Authorization: Bearer abc"
READ = b"/internal/file/read?path=/workspace/"
NOW_NS = 2_000_000_000 * 10**9
#: Of every file: 1e9 seconds after the epoch.
MTIME_NS = 1_000_000_000 * 10**9
FILES: dict[bytes, bytes | Symlink] = {
    b"ws/f": b"0123456789",
    b"ws/empty": b"",
    b"ws/page.html": b"<p>",
    b"ws/picture.png": b"png",
    b"ws/a b\xff": b"odd",
    b"ws/directory/x": b"x",
    b"ws/largest": bytes(SMALL_FILE),
    b"ws/large": bytes(SMALL_FILE + 1),
    b"ws/link": Symlink(b"f"),
    b"configs/secret": b"abc",
}


class FastReadTests(SynchronousTestCase):
    """A workspace on disk, whose requests are made in memory on both paths."""

    def setUp(self) -> None:
        self.top = scratch(self)
        if not answers_at_once(self.top):
            raise SkipTest("the temporary directory is on no file system that answers at once")
        build(self.top, FILES)
        os.chmod(self.top + b"/configs/secret", 0o600)
        for name, _, files in os.walk(self.top + b"/ws"):
            for file in files:
                os.utime(os.path.join(name, file), ns=(0, MTIME_NS), follow_symlinks=False)
        self.now_ns = NOW_NS
        self.secret = InboundSecrets(self.top + b"/configs/secret")
        self.store = FileStore(
            {b"/workspace": self.top + b"/ws"}, DenyRules(), [self.secret.current.path]
        )
        self.addCleanup(self.store.close)
        self.recorder = Recorder()
        self.make(self.store)
        self.caller(is_fast=False).send(get(READ + b"f", AUTH))  # now everything is known
        self.recorder.events.clear()

    def make(self, store: Any) -> None:
        """Make a context with *store*."""
        threads: Any = _AtOnce()
        clock = Clock()
        self.context = WorkspaceContext(
            store, self.secret, threads, clock, 60.0, now_ns=lambda: self.now_ns
        )
        uploads = UploadDirectory(lambda: store.open_root(b"/workspace"))
        self.ingest = IngestContext(uploads, IngestLimits(1, 1), self.secret, threads)

    def caller(self, *, is_fast: bool = True) -> Caller:
        caller = Caller(
            workspace_tree(self.context, self.ingest),
            fast_routes=FastRead(self.context) if is_fast else None,
            observers=(self.recorder,),
        )
        caller.site.new_request_id = lambda: "new"  # a declined request uses one more
        return caller

    def is_served(self, request: bytes) -> bool:
        """:return: whether the fast path serves *request*; the bytes and the log are the same."""
        fast, slow = self.caller(), self.caller(is_fast=False)
        fast.send(request)
        slow.send(request)
        self.assertEqual(fast.wire.value(), slow.wire.value(), request)
        self.assertEqual(fast.channel._last.factor, slow.channel._last.factor, request)
        first, second = self.recorder.events
        assert isinstance(first, TransferEnded)
        assert isinstance(second, TransferEnded)
        self.assertEqual(comparable(first), comparable(second), request)
        self.recorder.events.clear()
        served: int = fast.site.fast_path.served
        return bool(served)

    def test_served(self) -> None:
        """Small files, their parts, ``HEAD`` and 304 are served, in every form."""
        date = format_http_date(MTIME_NS // 10**9)
        for request in (
            get(READ + b"f", AUTH),
            get(READ + b"f", AUTH, method=b"HEAD"),
            get(READ + b"f", AUTH, b"Via: 1.1 chatfiles", b"X-Request-Id: mine"),
            get(READ + b"f", AUTH, b"Connection: close"),
            get(READ + b"f&disposition=inline", AUTH),
            get(READ + b"picture.png&disposition=inline", AUTH),
            get(READ + b"page.html&disposition=inline", AUTH),
            get(READ + b"empty", AUTH),
            get(READ + b"largest", AUTH),
            get(READ + b"large", AUTH, method=b"HEAD"),
            get(READ + b"large", AUTH, b"If-Modified-Since: " + date),
            get(READ + b"%66", AUTH),
            get(READ + b"a%20b%FF", AUTH),
            get(READ + b"directory/x", AUTH),
            get(READ + b"f&unknown=1", AUTH),
            get(b"/internal/fs/file?path=/workspace/f", AUTH),
            get(READ + b"f", AUTH, b"Range: bytes=1-3"),
            get(READ + b"f", AUTH, b"Range: bytes=-2", method=b"HEAD"),
            get(READ + b"f", AUTH, b"Range: lines=1-2"),
            get(READ + b"f", AUTH, b"Range: bytes=0-0,2-2"),
            get(READ + b"f", AUTH, b"If-Modified-Since: " + date),
            get(READ + b"f", AUTH, b"If-None-Match: *"),
            get(READ + b"f", AUTH, b"If-None-Match: *", method=b"HEAD"),
            get(READ + b"f", AUTH, b"If-Match: *", b"Range: bytes=0-0"),
        ):
            self.assertTrue(self.is_served(request), request)

    def test_declined(self) -> None:
        """Everything else is left to the ordinary path: errors, large files, other routes."""
        os.mkfifo(self.top + b"/ws/fifo")
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(os.fsdecode(self.top + b"/ws/socket"))
        os.link(self.top + b"/configs/secret", self.top + b"/ws/linked")
        for request in (
            get(READ + b"f", b"Authorization: Bearer other"),
            get(READ + b"f", b"Authorization: Bearer "),
            get(READ + b"f"),
            get(READ + b"missing", AUTH),
            get(READ + b"f/x", AUTH),
            get(READ + b"link", AUTH),
            get(READ + b"directory", AUTH),
            get(READ + b"fifo", AUTH),
            get(READ + b"socket", AUTH),
            get(READ + b"linked", AUTH),
            get(READ + b"../f", AUTH),
            get(READ + b".env", AUTH),
            get(READ + b"%2e%2e/f", AUTH),
            get(READ + b"f&path=/workspace/f", AUTH),
            get(READ + b"f&disposition=other", AUTH),
            get(READ, AUTH),
            get(b"/internal/file/read?path=/etc/passwd", AUTH),
            get(b"/internal/file/read?path=/home/x", AUTH),
            get(b"/internal/file/read", AUTH),
            get(b"/internal/file/read/?path=/workspace/f", AUTH),
            get(b"/internal/file/%72ead?path=/workspace/f", AUTH),
            get(b"/health", AUTH),
            get(READ + b"large", AUTH, b"Range: bytes=0-0"),
            get(READ + b"f", AUTH, b"Want-Repr-Digest: sha-256=1"),
            get(READ + b"f", AUTH, b"want-repr-digest: x", method=b"HEAD"),
            get(READ + b"f", AUTH, b"Range: bytes=10-"),
            get(READ + b"f", AUTH, b'If-Match: "x"'),
            get(READ + b"f", AUTH, b"If-Unmodified-Since: " + format_http_date(1)),
            get(READ + b"f", AUTH, version=b"1.0"),
        ):
            self.assertFalse(self.is_served(request), request)

    @given(
        st.sampled_from((b"f", b"empty", b"picture.png", b"large", b"missing")),
        st.sampled_from((b"GET", b"HEAD")),
        st.sampled_from((0, 1, SETTLED_NS // 2, SETTLED_NS - 1, SETTLED_NS, SETTLED_NS + 1)),
        st.lists(
            st.sampled_from(
                (
                    b"Range: bytes=0-0",
                    b"Range: bytes=5-",
                    b"Range: bytes=-3",
                    b"Range: bytes=99-",
                    b"Range: bytes=0-0,1-1",
                    b"If-Match: *",
                    b'If-Match: "x"',
                    b"If-None-Match: *",
                    b'If-None-Match: "x", W/"y"',
                    b"If-Range: " + format_http_date(MTIME_NS // 10**9),
                    b"If-Modified-Since: " + format_http_date(MTIME_NS // 10**9),
                    b"If-Modified-Since: " + format_http_date(MTIME_NS // 10**9 - 1),
                    b"If-Unmodified-Since: " + format_http_date(MTIME_NS // 10**9 - 1),
                    b"If-Modified-Since: yesterday",
                    b"Connection: close",
                    b"Via: 1.1 x",
                    b"X-Request-Id: given",
                )
            ),
            max_size=4,
        ),
    )
    def test_same_bytes(self, name: bytes, method: bytes, age_ns: int, lines: list[bytes]) -> None:
        """
        The response and the log are those of the ordinary path, for all conditions and ages of a
        file, whatever was asked before.
        """
        self.now_ns = MTIME_NS + age_ns
        self.is_served(get(READ + name, AUTH, *lines, method=method))

    def test_etag_of_a_new_file(self) -> None:
        """
        The validator of a file that was changed just now is weak, and is strong later, although
        headers are remembered.
        """
        tags = []
        for age in (SETTLED_NS + 1, 0, SETTLED_NS + 1):
            self.now_ns = MTIME_NS + age
            self.assertTrue(self.is_served(get(READ + b"f", AUTH)))
            tags.append(self.caller().send(get(READ + b"f", AUTH)).answer().fields["etag"])
            self.recorder.events.clear()
        self.assertEqual([tag.startswith("W/") for tag in tags], [False, True, False])

    def test_changed_file(self) -> None:
        """A changed file has new headers and a new content at once."""
        self.is_served(get(READ + b"f", AUTH))
        path = self.top + b"/ws/f"
        for content in (b"9876543210", b"longer than before", b""):
            with open(path, "wb") as file:
                file.write(content)
            os.utime(path, ns=(0, MTIME_NS))
            self.assertTrue(self.is_served(get(READ + b"f", AUTH)), content)
            self.assertEqual(self.caller().send(get(READ + b"f", AUTH)).answer().body, content)
            self.recorder.events.clear()

    def test_changed_secret(self) -> None:
        """Another secret takes effect at once; without a secret nobody is served."""
        with open(self.top + b"/configs/secret", "wb") as file:
            file.write(b"xyz")
        self.assertFalse(self.is_served(get(READ + b"f", AUTH)))
        self.assertTrue(self.is_served(get(READ + b"f", b"Authorization: Bearer xyz")))
        os.unlink(self.top + b"/configs/secret")
        self.assertFalse(self.is_served(get(READ + b"f", b"Authorization: Bearer xyz")))

    def test_wrong_secret_learns_nothing(self) -> None:
        """Whether a file exists has no influence on a request with a wrong secret."""
        opened: list[object] = []
        self.patch(self.store, "open_descriptor_at_once", opened.append)
        for name in (b"f", b"missing"):
            self.caller().send(get(READ + name, b"Authorization: Bearer no"))
        self.assertEqual(opened, [])

    def test_not_in_memory(self) -> None:
        """What the kernel does not have in memory is left to a thread; nothing stays open."""

        def would_wait(*_: object) -> None:
            raise WouldWait

        def blocked(*given: object) -> int:
            self.assertEqual(given[-1], os.RWF_NOWAIT)  # otherwise it would wait for the disk
            raise BlockingIOError

        request = get(READ + b"f", AUTH)
        before = os.listdir("/proc/self/fd")
        for target, name, fake in (
            (self.secret.current, "read_at_once", would_wait),
            (self.store, "open_descriptor_at_once", would_wait),
            (os, "preadv", blocked),
        ):
            patch = self.patch(target, name, fake)
            caller = self.caller()
            fast = FastRead(self.context)
            connection: Any = caller.channel
            received = caller.site.fast_path.recognise(connection, request)
            self.assertFalse(fast.serve(received), name)
            self.assertEqual((caller.answers(), self.recorder.events), ([], []))
            patch.restore()
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_being_written(self) -> None:
        """A file that changes while it is read is left to the ordinary path."""
        preadv = os.preadv

        def meanwhile(fd: int, *arguments: Any) -> int:
            with open(self.top + b"/ws/f", "ab") as file:
                file.write(b"more")
            return preadv(fd, *arguments)

        caller = self.caller()
        connection: Any = caller.channel
        request = caller.site.fast_path.recognise(connection, get(READ + b"f", AUTH))
        self.secret.current.read_at_once()
        self.patch(os, "preadv", meanwhile)
        self.assertFalse(FastRead(self.context).serve(request))

    def test_bounded(self) -> None:
        """What is remembered is bounded in number and in size."""
        self.assertEqual(fast_read._asked.cache_info().maxsize, fast_read._TARGETS)
        self.assertEqual(fast_read._cached_lines.cache_info().maxsize, fast_read._VERSIONS)
