"""
Fetches one file of a tree, unless it is there already.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import replace

from chatfiles.cli.errors import CliError, local_error, untrusted
from chatfiles.cli.exit_status import Exit
from chatfiles.cli.http.client import Client
from chatfiles.cli.listing.entry import visible
from chatfiles.cli.listing.requests import look_at
from chatfiles.cli.transfers.digests import ask_digest
from chatfiles.cli.transfers.download import Download
from chatfiles.cli.transfers.file import FileTransfer, TransferOptions
from chatfiles.cli.transfers.local_place import Place
from chatfiles.cli.transfers.output_file import Attributes
from chatfiles.cli.transfers.retries import DEFAULT_RETRIES
from chatfiles.cli.transfers.tree.local_tree import LocalTree
from chatfiles.cli.transfers.tree.plan import Item
from chatfiles.cli.transfers.tree.progress import FileProgress, TreeProgress, Unseen

__all__ = ["Fetch"]

#: Maximum bytes of one read.
BLOCK = 1024 * 1024
_SECOND = 10**9
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Fetch:
    """
    Fetches files of one tree.  Several threads may call it.

    :param workspace: its id.
    :param path: the virtual path of the tree.
    :param tree: the directory into which the files are saved.
    :param mode: the permissions of a file whose own ones are not known.
    """

    def __init__(
        self,
        client: Client,
        workspace: str,
        path: bytes,
        tree: LocalTree,
        progress: TreeProgress,
        options: TransferOptions,
        mode: int,
    ) -> None:
        self._client = client
        self._workspace = workspace
        self._path = path
        self._tree = tree
        self._progress = progress
        self._mode = mode
        # The listing has shown that the platform is there: a failure is likely to pass.
        retries = DEFAULT_RETRIES if options.retries is None else options.retries
        self._options = replace(options, retries=retries)

    def fetch(self, item: Item) -> bool:
        """
        Save a file with its permissions and its time.

        :return: whether it was fetched; ``False`` if an equal one was there.
        :raise CliError: it was not saved; the message begins with its path.
        """
        self._progress.stop.check()
        progress = FileProgress(self._progress, visible(item.path), item.size)
        try:
            with self._tree.place(item.segments) as place:
                if self._is_there(item, place):
                    return False
                self._save(item, place, progress)
                return True
        except CliError as error:
            raise error if error.exit_code > 128 else error.about(visible(item.path)) from error
        finally:
            progress.finish()

    def _save(self, item: Item, place: Place, progress: FileProgress) -> None:
        path = self._path + b"/" + item.path
        transfer = FileTransfer(self._client, self._workspace, path, place.label, self._options)
        transfer.save(
            place,
            progress,
            Unseen(self._progress.stop),
            lambda _: None,
            lambda download: self._attributes(self._fresh(item, path, download)),
        )

    def _fresh(self, item: Item, path: bytes, download: Download) -> Item:
        """
        :return: *item*, or what the version is that was received if it is another one.
        :raise CliError: a listing contradicts the download of the same version.
        """
        if item.etag is None or _same(item.etag, download.etag):
            _check_size(item, download)
            return item
        try:
            entry = look_at(self._client, self._workspace, path)
        except CliError:
            return replace(item, mtime_ns=None)
        if entry.kind != "file" or not entry.etag or not _same(entry.etag, download.etag):
            return replace(item, mtime_ns=None)
        known = Item.of(entry, item.path)
        _check_size(known, download)
        return known

    def _attributes(self, item: Item) -> Attributes:
        return Attributes(self._mode if item.mode is None else item.mode, item.mtime_ns)

    def _is_there(self, item: Item, place: Place) -> bool:
        """
        :return: whether an equal file is there, which now has the attributes of *item*.
        :raise CliError: another one is there that must not be replaced.
        """
        try:
            there = place.status()
        except OSError:  # missing, or not accessible: creating the file reports which
            return False
        if not stat.S_ISREG(there.st_mode):
            return False  # saving reports it
        if self._is_equal(item, place, there):
            self._restore(item, place, there)
            return True
        if not self._options.force:
            raise CliError(
                f"{place.label} exists and differs",
                Exit.LOCAL,
                hint="--force replaces files that differ",
            )
        return False

    def _is_equal(self, item: Item, place: Place, there: os.stat_result) -> bool:
        if there.st_size != item.size:
            return False
        if not self._options.verify:
            return item.mtime_ns is not None and _same_time(there.st_mtime_ns, item.mtime_ns)
        path, unseen = self._path + b"/" + item.path, Unseen(self._progress.stop)
        return ask_digest(self._client, self._workspace, path, unseen) == self._digest(place)

    def _digest(self, place: Place) -> str:
        digest = hashlib.sha256()
        try:
            with open(place.open(_READ), "rb", buffering=0) as file:
                while block := file.read(BLOCK):
                    self._progress.stop.check()
                    digest.update(block)
        except OSError as error:
            raise local_error(f"cannot read {place.label}", error) from error
        return digest.hexdigest()

    def _restore(self, item: Item, place: Place, there: os.stat_result) -> None:
        attributes = self._attributes(item)
        if item.mode in (None, stat.S_IMODE(there.st_mode)) and not self._options.verify:
            return
        try:
            with open(place.open(_READ), "rb", buffering=0) as file:
                attributes.apply(file.fileno())
        except OSError as error:
            raise local_error(f"cannot change {place.label}", error) from error


def _same(one: str, other: str) -> bool:
    """:return: whether two validators are of the same version; one may be weak yet."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def _check_size(item: Item, download: Download) -> None:
    """:raise CliError: what was received of this version has not the size in the listing."""
    if download.strong_etag and download.received != item.size:
        raise untrusted(f"{download.received} bytes came of a file that is listed with {item.size}")


def _same_time(here: int, there: int) -> bool:
    """:return: whether a file system that keeps no fractions may have made *here* of *there*."""
    return here == there or (here % _SECOND == 0 and here == there - there % _SECOND)
