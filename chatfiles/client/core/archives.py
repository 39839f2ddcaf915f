"""
Downloads files and directories as one archive.  An archive cannot be resumed: a retry begins from
the start (reference/archives).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import PurePosixPath

from chatfiles.client.core.answers import refusal
from chatfiles.client.core.context import Context
from chatfiles.client.core.downloads import place
from chatfiles.client.core.errors import ClientError, Incomplete
from chatfiles.client.core.names import VirtualPath, path_bytes, reference
from chatfiles.client.core.progress import Callback
from chatfiles.client.core.steps import Receive, Request, Send, Steps, local
from chatfiles.client.core.values import Manifest
from chatfiles.client.core.versions import check_whole
from chatfiles.client.core.writes import post_json
from chatfiles.client.local.archive_manifest import read_manifest
from chatfiles.client.local.part_file import PartFile

__all__ = ["FORMATS", "archive", "archive_request"]

#: The formats of archives.
FORMATS = ("zip", "tar", "tar.gz")


def archive(
    context: Context,
    paths: VirtualPath | Iterable[VirtualPath],
    to: str | os.PathLike[str],
    *,
    form: str,
    progress: Callback | None,
) -> Steps[Manifest]:
    """:return: the operation ``archive``."""
    if form not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}")
    several = [paths] if isinstance(paths, str | bytes | PurePosixPath) else list(paths)
    raw = [path_bytes(path) for path in several]
    if not raw:
        raise ValueError("an archive needs at least one path")
    return _Archive(context, raw, form, progress).run(to)


def archive_request(context: Context, paths: Sequence[bytes], form: str) -> Request:
    """:return: the request for an archive of *paths*, at least one."""
    if len(paths) == 1:
        return Request("GET", context.route("fs/archive", paths[0], format=form))
    refs = [{"ref": reference(path)} for path in paths]
    return post_json(context.route("fs/archive"), {"paths": refs, "format": form})


class _Archive:
    def __init__(
        self, context: Context, paths: list[bytes], form: str, progress: Callback | None
    ) -> None:
        self._context = context
        self._format = form
        self._progress = context.progress(progress)
        self._name = f"{_top(paths)}.{form}"
        self._request = archive_request(context, paths, form)

    def run(self, to: str | os.PathLike[str]) -> Steps[Manifest]:
        target = yield from local(partial(place, to, self._name))
        part = PartFile(target)
        try:
            yield from self._receive(part)
            manifest = yield from local(partial(self._manifest, part))
            yield from local(part.publish)
        finally:
            part.remove()
        return manifest

    def _receive(self, part: PartFile) -> Steps[None]:
        retries = self._context.new_retries()
        while True:
            try:
                return (yield from self._attempt(part))
            except ClientError as error:
                if not self._request.repeatable:
                    raise
                yield from retries.again(error)

    def _attempt(self, part: PartFile) -> Steps[None]:
        done = 0
        with (yield Send(self._request)) as response:
            if response.status != 200:
                raise (yield from refusal(response, self._context.now()))
            check_whole(response)
            yield from local(partial(part.begin, None, continues=False))
            self._progress.restart()
            try:
                while piece := (yield Receive(response)):
                    yield from local(partial(part.write, piece))
                    done += len(piece)
                    self._progress.at(done, None)
            except Incomplete as error:
                error.done, error.total = done, None
                raise
        self._progress.end(done)

    def _manifest(self, part: PartFile) -> Manifest:
        with part.reopen() as file:
            return read_manifest(file, self._format)


def _top(paths: list[bytes]) -> str:
    """:return: the name of the archive's only directory: the deepest one that holds all paths."""
    top = os.path.commonpath([path.rstrip(b"/") or b"/" for path in paths])
    return os.fsdecode(os.path.basename(top)) or "files"
