"""
A workspace with a writable prefix, for tests.
"""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.conditional_requests import WriteConditions
from chatfiles.rules.virtual_paths import check_form
from chatfiles.rules.writable_prefixes import WritablePrefixes
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.files.write_targets import Targets
from chatfiles.workspace.publication.publisher import Published, Publisher
from chatfiles.workspace.publication.unpublished_file import UnnamedFiles

__all__ = ["WritingCase"]

NONE = WriteConditions()


class WritingCase(SynchronousTestCase):
    """
    ``/workspace/out`` is writable; ``/workspace/out/secret`` is denied; ``/configs`` is at
    ``configs`` in the same directory.
    """

    now_ns = 1 << 62

    def setUp(self) -> None:
        self.root = os.path.realpath(self.mktemp())
        os.makedirs(self.at("out"))
        self.write("configs/.auth_token", b"token")
        roots: dict[bytes, str | bytes] = {
            b"/workspace": self.root,
            b"/configs": self.at("configs"),
        }
        deny = DenyRules(
            [b"/workspace/out/secret/**", b"/workspace/out/holder/*/key", b"/**/.never"]
        )
        self.store = FileStore(roots, deny, [self.at("configs/.auth_token")])
        self.addCleanup(self.store.close)
        self.prefixes = WritablePrefixes([b"/workspace/out"])
        self.targets = Targets(self.store, self.prefixes)
        self.store.is_available(b"/workspace")  # opens what stays open
        self.publisher = Publisher(lambda: self.now_ns)
        self.files = UnnamedFiles()

    def at(self, path: str) -> str:
        return os.path.join(self.root, path)

    def write(self, path: str, content: bytes) -> None:
        os.makedirs(os.path.dirname(self.at(path)), exist_ok=True)
        with open(self.at(path), "wb") as file:
            file.write(content)

    def read(self, path: str) -> bytes:
        with open(self.at(path), "rb") as file:
            return file.read()

    def descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))

    def umask(self) -> int:
        now = os.umask(0)
        os.umask(now)
        return now

    def publish(
        self,
        path: str,
        content: bytes,
        conditions: WriteConditions = NONE,
        mode: int | None = None,
    ) -> Published:
        with self.targets.open(check_form([b"/workspace/" + path.encode()])) as target:
            file = self.files.new_file(target.directory_fd)
            try:
                file.write(content)
                file.complete()
                return self.publisher.publish(target, file, conditions, mode)
            finally:
                file.close()
