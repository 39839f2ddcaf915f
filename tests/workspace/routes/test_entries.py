"""
``/internal/fs/roots`` and ``/internal/fs/entries`` over a socket.
"""

from __future__ import annotations

import gc
import json
import operator
import os
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.threadable import isInIOThread
from twisted.trial.unittest import TestCase

from chatfiles.errors import ReadFailed, Unavailable
from chatfiles.http.server.disconnect import CHECK_INTERVAL
from chatfiles.rules.entry_json import encode_cursor
from chatfiles.runtime.threads import Threads
from chatfiles.streams.peer_state import PeerState, peer_state
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.open_directory import Found, OpenDirectory
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.inbound_secrets import InboundSecrets
from chatfiles.workspace.listing import lines as lines_module
from chatfiles.workspace.routes import entries as entries_module
from chatfiles.workspace.routes.context import MOST_STREAMS
from chatfiles.workspace.routes.ingest import IngestContext
from chatfiles.workspace.routes.read import WorkspaceContext
from chatfiles.workspace.routes.route_table import workspace_tree
from chatfiles.workspace.uploads.ingestion import IngestLimits
from chatfiles.workspace.uploads.upload_directory import UploadDirectory
from tests.contract.file_store import Kind, Symlink, build, scratch
from tests.support.descriptors import open_below
from tests.support.loopback import Loopback, reset_on_close, until
from tests.support.memory_client import Received, parse

NDJSON = b"Accept: application/x-ndjson\r\n"
ENTRIES = b"/internal/fs/entries?path=/workspace"


class _Case(TestCase):
    most = 50

    def setUp(self) -> None:
        self.top = scratch(self)
        build(
            self.top,
            {
                b"ws/d/a": b"a",
                b"ws/d/b": b"bb",
                b"ws/d/sub/c": b"ccc",
                b"ws/fifo": Kind.FIFO,
                b"ws/link": Symlink(b"d"),
                b"configs/secret": b"abc",
            },
        )
        os.chmod(self.top + b"/configs/secret", 0o600)
        self.clock = Clock()
        self.threads = Threads(reactor, "listing", 6, per_owner=2)
        self.threads.start()
        self.addCleanup(self.threads.stop)
        self.addCleanup(self.threads.settled)
        secret = InboundSecrets(self.top + b"/configs/secret")
        self.store = FileStore(
            {b"/workspace": self.top + b"/ws", b"/configs": self.top + b"/configs"},
            DenyRules(),
            [secret.current.path],
        )
        self.addCleanup(self.store.close)
        uploads = UploadDirectory(lambda: self.store.open_root(b"/workspace"))
        self.context = WorkspaceContext(
            self.store, secret, self.threads, self.clock, 60.0, max_list_entries=self.most
        )
        ingest = IngestContext(uploads, IngestLimits(1, 1), secret, self.threads)
        tree = workspace_tree(self.context, ingest)
        self.caller = Loopback(self, reactor, tree, receive_buffer=16 * 1024)

    async def get(
        self,
        target: bytes,
        more: bytes = b"",
        *,
        method: bytes = b"GET",
        version: bytes = b"HTTP/1.1",
        credential: bytes = b"Authorization: Bearer abc\r\n",
    ) -> Received:
        """:return: the response."""
        self.caller.data = b""
        line = b"%b %b %b\r\nHost: x\r\n" % (method, target, version)
        await self.caller.send(line + credential + more + b"\r\n")
        head = method == b"HEAD"

        def done(data: bytes) -> bool:
            return [each.complete for each in parse(data, head=head)] == [True]

        await self.caller.read(done)
        (answer,) = parse(self.caller.data, head=head)
        return answer

    async def lines(self, target: bytes) -> list[Any]:
        """:return: the lines of a stream, parsed."""
        answer = await self.get(target, NDJSON)
        self.assertEqual((answer.status, answer.complete), (200, True))
        return [json.loads(line) for line in answer.body.splitlines()]

    async def refused(self, target: bytes, more: bytes = b"") -> tuple[int, str, str]:
        """:return: status, text and code of an error."""
        answer = await self.get(target, more)
        return answer.status, answer.json["error"], answer.json["code"]


class EntriesTests(_Case):
    """``entries``."""

    async def test_page(self) -> None:
        """A page, with its headers."""
        answer = await self.get(ENTRIES + b"/d")
        self.assertEqual(answer.status, 200)
        self.assertEqual([each["name"] for each in answer.json["entries"]], ["a", "b", "sub"])
        self.assertEqual([each.get("size") for each in answer.json["entries"]], [1, 2, None])
        self.assertNotIn("next", answer.json)
        for name, value in (
            ("content-type", "application/json"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("content-length", str(len(answer.body))),
        ):
            self.assertEqual(answer.fields[name], value)
        self.assertNotIn("etag", answer.fields)

    async def test_cursor(self) -> None:
        """``next`` leads to the next page."""
        first = (await self.get(ENTRIES + b"/d&limit=2")).json
        self.assertEqual(first["next"], encode_cursor(b"b"))
        after = first["next"].encode()
        second = (await self.get(ENTRIES + b"/d&limit=2&after=" + after)).json
        self.assertEqual([each["name"] for each in second["entries"]], ["sub"])
        self.assertNotIn("next", second)

    async def test_one(self) -> None:
        """Depth 0 describes what the path names, whatever it is."""
        for name, kind in ((b"/d", "directory"), (b"/d/a", "file"), (b"/link", "symlink")):
            answer = (await self.get(ENTRIES + name + b"&depth=0")).json
            self.assertEqual(list(answer), ["path", "ref", "entry"])
            self.assertEqual(answer["path"], "/workspace" + name.decode())
            self.assertEqual(answer["entry"]["type"], kind)
            self.assertEqual(answer["entry"]["ref"], answer["ref"])
        self.assertEqual(
            (await self.get(ENTRIES + b"/fifo&depth=0")).json["entry"]["type"], "other"
        )
        self.assertEqual((await self.get(ENTRIES + b"&depth=0")).json["entry"]["name"], "workspace")

    async def test_etag(self) -> None:
        """The validator of a file is the one of its download."""
        for age_ns in (0, 5 * 10**9):
            times = os.stat(self.top + b"/ws/d/a").st_mtime_ns - age_ns
            os.utime(self.top + b"/ws/d/a", ns=(times, times))
            page = (await self.get(ENTRIES + b"/d")).json["entries"][0]
            one = (await self.get(ENTRIES + b"/d/a&depth=0")).json["entry"]
            file = await self.get(b"/internal/file/read?path=/workspace/d/a", method=b"HEAD")
            if age_ns:
                self.assertEqual(page["etag"], file.fields["etag"])
                self.assertEqual(one["etag"], file.fields["etag"])
            self.assertEqual(page["media_type"], file.fields["content-type"])

    async def test_stream(self) -> None:
        """A stream, with its headers."""
        answer = await self.get(ENTRIES + b"&depth=infinity", NDJSON)
        self.assertEqual(answer.fields["content-type"], "application/x-ndjson")
        self.assertEqual(answer.fields["transfer-encoding"], "chunked")
        self.assertEqual(answer.fields["cache-control"], "no-store")
        *found, end = [json.loads(line) for line in answer.body.splitlines()]
        self.assertEqual(end, {"end": True, "entries": 7, "complete": True})
        self.assertEqual(
            {each["parent"] for each in found if each["name"] == "c"}, {"/workspace/d/sub"}
        )

    async def test_stream_depths(self) -> None:
        """Depth 0 and 1 have no parents; the default is 1."""
        for more, count in ((b"&depth=0", 1), (b"", 3), (b"&depth=1", 3)):
            *found, end = await self.lines(ENTRIES + b"/d" + more)
            self.assertEqual((len(found), end["complete"]), (count, True))
            self.assertFalse([each for each in found if "parent" in each])
        *found, _ = await self.lines(ENTRIES + b"/d&depth=2")
        self.assertEqual(len([each for each in found if "parent" in each]), 4)

    async def test_limit_of_a_stream(self) -> None:
        """``--max-list-entries`` is for streams; ``limit`` is not."""
        build(self.top, {b"ws/many/%d" % number: b"" for number in range(self.most + 1)})
        *found, end = await self.lines(ENTRIES + b"/many&limit=1")
        self.assertEqual((len(found), end["reason"]), (self.most, "too_many_entries"))
        page = (await self.get(ENTRIES + b"/many")).json
        self.assertEqual(len(page["entries"]), self.most + 1)

    async def test_large_page(self) -> None:
        """A page of several parts is one body of the announced length."""
        build(self.top, {b"ws/many/" + b"n" * 200 + b"%d" % n: b"" for n in range(300)})
        answer = await self.get(ENTRIES + b"/many")
        self.assertGreater(len(answer.body), 2 * lines_module.PART_BYTES)
        self.assertEqual(len(answer.json["entries"]), 300)

    async def test_head(self) -> None:
        """HEAD is GET without the body."""
        for target, more in (
            (ENTRIES + b"/d", b""),
            (ENTRIES + b"/d&depth=0", b""),
            (ENTRIES + b"/d", NDJSON),
            (ENTRIES + b"/none", b""),
            (b"/internal/fs/roots", b""),
        ):
            got = await self.get(target, more)
            head = await self.get(target, more, method=b"HEAD")
            self.assertEqual((head.status, head.body), (got.status, b""))
            skipped = {"transfer-encoding", "date", "x-request-id"}
            skipped |= {"content-length"} if got.status == 404 else set()
            for name in set(got.fields) - skipped:
                self.assertEqual(head.fields[name], got.fields[name], name)

    async def test_http_1_0(self) -> None:
        """HTTP/1.0 has pages, but no streams."""
        answer = await self.get(ENTRIES + b"/d", version=b"HTTP/1.0")
        self.assertEqual((answer.status, len(answer.json["entries"])), (200, 3))

    async def test_stream_http_1_0(self) -> None:
        """A stream is 505."""
        answer = await self.get(ENTRIES + b"/d", NDJSON, version=b"HTTP/1.0")
        self.assertEqual((answer.status, answer.json["code"]), (505, "version_not_supported"))
        self.assertEqual(answer.json["error"], "this can be had with HTTP/1.1 only")

    async def test_stream_head_http_1_0(self) -> None:
        """The headers of a stream need no chunks."""
        answer = await self.get(ENTRIES + b"/d", NDJSON, version=b"HTTP/1.0", method=b"HEAD")
        self.assertEqual(answer.status, 200)
        self.assertNotIn("transfer-encoding", answer.fields)

    async def test_refusals(self) -> None:
        """The table of the reference, for both forms."""
        missing = (404, "file not found", "file_not_found")
        no_directory = (400, "path is not a directory", "not_a_directory")
        no_file = (400, "path is not a regular file", "not_a_regular_file")
        for name, page, one in (
            (b"/none", missing, missing),
            (b"/d/a/x", missing, missing),
            (b"/d/a", no_directory, None),
            (b"/fifo", no_directory, None),
            (b"/link", no_directory, None),
            (b"/link/a", no_directory, no_file),
            (b"/.chatfiles-part-1", missing, missing),
        ):
            self.assertEqual(await self.refused(ENTRIES + name), page, name)
            self.assertEqual(await self.refused(ENTRIES + name, NDJSON), page, name)
            if one is not None:
                self.assertEqual(await self.refused(ENTRIES + name + b"&depth=0"), one, name)
                self.assertEqual(
                    await self.refused(ENTRIES + name + b"&depth=0", NDJSON), one, name
                )
        self.assertEqual((await self.refused(b"/internal/fs/entries?path=/home"))[0], 404)

    async def test_parameters(self) -> None:
        """Malformed parameters are 400, in the order of the table, behind the credential."""
        for query, code in (
            (b"", "path_required"),
            (b"?path=/workspace&depth=x&limit=x", "invalid_depth"),
            (b"?path=/workspace&depth=2", "stream_required"),
            (b"?path=/workspace&limit=0&after=!", "invalid_limit"),
            (b"?path=/workspace&after=!", "invalid_after"),
        ):
            self.assertEqual(
                (await self.refused(b"/internal/fs/entries" + query))[::2], (400, code)
            )
        for target in (b"/internal/fs/entries?depth=x", b"/internal/fs/roots"):
            answer = await self.get(target, credential=b"")
            self.assertEqual((answer.status, answer.json["error"]), (401, "unauthorized"))

    async def test_root_gone(self) -> None:
        """A root whose directory is gone is 500, and 200 ``available: false`` among the roots."""
        await self.get(ENTRIES)
        os.rename(self.top + b"/ws", self.top + b"/gone")
        for more in (b"", b"&depth=0"):
            self.assertEqual((await self.refused(ENTRIES + more))[:2], (500, "read failed"))
        roots = (await self.get(b"/internal/fs/roots")).json["roots"]
        self.assertEqual([each["available"] for each in roots], [True, False])

    async def test_error_in_the_first_part(self) -> None:
        """An error before anything was sent is an error response, also for a stream."""

        def fails(_: OpenDirectory, name: bytes) -> Found:
            raise ReadFailed

        self.patch(OpenDirectory, "look", fails)
        for more in (b"", NDJSON):
            self.assertEqual((await self.refused(ENTRIES, more))[0], 500)

    async def test_error_later(self) -> None:
        """After the first part an error interrupts the stream: no end line, no last chunk."""
        self.patch(lines_module, "PART_BYTES", 1)
        look, looked = OpenDirectory.look, 0

        def fails(directory: OpenDirectory, name: bytes) -> Found | None:
            nonlocal looked
            looked += 1
            if looked == 3:
                raise ReadFailed
            return look(directory, name)

        self.patch(OpenDirectory, "look", fails)
        await self.caller.send(
            b"GET %b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer abc\r\n%b\r\n" % (ENTRIES, NDJSON)
        )
        await self.caller.read_to_end()
        (answer,) = parse(self.caller.data)
        self.assertFalse(answer.complete)
        self.assertNotIn(b'"end"', answer.body)
        await until(reactor, lambda: not self.caller.site.running)

    async def test_off_the_reactor(self) -> None:
        """Directories are opened, read and closed in threads."""
        in_reactor: list[str] = []

        def spied(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **more: Any) -> Any:
                if isInIOThread() and arguments[0].fd >= 0:  # not when it is garbage-collected
                    in_reactor.append(name)
                return function(*arguments, **more)

            return call

        for name in ("names", "look", "close", "open_directory"):
            self.patch(OpenDirectory, name, spied(name, getattr(OpenDirectory, name)))
        for more in (b"", NDJSON):
            await self.get(ENTRIES, more)
        await self.threads.settled()
        self.assertEqual(in_reactor, [])


class RootsTests(_Case):
    """``roots``."""

    async def test_roots(self) -> None:
        """Every configured root, in a fixed order."""
        answer = await self.get(b"/internal/fs/roots")
        self.assertEqual(
            answer.json,
            {
                "roots": [
                    {"path": "/configs", "available": True, "writable": []},
                    {"path": "/workspace", "available": True, "writable": []},
                ]
            },
        )
        self.assertEqual(answer.fields["cache-control"], "no-store")

    async def test_lack_of_resources(self) -> None:
        """503 if the role lacks descriptors, also for several roots; no error is left unhandled."""

        def lacks(_: FileStore, root: bytes) -> bool:
            raise Unavailable(retry_after=1)

        self.patch(FileStore, "is_available", lacks)
        answer = await self.get(b"/internal/fs/roots")
        self.assertEqual((answer.status, answer.fields["retry-after"]), (503, "1"))
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_one_hangs(self) -> None:
        """A root that hangs is not available, and the others are."""
        hangs, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)
        is_available = FileStore.is_available

        def slow(store: FileStore, root: bytes) -> bool:
            if root == b"/workspace":
                hangs.set()
                go.wait()
            return is_available(store, root)

        self.patch(FileStore, "is_available", slow)
        getting = Deferred.fromCoroutine(self.get(b"/internal/fs/roots"))
        await until(reactor, hangs.is_set)
        await self.threads.run(int, owner=b"/configs")
        self.clock.advance(entries_module.ROOT_TIMEOUT)
        roots = (await getting).json["roots"]
        self.assertEqual([each["available"] for each in roots], [True, False])


class BoundTests(_Case):
    """How many streams over several levels run at once."""

    most = 10_000

    async def test_too_many(self) -> None:
        """One more is refused; lists of one directory are not, and the end of a stream frees it."""
        slots = self.context.listings
        with ExitStack() as taken:
            for _ in range(MOST_STREAMS):
                taken.enter_context(slots.one(AssertionError()))
            answer = await self.get(ENTRIES + b"&depth=infinity", NDJSON)
            self.assertEqual((answer.status, answer.json["code"]), (503, "too_many_listings"))
            self.assertEqual(answer.json["error"], "too many listings at once")
            self.assertEqual(answer.fields["retry-after"], "5")
            for more in (b"", b"&depth=0", b"&depth=1"):
                self.assertEqual((await self.get(ENTRIES + more, NDJSON)).status, 200)
        for _ in range(MOST_STREAMS + 1):
            self.assertEqual((await self.get(ENTRIES + b"&depth=2", NDJSON)).status, 200)


class ProxyTests(_Case):
    """A platform that closes its sending side has given up."""

    @staticmethod
    def is_running(caller: Loopback) -> bool:
        return caller.site.running > 0

    @staticmethod
    def is_gone(caller: Loopback) -> bool:
        caller.clock.advance(CHECK_INTERVAL)
        return not caller.site.channels

    @staticmethod
    def has_half_closed(transport: Any) -> bool:
        return peer_state(transport) is PeerState.HALF_CLOSED

    async def test_fin(self) -> None:
        """What it asked for ends, whatever it is; other clients may half-close and wait."""
        go = threading.Event()
        self.addCleanup(go.set)
        for _ in range(2):  # all threads of the root
            ignored = self.threads.run(go.wait, owner=b"/workspace")
            ignored.addErrback(lambda _: None)
        for target in (
            ENTRIES,
            b"/internal/fs/archive?path=/workspace",
            b"/internal/fs/digest?path=/workspace/d/a",
        ):
            for via in (b"Via: 1.1 platform\r\n", b""):
                caller = Loopback(self, reactor, self.caller.site.resource)
                line = b"GET %b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer abc\r\n" % target
                await caller.send(line + via + b"\r\n")
                await until(reactor, partial(self.is_running, caller))
                caller.socket.shutdown(socket.SHUT_WR)
                transport = caller.transport
                await until(reactor, partial(self.has_half_closed, transport))
                if via:
                    await until(reactor, partial(self.is_gone, caller))
                caller.clock.pump([CHECK_INTERVAL] * 5)
                self.assertEqual(len(caller.site.channels), not via, (target, via))
                reset_on_close(caller.socket)
                caller.socket.close()


class LeavingTests(_Case):
    """Clients that leave in the middle."""

    async def test_leaves_in_a_step(self) -> None:
        """
        If the client leaves while a thread looks at entries, the directory is closed when the
        thread has returned.
        """
        looking, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)
        look = OpenDirectory.look
        numbers: list[int] = []

        def slow(directory: OpenDirectory, name: bytes) -> Found | None:
            numbers.append(directory.fd)
            looking.set()
            go.wait()
            return look(directory, name)

        for more in (b"", NDJSON):
            self.patch(OpenDirectory, "look", slow)
            looking.clear()
            go.clear()
            caller = Loopback(self, reactor, self.caller.site.resource)
            line = b"GET %b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer abc\r\n" % ENTRIES
            await caller.send(line + more + b"\r\n")
            await until(reactor, looking.is_set)
            reset_on_close(caller.socket)
            caller.socket.close()
            channels = caller.site.channels
            await until(reactor, partial(operator.not_, channels))
            for _ in range(3):  # a close in a thread was queued before these
                await self.threads.run(int)
            os.fstat(numbers[-1])  # it is still open
            go.set()
            await self.threads.settled()
            self.assertNotIn(b"%d" % numbers[-1], open_below(self.top))

    async def test_leaves_while_opening(self) -> None:
        """If the client leaves while the directory is being opened, it is closed."""
        opening, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)
        opened: list[OpenDirectory] = []
        open_directory = FileStore.open_directory

        def slow(store: FileStore, path: Any) -> OpenDirectory:
            opening.set()
            go.wait()
            opened.append(open_directory(store, path))
            return opened[-1]

        self.patch(FileStore, "open_directory", slow)
        line = b"GET %b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer abc\r\n\r\n" % ENTRIES
        await self.caller.send(line)
        await until(reactor, opening.is_set)
        reset_on_close(self.caller.socket)
        self.caller.socket.close()
        await until(reactor, lambda: not self.caller.site.channels)
        go.set()
        await self.threads.settled()
        await until(reactor, lambda: opened and opened[0].fd == -1)
