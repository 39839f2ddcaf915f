"""
What an interrupted download needs to continue, as the last bytes of its ``.part`` file.

The file holds the bytes that were received, then a JSON object, its length and its seal.  The seal
is an HMAC with the token of the download as its key.  Without it, the content of a workspace could
pass for an interrupted download of another file: a user may save any content under any name.
"""

from __future__ import annotations

import hmac
import json
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass

__all__ = ["TAIL_LIMIT", "PartialRecord", "Seal", "Version", "append_record", "read_record"]

#: Maximum bytes of a record: a path has at most 4096 bytes, which may be percent-encoded.
TAIL_LIMIT = 64 * 1024

_MAGIC = b"\nchatfiles-part1\n"
_FOOTER = struct.Struct(f">I32s{len(_MAGIC)}s")

#: Returns the HMAC-SHA256 of some bytes.
Seal = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Version:
    """
    One version of a file.

    :param etag: its strong validator, with the quotation marks.
    :param total: its length in bytes.
    """

    etag: str
    total: int


@dataclass(frozen=True)
class PartialRecord:
    """
    An interrupted download.

    :param source: the URL of the file.
    :param etag: see `Version`.
    :param total: see `Version`.
    :param size: how many bytes were received.
    :param sha256: their digest, in hexadecimal digits.
    """

    source: str
    etag: str
    total: int
    size: int
    sha256: str

    @property
    def version(self) -> Version:
        """The version of the file that the bytes belong to."""
        return Version(self.etag, self.total)


def append_record(record: PartialRecord, seal: Seal) -> bytes:
    """:return: the bytes that follow the content in a ``.part`` file."""
    text = json.dumps(asdict(record)).encode("ascii")
    return text + _FOOTER.pack(len(text), seal(text), _MAGIC)


def read_record(tail: bytes, length: int, seal: Seal) -> tuple[PartialRecord | None, bool]:
    """
    :param tail: the last `TAIL_LIMIT` bytes of a file, or all of them.
    :param length: the length of the file.
    :return: the record, if the file has one with a valid seal; whether it has the form of a
        ``.part`` file at all, with any seal.
    """
    if len(tail) < _FOOTER.size:
        return None, False
    size, mac, magic = _FOOTER.unpack(tail[-_FOOTER.size :])
    if magic != _MAGIC or size > len(tail) - _FOOTER.size:
        return None, False
    text = tail[-_FOOTER.size - size : -_FOOTER.size]
    if not hmac.compare_digest(seal(text), mac):
        return None, True
    record = PartialRecord(**json.loads(text))  # only this module writes what is sealed
    return (record if record.size == length - size - _FOOTER.size else None), True
