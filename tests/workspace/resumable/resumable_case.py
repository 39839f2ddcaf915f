"""
A workspace with resumable uploads in memory, for tests.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from chatfiles.rules.writable_prefixes import WritablePrefixes
from chatfiles.workspace.files.write_targets import Targets
from chatfiles.workspace.inbound_secrets import InboundSecrets
from chatfiles.workspace.publication.file_write import FileWrites
from chatfiles.workspace.resumable.locks import UploadLocks
from chatfiles.workspace.resumable.uploads import ResumableLimits, ResumableUploads
from chatfiles.workspace.routes.context import WorkspaceContext
from chatfiles.workspace.routes.ingest import IngestContext
from chatfiles.workspace.routes.resumable import ResumableContext
from chatfiles.workspace.routes.route_table import workspace_tree
from chatfiles.workspace.routes.write import WriteContext
from chatfiles.workspace.uploads.ingestion import IngestLimits
from chatfiles.workspace.uploads.upload_directory import UploadDirectory
from tests.support.memory_client import CHUNKED, Caller, Received, chunked, get
from tests.workspace.publication.writing_case import WritingCase

__all__ = ["LIMIT", "TYPE", "VERSION", "ResumableCase", "metadata"]

LIMIT, EXPIRY = 1000, 100.0
SECRET = b"Authorization: Bearer abc"
VERSION, TYPE = b"Tus-Resumable: 1.0.0", b"Content-Type: application/offset+octet-stream"
UPLOADS = ".molecule/chat-uploads"


def metadata(**values: bytes) -> bytes:
    """:return: the header line with these values."""
    items = (b"%b %b" % (key.encode(), base64.b64encode(each)) for key, each in values.items())
    return b"Upload-Metadata: " + b",".join(items)


class AtOnce:
    """In place of threads: each call returns before the next one begins."""

    def run(self, call: Callable[..., Any], *arguments: Any, **more: object) -> Deferred[Any]:
        return execute(call, *arguments)


class ResumableCase(WritingCase):
    """``/workspace/out`` and ``/workspace/fuse`` are writable, the latter in place."""

    seconds = 1_000_000.0

    def setUp(self) -> None:
        super().setUp()
        os.makedirs(self.at("fuse"))
        self.write("configs/secret", b"abc")
        os.chmod(self.at("configs/secret"), 0o600)
        self.prefixes = WritablePrefixes([b"/workspace/out"], [b"/workspace/fuse"])
        self.targets = Targets(self.store, self.prefixes)
        self.clock = Clock()
        self.restart()

    def restart(self) -> None:
        """The process ends and another one begins."""
        threads: Any = AtOnce()
        secret = InboundSecrets(self.at("configs/secret"))
        directory = UploadDirectory(partial(self.store.open_root, b"/workspace"))
        self.directory = directory
        limits = ResumableLimits(LIMIT, EXPIRY, 3)
        writes = FileWrites(self.targets, self.publisher, directory.open)
        self.uploads = ResumableUploads(
            directory, self.targets, self.publisher, limits, lambda: self.seconds
        )
        self.locks = UploadLocks(threads.run, self.clock)
        self.tree = workspace_tree(
            WorkspaceContext(self.store, secret, threads, Clock(), 60.0, prefixes=self.prefixes),
            IngestContext(directory, IngestLimits(1, 1), secret, threads),
            WriteContext(writes, LIMIT, threads),
            ResumableContext(self.uploads, self.locks, threads),
        )

    def caller(self, method: str, target: str, *lines: bytes) -> Caller:
        """:return: a client that has sent a request without its body."""
        caller = Caller(self.tree)
        return caller.send(get(target.encode(), SECRET, *lines, method=method.encode()))

    def ask(self, method: str, target: str, *lines: bytes, body: bytes | None = None) -> Received:
        framing = [b"Content-Length: %d" % len(body)] if body is not None else []
        caller = self.caller(method, target, VERSION, *framing, *lines)
        caller.send(body or b"")
        return caller.answers(head=method == "HEAD")[-1]

    def post(self, *lines: bytes, body: bytes | None = None, query: str = "") -> Received:
        return self.ask("POST", "/internal/uploads" + query, *lines, body=body)

    def created(self, length: int, *lines: bytes, query: str = "") -> str:
        """:return: the target of a new upload."""
        answer = self.post(b"Upload-Length: %d" % length, *lines, query=query)
        self.assertEqual(answer.status, 201, answer.body)
        return answer.fields["location"]

    def patch(self, target: str, offset: int, body: bytes, *lines: bytes) -> Received:
        return self.ask("PATCH", target, TYPE, b"Upload-Offset: %d" % offset, *lines, body=body)

    def patch_chunked(self, target: str, offset: int, *pieces: bytes) -> Received:
        lines = (VERSION, TYPE, b"Upload-Offset: %d" % offset, CHUNKED)
        return self.caller("PATCH", target, *lines).send(chunked(*pieces)).answers()[-1]

    def head(self, target: str) -> Received:
        return self.ask("HEAD", target)

    def offset(self, target: str) -> int:
        return int(self.head(target).fields["upload-offset"])

    def refused(self, answer: Received) -> tuple[int, str]:
        return answer.status, answer.json["code"] if answer.status >= 400 else ""

    def names(self, path: str = UPLOADS) -> list[str]:
        return sorted(os.listdir(self.at(path)))

    def partial(self, target: str, path: str = UPLOADS) -> str:
        return self.at(f"{path}/.chatfiles-part-{target[-32:]}")
