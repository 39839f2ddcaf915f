"""
What the live tests of uploads share: forms, senders that notice a refusal, and the state of the
processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from chatfiles.testing.broken_upstreams import ServerConnection
from tests.live.pair import OnlyThrough
from tests.live.processes import LiveCase, Pair, Role, until
from tests.live.rawhttp import Connection, Fields, Response
from tests.support.patience import PATIENCE

__all__ = [
    "BOUNDARY",
    "END",
    "FORM",
    "KIB",
    "MIB",
    "UploadCase",
    "Way",
    "at_once",
    "consumed",
    "directory_of",
    "file",
    "form",
    "in_chunks",
    "in_the_making",
    "is_asked",
    "most_memory",
    "pace",
    "part",
    "push",
    "queued",
    "report",
    "take",
    "ways",
]

KIB, MIB = 1 << 10, 1 << 20
BOUNDARY = "chatfiles-live-boundary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
DELIMITER = b"--" + BOUNDARY.encode()
END = b"\r\n" + DELIMITER + b"--\r\n"

#: As in ``/proc/net/tcp``.
_CONNECTION = re.compile(r"\d+: \w+:(\w{4}) \w+:(\w{4}) \w+ (\w+):(\w+)")


def part(disposition: str, *headers: str) -> bytes:
    """:return: the delimiter and headers before the content of a part."""
    lines = [f"Content-Disposition: form-data; {disposition}", *headers, "", ""]
    return b"\r\n" + DELIMITER + b"\r\n" + "\r\n".join(lines).encode()


def file(content: bytes, name: str = "x.bin", *headers: str) -> bytes:
    """:return: a file part of a form, with the delimiter before it."""
    return part(f'name="files"; filename="{name}"', *headers) + content


def form(*parts: bytes) -> bytes:
    """:return: a whole form."""
    return b"".join(parts) + END


def in_chunks(data: bytes, size: int = 0, last: bool = True) -> bytes:
    """:return: *data* in the chunked coding, in chunks of *size* bytes or in one."""
    size = size or max(1, len(data))
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    text = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return text + (b"0\r\n\r\n" if last else b"")


class Way(NamedTuple):
    """One way to upload to the workspace."""

    name: str
    url: str
    target: str
    fields: dict[str, str]

    def connect(self, **more: Any) -> Connection:
        """:return: a connection to the first hop."""
        return Connection(self.url, **more)

    def begin(self, connection: Connection, length: int | None, more: Fields = ()) -> None:
        """Send the request line and the headers, which declare *length* or the chunked coding."""
        framing = (
            {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}
        )
        connection.ask("POST", self.target, {**FORM, **self.fields, **framing, **dict(more)})

    def send(self, body: bytes, more: Fields = (), *, length: int | None = -1) -> Response:
        """:return: the response to an upload, on a connection of its own."""
        with self.connect() as connection:
            self.begin(connection, len(body) if length == -1 else length, more)
            push(connection, [body])
            return connection.response("POST")


def ways(pair: Pair, workspace_id: str | None = None) -> list[Way]:
    """:return: the ways to the workspace directly, if there is one, and through the platform."""
    target = f"/workspaces/{workspace_id or pair.id}/chat/uploads"
    through = Way("through", pair.platform.url, target, pair.bearer)
    if pair.via == "nat":
        return OnlyThrough([through])
    route = "/internal/chat/uploads/ingest"
    return [Way("direct", pair.workspace.url, route, pair.inbound), through]


def push(connection: Connection, pieces: Iterable[bytes], most: int | None = None) -> int:
    """
    Send until all is sent or a response arrives, as a careful sender does.

    :param most: bytes to send at most.
    :return: how many bytes the kernel accepted.
    """
    sock, sent = connection.socket, 0
    sock.setblocking(False)
    try:
        for piece in pieces:
            view = memoryview(piece)
            while view and (most is None or sent < most):
                readable, writable, _ = select.select([sock], [sock], [], PATIENCE)
                if readable and not is_asked(sock):
                    return sent
                if not writable:
                    raise AssertionError(f"nothing happened for {PATIENCE} s after {sent} octets")
                try:
                    count = sock.send(view[: 64 * KIB])
                except ConnectionError:
                    return sent
                view, sent = view[count:], sent + count
        return sent
    finally:
        sock.settimeout(PATIENCE)


def is_asked(sock: socket.socket) -> bool:
    """:return: whether only ``100 Continue`` has arrived yet; it is read then."""
    asked = b"HTTP/1.1 100 Continue\r\n\r\n"
    with contextlib.suppress(ConnectionError):
        if sock.recv(len(asked), socket.MSG_PEEK) == asked:
            sock.recv(len(asked))
            return True
    return False


def take(peer: ServerConnection, octets: int) -> int:
    """:return: how many bytes a scripted workspace has read; 0 at the end of the connection."""
    if peer._buffer:
        count = min(octets, len(peer._buffer))
        peer._buffer = peer._buffer[count:]
        return count
    return len(peer._socket.recv(octets))


#: Rows of the kernel's TCP connections: ports here and there, bytes unacknowledged and unread.
Rows = list[list[int]]


def consumed(connection: Connection, sent: int, rows: Rows | None = None) -> int:
    """
    To be called before the other end has closed.

    :param sent: bytes that our kernel has accepted.
    :param rows: a result of `connections`; read now if not given.
    :return: how many of them the *process* at the other end has read: neither what is still in our
        kernel's buffer nor what is in its own.
    """
    here, there = connection.socket.getsockname()[1], connection.socket.getpeername()[1]
    for local, remote, unacknowledged, unread in connections() if rows is None else rows:
        if (local, remote) == (here, there):
            sent -= unacknowledged
        elif (local, remote) == (there, here):
            sent -= unread
    return sent


def queued(port: int, rows: Rows) -> int:
    """
    :param rows: a result of `connections`.
    :return: bytes in the kernel that are on their way to the process that listens there.
    """
    return sum(
        unacknowledged if remote == port else unread
        for local, remote, unacknowledged, unread in rows
        if port in (local, remote)
    )


def connections() -> Rows:
    """:return: all connections of this machine, as they are now."""
    with open("/proc/net/tcp") as table:
        found = _CONNECTION.findall(table.read())
    return [[int(number, 16) for number in row] for row in found]


def directory_of(pair: Pair) -> str:
    """:return: the directory of uploads."""
    return pair.at("workspace", ".molecule", "chat-uploads")


def in_the_making(pair: Pair, directory: str = "") -> dict[str, int]:
    """
    :param directory: of the files; that of uploads by default.
    :return: the files that the workspace is writing, and their sizes.
    """
    found, root = {}, f"/proc/{pair.workspace.pid}/fd"
    for fd in os.listdir(root):
        with contextlib.suppress(FileNotFoundError):
            name = os.readlink(f"{root}/{fd}")
            if name.startswith((directory or directory_of(pair)) + "/"):
                found[f"{fd} {name}"] = os.stat(f"{root}/{fd}").st_size
    return found


def most_memory(role: Role) -> int:
    """:return: the peak of its resident memory, in bytes."""
    with open(f"/proc/{role.pid}/status") as status:
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read())[0]) * KIB


def has_at_most(count: int, role: Role) -> bool:
    """:return: whether a role has so many connections, with those that it has not accepted yet."""
    return role.connections() <= count


class UploadCase(LiveCase):
    """Uploads to a pair, and the contents of its directory of uploads."""

    def setUp(self) -> None:
        super().setUp()
        roles = (self.pair.platform, self.pair.workspace)
        #: What each role keeps for later requests.
        self._kept = {role: role.connections() for role in roles}

    def ways(self) -> Iterator[Way]:
        """Yield both ways."""
        yield from ways(self.pair)

    @property
    def directory(self) -> str:
        """The directory of uploads."""
        return directory_of(self.pair)

    def names(self) -> list[str]:
        """:return: the names in it."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(os.listdir(self.directory))
        return []

    def content(self, name: str) -> bytes:
        """:return: the content of a file in it."""
        with open(os.path.join(self.directory, name), "rb") as opened:
            return opened.read()

    def in_the_making(self) -> dict[str, int]:
        """See `in_the_making`."""
        return in_the_making(self.pair)

    def wait_until_all_ended(self) -> None:
        """Wait until no client of this test is connected, and the workspace holds no upload."""
        for role, kept in self._kept.items():
            until(
                partial(has_at_most, kept, role), f"the {role.name} has at most {kept} connections"
            )
        until(self._is_released, "the workspace has released the directory of uploads")

    def _is_released(self) -> bool:
        # An upload holds the directory until it has published or withdrawn its files.
        opened = self.pair.workspace.descriptors()
        return not any(path.startswith(self.directory) for path in opened)

    def assert_nothing_is_left(self, before: list[str]) -> None:
        """The upload has left neither a file nor an open descriptor of one."""
        looks = 0  # not a clock, which may jump; waits for a disk do not count
        while (found := (self.in_the_making(), self.names())) != ({}, before) and looks < 3000:
            looks += not self.pair.workspace.waits_for_a_disk()
            time.sleep(0.01)
        logs = "".join(role.log[-2000:] for role in self.pair.roles)
        self.assertEqual(found, ({}, before), logs)

    def assert_stored(self, answer: Response, contents: list[bytes]) -> list[str]:
        """
        The response lists these files, and they are stored.

        :return: their names in the directory.
        """
        self.assertEqual(answer.status, 200, answer.body)
        entries = answer.json["files"]
        self.assertEqual([entry["size"] for entry in entries], [len(c) for c in contents])
        stored = []
        for entry, content in zip(entries, contents, strict=True):
            name = entry["uri"].rpartition("/")[2]
            self.assertEqual(entry["sha256"], hashlib.sha256(content).hexdigest())
            self.assertEqual(self.content(name), content)
            stored.append(name)
        return stored


def pace(octets: int, per_second: float) -> Iterator[int]:
    """Yield amounts whose sum is `octets`, at the rate of `per_second`."""
    began, done = time.monotonic(), 0
    step = max(1, int(per_second / 20))
    while done < octets:
        yield min(step, octets - done)
        done += step
        time.sleep(max(0.0, began + done / per_second - time.monotonic()))


def report(text: str) -> None:
    """Append a figure to the file that ``CHATFILES_FIGURES`` names, if any."""
    path = os.environ.get("CHATFILES_FIGURES")
    if path:
        with open(path, "a") as figures:
            figures.write(text + "\n")


def at_once(tasks: Sequence[Callable[[], object]]) -> None:
    """Run all of *tasks* at the same time."""
    errors: list[BaseException] = []

    def run(task: Callable[[], object]) -> None:
        try:
            task()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
