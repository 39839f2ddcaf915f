"""
Workspaces as a file system of ``fsspec``, for pandas, pyarrow, DuckDB, dask and others
(howto/python, "Data frames").

Paths are ``<workspace id>/workspace/x.parquet``, with or without ``chatfiles://``.  They are taken
as they are: nothing is percent-decoded.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractBufferedFile
from fsspec.utils import isfilelike

from chatfiles.client.blocking.client import Client
from chatfiles.client.core.errors import (
    BadAnswer,
    Changed,
    NotFound,
    PreconditionFailed,
    Refused,
)
from chatfiles.client.core.listing import MAX_DEPTH, roots
from chatfiles.client.core.sinks import MEMORY_LIMIT
from chatfiles.client.core.values import Entry
from chatfiles.client.core.versions import is_strong

__all__ = ["ChatfilesFile", "ChatfilesFileSystem"]

#: Seconds for which the validator of a file that was modified is weak (reference/downloads).
YOUNG = 1.1

_TYPES = {"file": "file", "directory": "directory", "symlink": "link"}


class ChatfilesFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec is not typed
    """
    Workspaces of one platform.

    :param base_url: of the platform; by default that of the environment.
    :param token: a token, or the `Path` of a file with it; by default that of the environment.  It
        is not part of ``repr`` and ``to_json``.  A file system that was given the text of a token
        cannot be pickled.
    :param options: further parameters of `chatfiles.client.Client`, and of `AbstractFileSystem`.
    """

    protocol = "chatfiles"
    root_marker = ""

    def __init__(
        self,
        base_url: str | None = None,
        token: str | Path | None = None,
        **options: Any,
    ) -> None:
        names = ("ca", "connect_timeout", "idle_timeout", "retries", "trust_env")
        given = {name: options.pop(name) for name in names if name in options}
        super().__init__(**options)
        given |= {} if base_url is None else {"base_url": base_url}
        self._given = given | ({} if token is None else {"token": token})
        self._clients: dict[str, Client] = {}

    # -- which client

    def client(self, workspace: str) -> Client:
        """
        :param workspace: its id.
        :return: the client that this file system uses for it.
        """
        if workspace not in self._clients:
            self._clients[workspace] = Client.from_environment(workspace=workspace, **self._given)
        return self._clients[workspace]

    def _find(self, path: str) -> tuple[Client, str]:
        """:return: the client, and the virtual path; it is ``/`` for a workspace itself."""
        workspace, _, rest = self._strip_protocol(path).partition("/")
        return self.client(workspace), f"/{rest}"

    def _is_secret(self) -> bool:
        """:return: whether the parameters contain a token."""
        return len(self.storage_args) > 1 or isinstance(self.storage_options.get("token"), str)

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """:return: what another process needs to make this file system, but no token."""
        value: dict[str, Any] = super().to_dict(include_password=include_password)
        value["args"] = value["args"][:1]
        if isinstance(value.get("token"), str):
            del value["token"]
        return value

    def __reduce__(self) -> Any:
        if self._is_secret():
            raise TypeError("a token is not pickled: give it by the environment, or as a Path")
        return super().__reduce__()

    # -- what is there

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """:return: the entry of *path*; symlinks are not followed."""
        client, virtual = self._find(path)
        if virtual == "/":
            return {"name": self._strip_protocol(path), "size": 0, "type": "directory"}
        return self._entry(path, client.stat(virtual))

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """:return: the entries of a directory, or that of a file."""
        client, virtual = self._find(path)
        workspace = self._strip_protocol(path).partition("/")[0]
        if virtual == "/":
            found = client._driver.run(roots(client._context))
            entries = [{"name": workspace + each, "size": 0, "type": "directory"} for each in found]
        else:
            entries = self._list(path, client, virtual)
        return entries if detail else [entry["name"] for entry in entries]

    def _list(self, path: str, client: Client, virtual: str) -> list[dict[str, Any]]:
        try:
            return [self._entry(path, entry) for entry in client.list(virtual)]
        except Refused as error:
            if error.code != "not_a_directory":
                raise
            return [self._entry(path, client.stat(virtual))]

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **kwargs: Any,
    ) -> Any:
        """:return: all files below *path*, with one request."""
        client, virtual = self._find(path)
        if virtual == "/":
            return super().find(path, maxdepth, withdirs, detail, **kwargs)
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        found = {}
        top = self.info(path) if self.exists(path) else {"type": "missing"}
        if top["type"] == "directory":
            depth = min(maxdepth or MAX_DEPTH, MAX_DEPTH)
            for each in client.walk(virtual, depth=depth):
                entry = self._entry(path, each)
                if withdirs or entry["type"] != "directory":
                    found[entry["name"]] = entry
        if top["type"] == "file" or (withdirs and top["type"] == "directory"):
            found[top["name"]] = top
        names = sorted(found)
        return {name: found[name] for name in names} if detail else names

    def exists(self, path: str, **kwargs: Any) -> bool:
        """
        :return: whether there is something.
        :raise ClientError: it could not be found out.
        """
        try:
            self.info(path)
        except (Refused, ValueError) as error:
            if isinstance(error, Refused) and error.status not in (400, 404):
                raise
            return False
        return True

    def checksum(self, path: str) -> int:
        """:return: the SHA-256 of a file, as a number; the workspace computes it."""
        client, virtual = self._find(path)
        return int(client.digest(virtual).sha256, 16)

    def ukey(self, path: str) -> str:
        """:return: a text that changes with the content of a file."""
        entry = self.info(path)
        facts = f"{entry['name']}\0{entry.get('etag')}\0{entry['size']}\0{entry.get('mtime')}"
        return hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()

    def modified(self, path: str) -> datetime:
        """:return: when a file was modified."""
        moment = self.info(path).get("mtime")
        if moment is None:
            raise FileNotFoundError(path)
        assert isinstance(moment, datetime)
        return moment

    def created(self, path: str) -> datetime:
        """:return: as `modified`: a workspace does not say when a file was created."""
        return self.modified(path)

    def _entry(self, path: str, entry: Entry) -> dict[str, Any]:
        workspace = self._strip_protocol(path).partition("/")[0]
        return {
            "name": workspace + entry.path,
            "size": entry.size or 0,
            "type": _TYPES.get(entry.type, "other"),
            "mtime": entry.mtime,
            "etag": entry.etag,
        }

    # -- content

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> ChatfilesFile:
        if mode != "rb":
            raise NotImplementedError("files are opened for reading only; use put_file, pipe_file")
        return ChatfilesFile(
            self, path, mode, block_size or "default", cache_options=cache_options, **kwargs
        )

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any
    ) -> bytes:
        """:return: a file, or a part of it, which are one version."""
        is_suffix = start is not None and start < 0 and end is None
        is_slice = (start or 0) >= 0 and end is not None and end >= 0
        if (is_slice and (end or 0) - (start or 0) <= MEMORY_LIMIT) or is_suffix:
            client, virtual = self._find(path)
            return client.read(virtual, start, end)
        return bytes(super().cat_file(path, start, end, **kwargs))

    def get_file(
        self,
        rpath: str,
        lpath: Any = None,
        callback: Any = DEFAULT_CALLBACK,
        outfile: Any = None,
        **kwargs: Any,
    ) -> None:
        """Download a file; what an interrupted call has left is continued."""
        target = outfile or lpath
        if not isfilelike(target):
            if self.isdir(rpath):
                os.makedirs(target, exist_ok=True)
                return
            os.makedirs(os.path.dirname(os.fspath(target)) or ".", exist_ok=True)
        client, virtual = self._find(rpath)
        client.download(virtual, target, progress=_reporter(callback))

    # -- changes

    def put_file(
        self,
        lpath: Any,
        rpath: str,
        callback: Any = DEFAULT_CALLBACK,
        mode: str = "overwrite",
        **kwargs: Any,
    ) -> None:
        """Upload a file to a path; ``mode="create"`` replaces nothing."""
        if os.path.isdir(lpath):
            self.makedirs(rpath, exist_ok=True)
            return
        self._put(rpath, lambda: lpath, mode, _reporter(callback))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write *value* to a path; ``mode="create"`` replaces nothing."""
        self._put(path, lambda: io.BytesIO(value), mode, None)

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """Write an empty file; without *truncate*, only if there is none."""
        if truncate or not self.exists(path):
            self.pipe_file(path, b"", "overwrite" if truncate else "create")

    def _put(
        self, path: str, source: Callable[[], Any], mode: str, progress: Callable[..., Any] | None
    ) -> None:
        client, virtual = self._find(path)
        options: Any = {"to": virtual, "if_absent": mode == "create", "progress": progress}
        try:
            client.upload(source(), **options)
        except PreconditionFailed as error:
            raise FileExistsError(path) from error
        except NotFound as error:
            if error.code != "parent_not_found":
                raise
            client.mkdir(os.path.dirname(virtual), parents=True)
            client.upload(source(), **options)

    def rm_file(self, path: str) -> None:
        """Delete a file or a symlink."""
        client, virtual = self._find(path)
        client.delete(virtual)

    def rmdir(self, path: str) -> None:
        """Delete an empty directory."""
        client, virtual = self._find(path)
        client.delete(virtual, directory=True)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Delete files, and with *recursive* directories too."""
        for each in reversed(self.expand_path(path, recursive=recursive, maxdepth=maxdepth)):
            (self.rmdir if recursive and self.isdir(each) else self.rm_file)(each)

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """Create a directory."""
        client, virtual = self._find(path)
        client.mkdir(virtual, parents=create_parents)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Create a directory and those above it."""
        if not exist_ok and self.exists(path):
            raise FileExistsError(path)
        self.mkdir(path)

    def mv(
        self,
        path1: str,
        path2: str,
        recursive: bool = False,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Rename a file or directory.

        :raise ValueError: the paths are in different workspaces.
        """
        client, source = self._find(path1)
        other, target = self._find(path2)
        if client is not other:
            raise ValueError("a file cannot be moved to another workspace")
        client.move(source, target, overwrite=True)


class ChatfilesFile(AbstractBufferedFile):  # type: ignore[misc]
    """
    One version of a file, open for reading.

    :raise Changed: the file has changed since it was opened; raised by reads.
    """

    #: Bytes that are read at once, unless the program chooses another number.
    DEFAULT_BLOCK_SIZE = 5 * 2**20

    def __init__(self, fs: ChatfilesFileSystem, path: str, *args: Any, **kwargs: Any) -> None:
        self._client, self._virtual = fs._find(path)
        entry = self._client.stat(self._virtual)
        if entry.type != "file":
            raise (
                IsADirectoryError(path)
                if entry.type == "directory"
                else BadAnswer(f"it is no file: {path}")
            )
        self._etag = entry.etag
        kwargs["size"] = entry.size
        super().__init__(fs, path, *args, **kwargs)
        self.details = fs._entry(path, entry)

    def _fetch_range(self, start: int, end: int) -> bytes:
        steps = range(start, end, MEMORY_LIMIT)
        return b"".join(self._fetch(first, min(first + MEMORY_LIMIT, end)) for first in steps)

    def _fetch(self, start: int, end: int) -> bytes:
        if not is_strong(self._etag):
            self._etag = self._settled()
        try:
            return self._client.read(self._virtual, start, end, if_match=self._etag)
        except PreconditionFailed as error:
            raise Changed("the file has changed since it was opened") from error

    def _settled(self) -> str:
        """
        Wait until the file is a second old: its validator is weak before that.

        :raise Changed: it has changed.
        """
        opened = self._etag or ""
        self._client._driver.pause(YOUNG)
        now = self._client.stat(self._virtual)
        if not is_strong(now.etag) or opened.removeprefix("W/") != now.etag:
            raise Changed("the file is changing, so that no version of it can be read")
        return str(now.etag)


def _reporter(callback: Any) -> Callable[[int, int | None], None]:
    """:return: what passes the progress to a callback of fsspec."""

    def report(done: int, total: int | None) -> None:
        if total is not None:
            callback.set_size(total)
        callback.absolute_update(done)

    return report
