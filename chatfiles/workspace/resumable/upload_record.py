"""
What the workspace remembers of a resumable upload, besides its partial file.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from chatfiles.rules.conditional_requests import WriteConditions
from chatfiles.rules.entry_json import ref_of
from chatfiles.rules.query import decode_query_value
from chatfiles.rules.upload_metadata import Metadata, encode_metadata, parse_metadata
from chatfiles.rules.virtual_paths import VirtualPath, check_form
from chatfiles.workspace.publication.leftovers import PREFIX, RECORD
from chatfiles.workspace.uploads.ingestion import URI_PREFIX
from chatfiles.workspace.uploads.safe_names import safe_name

__all__ = ["RECORD_NAME", "Record", "chat_name", "partial_name", "record_name", "uri_of"]

#: The name of a record; the group is the id of its upload.
RECORD_NAME = re.compile(re.escape(PREFIX) + "([0-9a-f]{32})" + re.escape(RECORD))


def partial_name(upload_id: str) -> str:
    """:return: the name of the partial file."""
    return PREFIX + upload_id


def record_name(upload_id: str) -> str:
    """:return: the name of the record."""
    return f"{PREFIX}{upload_id}{RECORD}"


@dataclass(frozen=True, slots=True)
class Record:
    """
    :param id: 32 hexadecimal digits.
    :param length: bytes of the whole file; ``None`` while it is not known.
    :param metadata: that the client gave.
    :param path: where the file will be; ``None`` for an upload to the chat.
    :param conditions: of the creation.
    :param in_place: whether the file system of the path cannot rename, so that the partial file
        is elsewhere.
    :param verified: the offset behind which a chunk with a checksum is being written; ``None`` if
        all bytes count.
    :param sha256: of the whole file, 64 hexadecimal digits, once it is being published.
    :param inode: of the complete file, as ``st_dev`` and ``st_ino``, once it is being published.
    :param finished: whether the file is published.
    """

    id: str
    length: int | None
    metadata: Metadata
    path: VirtualPath | None = None
    conditions: WriteConditions = field(default_factory=WriteConditions)
    in_place: bool = False
    verified: int | None = None
    sha256: str | None = None
    inode: tuple[int, int] | None = None
    finished: bool = False

    def encode(self) -> bytes:
        """:return: the content of its file."""
        conditions = self.conditions
        lists = (conditions.if_match, conditions.if_none_match, conditions.if_unmodified_since)
        value: dict[str, Any] = {
            "length": self.length,
            "metadata": encode_metadata(self.metadata.values.items()).decode("ascii"),
            "ref": None if self.path is None else ref_of(self.path.raw),
            "conditions": [[each.decode("latin-1") for each in values] for values in lists],
            "in_place": self.in_place,
            "verified": self.verified,
            "sha256": self.sha256,
            "inode": self.inode,
            "finished": self.finished,
        }
        return json.dumps(value).encode("ascii")

    @classmethod
    def decode(cls, upload_id: str, content: bytes) -> Record:
        """
        :param content: of its file.  The agent of the workspace can write anything into it.
        :return: the record.
        :raise ValueError: the content is not a record.
        """
        try:
            return _record(upload_id, json.loads(content))
        except ValueError:
            raise
        except Exception as error:
            raise ValueError("not a record") from error


def _record(upload_id: str, value: Any) -> Record:
    ref, inode = value["ref"], value["inode"]
    conditions = (tuple(each.encode("latin-1") for each in lines) for lines in value["conditions"])
    return Record(
        upload_id,
        _number(value["length"]),
        parse_metadata([value["metadata"].encode("ascii")]),
        None if ref is None else check_form([decode_query_value(ref.encode("ascii"))]),
        WriteConditions(*conditions),
        bool(value["in_place"]),
        _number(value["verified"]),
        None if value["sha256"] is None else bytes.fromhex(value["sha256"]).hex(),
        None if inode is None else (int(inode[0]), int(inode[1])),
        bool(value["finished"]),
    )


def _number(value: Any) -> int | None:
    if value is None or (type(value) is int and 0 <= value < 1 << 62):
        return value
    raise ValueError("not a number")


def chat_name(record: Record) -> str:
    """:return: the name of a file that is uploaded to the chat (reference/uploads, "Names")."""
    return f"{record.id}-{safe_name(record.metadata.filename)}"


def uri_of(record: Record) -> str:
    """:return: the URI of a finished file, percent-encoded."""
    if record.path is None:
        return URI_PREFIX + chat_name(record)
    return "workspace:" + ref_of(record.path.raw)
