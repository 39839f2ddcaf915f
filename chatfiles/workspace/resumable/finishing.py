"""
Publishes a complete resumable upload.

The record says beforehand which file is being published, so that an upload whose process was killed
behind the publication is recognized as finished.
"""

from __future__ import annotations

import os
from contextlib import suppress

from chatfiles.errors import DigestMismatch
from chatfiles.workspace.publication.in_place_file import copy_in_place
from chatfiles.workspace.publication.publisher import Publisher
from chatfiles.workspace.resumable.open_upload import OpenUpload
from chatfiles.workspace.resumable.upload_record import chat_name, partial_name

__all__ = ["prepare", "publish"]


def prepare(upload: OpenUpload, sha256: bytes, now: float) -> None:
    """
    Check the digest of a complete file, and remember that it is being published.

    :param sha256: of the file.
    :param now: seconds since the epoch.
    :raise DigestMismatch: 422, it is not what the client announced; the upload is removed.
    :raise OSError: the file could not be flushed.
    """
    assert upload.file is not None
    expected = upload.record.metadata.sha256
    if expected is not None and expected != sha256:
        upload.remove()
        raise DigestMismatch(expected, sha256)
    upload.file.complete()
    facts = os.fstat(upload.file.fd)
    upload.save(now, sha256=sha256.hex(), inode=(facts.st_dev, facts.st_ino))


def publish(upload: OpenUpload, publisher: Publisher, now: float) -> None:
    """
    Publish a prepared file, and mark the record.

    :param now: seconds since the epoch.
    :raise ChatfilesError: a condition of the creation does not hold, or something else has the
        name.
    :raise OSError: the file could not be published.
    """
    assert upload.file is not None
    if upload.target is None:
        upload.file.publish(chat_name(upload.record))
        os.fsync(upload.uploads_fd)
    elif upload.record.in_place:
        copy_in_place(publisher, upload.target, upload.file.fd, upload.record.conditions)
    else:
        publisher.publish(upload.target, upload.file, upload.record.conditions)
    upload.save(now, finished=True)
    if upload.record.in_place:
        with suppress(FileNotFoundError):
            os.unlink(partial_name(upload.record.id), dir_fd=upload.uploads_fd)
