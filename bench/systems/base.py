"""
What every system under test offers.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from bench.certificate import Certificate
from bench.processes import Server
from bench.sender import Upload
from bench.target import Target

__all__ = ["Listings", "Place", "Start", "System", "Unavailable", "Uploads"]


class Unavailable(Exception):
    """A system cannot be measured here; the text says why."""


@dataclass(frozen=True, slots=True)
class Place:
    """
    Where systems run.

    :param files: the directory that they serve; its files are those of `bench.files`.
    :param scratch: a directory for what they write.
    :param certificate: of the listeners with TLS.
    """

    files: str
    scratch: str
    certificate: Certificate

    def directory(self, name: str) -> str:
        """:return: a new directory below `scratch`, whose name begins with *name*."""
        path = tempfile.mkdtemp(prefix=re.sub(r"[^\w.-]+", "_", name), dir=self.scratch)
        os.chmod(path, 0o755)
        return path


@dataclass(frozen=True, slots=True)
class Uploads:
    """
    Where a system takes uploads.

    :param wrap: makes an upload of so many bytes.
    :param directory: where the files are then.
    :param resumable: makes a resumable upload of so many bytes, if the system offers it.
    """

    port: int
    wrap: Callable[[int], Upload]
    directory: str
    resumable: Callable[[int], Upload] | None = None


@dataclass(frozen=True, slots=True)
class Listings:
    """
    Where a system lists directories.

    :param target: makes the target of a listing from its query.
    :param directory: what it serves as ``/workspace``.
    """

    target: Callable[[str], Target]
    directory: str


@dataclass(frozen=True, slots=True)
class System:
    """
    A running system.

    :param servers: its processes by their role, the front first.
    :param file: makes the target of a download from the name of a file.
    :param tls_file: the same through TLS, if the system offers it.
    :param uploads: where it takes uploads, if it does.
    :param archive: makes the target of an archive from the name of a folder and the format, or
        ``None`` if there is no such format.
    :param listings: where it lists directories, if it does.
    """

    name: str
    servers: Mapping[str, Server]
    file: Callable[[str], Target]
    tls_file: Callable[[str], Target] | None = None
    uploads: Uploads | None = None
    archive: Callable[[str, str], Target | None] | None = None
    listings: Listings | None = None

    def cpu_seconds(self) -> dict[str, float]:
        """:return: the CPU time of each server."""
        return {role: server.cpu_seconds() for role, server in self.servers.items()}

    def memory(self) -> dict[str, int]:
        """:return: the resident bytes of each server."""
        return {role: server.memory() for role, server in self.servers.items()}


#: Starts a system that ends with the stack; raises `Unavailable`.
Start = Callable[[Place, ExitStack], System]
