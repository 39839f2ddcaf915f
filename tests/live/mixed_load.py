"""
A client that uses all operations on files, in any order, and knows what each response has to be.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import random
import socket
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Collection
from ssl import SSLEOFError
from typing import NamedTuple

from tests.live.rawhttp import Connection, Incomplete, Response
from tests.live.upload_client import FORM, file, form

__all__ = ["MixedLoad", "Place"]

SIZES = (0, 1, 5_000, 200_000, 3 << 20)
MEMBERS = 12
#: Takes the place of what is sent if a connection is closed, so that its other end sees a reset.
RESET = struct.pack("ii", 1, 0)
#: The errors that a fault outside the platform may cause.
FAULTS = {
    "workspace_unreachable": 502,
    "workspace_timeout": 504,
    "platform_unavailable": 503,
}
#: The same for a resumable upload: what was sent before a fault may arrive after it.
LATE = {"offset_mismatch": 409, "upload_locked": 423}
TUS = {"Tus-Resumable": "1.0.0"}


class Refused(Exception):
    """A fault has refused a request."""


class Place(NamedTuple):
    """
    A workspace.

    :param directory: where ``/workspace`` is.
    """

    id: str
    token: str
    directory: str

    def fill(self, chance: random.Random) -> None:
        """Write files that no other workspace has."""
        os.makedirs(self.path("small"))
        os.makedirs(self.path("out"))
        names = [f"{size}.bin" for size in SIZES]
        names += [f"small/{number}.bin" for number in range(MEMBERS)]
        for name in names:
            with open(self.path(name), "wb") as opened:
                opened.write(chance.randbytes(int(name[:-4]) if "/" not in name else 300))

    def path(self, name: str) -> str:
        """:return: a path on this machine."""
        return os.path.join(self.directory, name)

    def read(self, name: str) -> bytes:
        """:return: the content of a file."""
        with open(self.path(name), "rb") as opened:
            return opened.read()


class MixedLoad:
    """
    Requests of one client, each on a connection of its own.  A call sends one.

    :param connect: connects to the platform.
    :param secrets: what no error may contain.
    :ivar right: how many responses were right, by operation.
    :ivar refused: how many were refused by a fault, by code, and how many ``cut``.
    :ivar streak: how many were right since the last one that was not.
    """

    def __init__(
        self,
        place: Place,
        connect: Callable[[], Connection],
        secrets: Collection[str],
        chance: random.Random,
    ) -> None:
        self.right: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.streak = 0
        self._place = place
        self._connect = connect
        self._secrets = secrets
        self._chance = chance
        self._bearer = {"Authorization": f"Bearer {place.token}", "Connection": "close"}
        self._left: list[tuple[str, bytes]] = []
        self._content = {f"{size}.bin": place.read(f"{size}.bin") for size in SIZES}
        names = [f"small/{number}.bin" for number in range(MEMBERS)]
        self._small = {name: place.read(name) for name in names}

    def __call__(self) -> str | None:
        """
        :return: what was wrong, if anything was.
        :raise OSError: the platform does not let clients connect.
        """
        operation = self._chance.choice(OPERATIONS)
        with self._connect() as connection:
            try:
                operation(self, connection)
            except (AssertionError, zipfile.BadZipFile, KeyError) as error:
                return f"{operation.__name__}: {error!r}"
            except Refused as error:
                self._note(str(error))
            except (Incomplete, ConnectionError, SSLEOFError):
                self._note("cut")
            else:
                self.right[operation.__name__] += 1
                self.streak += 1
        return None

    def _note(self, code: str) -> None:
        self.refused[code] += 1
        self.streak = 0

    # -- the operations

    def download(self, connection: Connection) -> None:
        """A whole file."""
        name = self._name()
        answer = connection.exchange("GET", self._download(name), self._bearer)
        self._same(self._served(answer).body, self._content[name])

    def part(self, connection: Connection) -> None:
        """A part of a file."""
        name = self._name(SIZES[1:])
        content = self._content[name]
        first = self._chance.randrange(len(content))
        last = self._chance.randrange(first, len(content))
        fields = {**self._bearer, "Range": f"bytes={first}-{last}"}
        answer = connection.exchange("GET", self._download(name), fields)
        self._same(self._served(answer, 206).body, content[first : last + 1])

    def leave(self, connection: Connection) -> None:
        """A client that leaves before the end."""
        name = self._name(SIZES[-1:])
        connection.ask("GET", self._download(name), self._bearer)
        answer = connection.answer()
        if answer.head.status != 200:
            answer.head.body = answer.rest()
        self._served(answer.head)
        taken = self._chance.randrange(SIZES[-1])
        self._same(answer.exactly(taken), self._content[name][:taken])
        if self._chance.random() < 0.5:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def upload(self, connection: Connection) -> None:
        """A file, which is stored whole."""
        content = self._chance.randbytes(self._chance.choice(SIZES[:-1]))
        target = f"/workspaces/{self._place.id}/chat/uploads"
        with contextlib.suppress(ConnectionError, SSLEOFError):  # an error may have arrived
            connection.ask("POST", target, {**self._bearer, **FORM}, form(file(content)))
        (stored,) = self._served(connection.response("POST")).json["files"]
        self._same(stored["sha256"], hashlib.sha256(content).hexdigest())
        name = stored["uri"].removeprefix("workspace:/workspace/")
        self._same(self._place.read(name), content)
        os.unlink(self._place.path(name))

    def listing(self, connection: Connection) -> None:
        """A directory."""
        answer = self._ask(connection, "entries?path=/workspace/small")
        found = {entry["name"]: entry["size"] for entry in answer.json["entries"]}
        self._same(found, {name[6:]: len(content) for name, content in self._small.items()})

    def archive(self, connection: Connection) -> None:
        """A directory as a zip."""
        answer = self._ask(connection, "archive?path=/workspace/small")
        with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
            for name, content in self._small.items():
                self._same(archive.read(name), content)

    def digest(self, connection: Connection) -> None:
        """The digest of a file."""
        name = self._name()
        answer = self._ask(connection, f"digest?path=/workspace/{name}")
        self._same(answer.json["sha256"], hashlib.sha256(self._content[name]).hexdigest())

    def write(self, connection: Connection) -> None:
        """A file at a path, which is stored whole or not at all, and deleted."""
        content = self._chance.randbytes(self._chance.choice(SIZES[:-1]))
        name = f"out/{self._chance.randbytes(8).hex()}"
        target = f"/workspaces/{self._place.id}/fs/file?path=/workspace/{name}"
        try:
            with contextlib.suppress(ConnectionError, SSLEOFError):  # an error may have arrived
                connection.ask("PUT", target, self._bearer, content)
            self._served(connection.response("PUT"), 201)
            self._same(self._place.read(name), content)
            self._again("DELETE", target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                self._same(self._place.read(name), content)
                os.unlink(self._place.path(name))

    def resume(self, connection: Connection) -> None:
        """A resumable upload in two chunks, or the rest of one that a fault has interrupted."""
        if self._left:
            target, content = self._left.pop()
        else:
            content = self._chance.randbytes(self._chance.choice(SIZES[1:-1]))
            fields = {**self._bearer, **TUS, "Upload-Length": str(len(content))}
            uploads = f"/workspaces/{self._place.id}/uploads"
            answer = self._served(connection.exchange("POST", uploads, fields, b""), 201)
            target = answer["location"]
        try:
            name = self._complete(target, content)
        except (Refused, Incomplete, ConnectionError, SSLEOFError):
            self._left.append((target, content))
            raise
        self._same(self._place.read(name), content)
        os.unlink(self._place.path(name))
        self._again("DELETE", target)

    def _complete(self, target: str, content: bytes) -> str:
        """
        Send chunks until an upload is complete.

        :return: the name of the file.
        """
        sent = 0
        while True:
            head = self._again("HEAD", target)
            offset = int(head["upload-offset"])
            assert sent <= offset <= len(content), f"{offset} of {len(content)} after {sent}"
            if offset == len(content):
                digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
                self._same(head["repr-digest"], f"sha-256=:{digest}:")
                return head["chatfiles-uri"].removeprefix("workspace:/workspace/")
            half = len(content) // 2
            chunk = content[offset : half if offset < half else None]
            self._again("PATCH", target, offset, chunk)
            sent = offset + len(chunk)

    def _again(
        self, method: str, target: str, offset: int | None = None, body: bytes | None = None
    ) -> Response:
        """:return: the response to a request on another connection."""
        fields = {**self._bearer, **TUS}
        if offset is not None:
            fields["Upload-Offset"] = str(offset)
            fields["Content-Type"] = "application/offset+octet-stream"
        with self._connect() as connection:
            with contextlib.suppress(ConnectionError, SSLEOFError):  # an error may have arrived
                connection.ask(method, target, fields, body)
            answer = connection.response(method)
        if method == "HEAD" and answer.status != 200:  # without a body
            codes = {status: code for code, status in {**FAULTS, **LATE}.items()}
            assert answer.status in codes, answer.status
            raise Refused(codes[answer.status])
        return self._served(answer, 200 if method == "HEAD" else 204)

    # -- what they share

    def _name(self, sizes: Collection[int] = SIZES) -> str:
        return f"{self._chance.choice(list(sizes))}.bin"

    def _download(self, name: str) -> str:
        return f"/workspaces/{self._place.id}/chat/download?path=/workspace/{name}"

    def _ask(self, connection: Connection, operation: str) -> Response:
        target = f"/workspaces/{self._place.id}/fs/{operation}"
        return self._served(connection.exchange("GET", target, self._bearer))

    def _served(self, answer: Response, status: int = 200) -> Response:
        """:raise Refused: the response is an error that a fault may cause."""
        if answer.status == status:
            return answer
        text = answer.body.decode()
        assert not [secret for secret in self._secrets if secret in text], text
        known = {**FAULTS, **LATE}
        assert answer.status == known.get(answer.json["code"]), f"{answer.status} {text}"
        raise Refused(answer.json["code"])

    def _same(self, found: object, expected: object) -> None:
        assert found == expected, f"{str(found)[:60]} instead of {str(expected)[:60]}"


OPERATIONS = (
    MixedLoad.download,
    MixedLoad.part,
    MixedLoad.leave,
    MixedLoad.upload,
    MixedLoad.listing,
    MixedLoad.archive,
    MixedLoad.digest,
    MixedLoad.write,
    MixedLoad.resume,
)
