"""
Opens the file that a request names, after its secret was checked.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from chatfiles.errors import ReadFailed
from chatfiles.model import FileFacts
from chatfiles.posix.openat2 import WouldWait
from chatfiles.rules import file_headers
from chatfiles.rules.virtual_paths import ROOTS, VirtualPath, check_form
from chatfiles.workspace.files.open_file import OpenFile
from chatfiles.workspace.inbound_secrets import require_secret
from chatfiles.workspace.routes.context import WorkspaceContext
from chatfiles.workspace.secret_file import SECRET_OWNER

__all__ = ["SMALL_FILE", "Found", "Query", "find", "owner_of", "small_content"]

Query = dict[bytes, list[bytes]]

#: Bytes of the largest file that is read when it is opened, and sent together with the headers.
SMALL_FILE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """
    The file that a request names.

    :param content: all of it, in one version, if it is small and a download asked for it.
    """

    path: VirtualPath
    file: OpenFile
    content: bytes | None


async def find(
    context: WorkspaceContext, presented: str | None, query: Query, *, is_download: bool = True
) -> Found:
    """
    Check the secret, then the parameters, then open the file; without a thread if the kernel has it
    in memory.

    :param presented: the secret that the request presents; ``None`` if there is none.
    :param query: of its target.
    :param is_download: whether it is for the bytes of the file.
    :return: the file, to be closed with `OpenFile.release`.
    :raise chatfiles.errors.ChatfilesError: the secret is wrong, or there is no such file; see
        `IFileStore.open <chatfiles.workspace.files.interface.IFileStore.open>`.
    """
    opening = partial(_find, context, presented, query, is_download)
    with suppress(WouldWait):
        return opening(at_once=True)
    owner = owner_of(query)
    return await context.threads.run(
        partial(opening, at_once=False),
        owner=owner,
        discard=lambda late: late.file.release(context.threads.run, owner),
    )


def _find(
    context: WorkspaceContext,
    presented: str | None,
    query: Query,
    is_download: bool,
    *,
    at_once: bool,
) -> Found:
    require_secret(context.secret, presented, at_once=at_once)
    path = check_form(query.get(b"path", []))
    if is_download:
        file_headers.wants_inline(query.get(b"disposition", []))
    file = context.store.open_at_once(path) if at_once else context.store.open(path)
    if not is_download:
        return Found(path, file, None)
    try:
        flags = os.RWF_NOWAIT if at_once else 0
        content = small_content(file.fd, file.facts, flags)
        return Found(path, file, None if content is None else bytes(content))
    except BaseException:
        file.close()
        raise


def owner_of(query: Query) -> Hashable:
    """:return: the owner whose threads the request uses: the root of its path."""
    path = query.get(b"path", [b""])[0]
    root = b"/" + path[1:].partition(b"/")[0]
    return root if root in ROOTS else SECRET_OWNER  # such a request reads only the secret


def small_content(fd: int, facts: FileFacts, flags: int) -> bytearray | None:
    """
    :param fd: an open file.
    :param facts: its `FileFacts` when it was opened.
    :param flags: flags of ``preadv2``.
    :return: all bytes of a small file, in one version; ``None`` if the file must be sent with a
        `FileSource`.
    :raise ReadFailed: an I/O error.
    """
    size = facts.size
    if size > SMALL_FILE:
        return None
    content = bytearray(size)
    try:
        count = os.preadv(fd, [content], 0, flags)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EOPNOTSUPP):
            return None
        raise ReadFailed from error
    # If the file is shorter, or its time has changed, it is being written.
    whole = count == size and FileFacts.of(os.fstat(fd)) == facts
    return content if whole else None
