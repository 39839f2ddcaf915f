"""
Other parsers of multipart forms, and what each finds in a form.
"""

from __future__ import annotations

import asyncio
import email
from collections.abc import Callable

from aiohttp import BodyPartReader, StreamReader
from aiohttp import MultipartReader as AiohttpReader
from aiohttp.base_protocol import BaseProtocol
from multipart import MultipartSegment, PushMultipartParser
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from chatfiles.errors import BadRequest
from chatfiles.rules.multipart_reader import FileBegins, MultipartReader

__all__ = ["OTHERS", "Files", "found_by", "ours"]

#: The names and contents of the files of a form, in order.
Files = list[tuple[str, bytes]]
Parser = Callable[[bytes, str], Files]


def ours(body: bytes, boundary: str) -> Files | None:
    """:return: the files that our parser finds; ``None`` if it refuses the form."""
    reader, files = MultipartReader(boundary), Files()
    try:
        events = [*reader.feed(body), *reader.finish()]
    except BadRequest:
        return None
    for event in events:
        if isinstance(event, FileBegins):
            files.append((event.given.name, b""))
        else:
            _append(files, event.data)
    return files


def found_by(parser: str, body: bytes, boundary: str) -> Files | None:
    """:return: the files that another parser finds; ``None`` if it refuses the form."""
    try:
        return OTHERS[parser](body, boundary)
    except Exception:
        return None


def _append(files: Files, data: bytes) -> None:
    name, content = files.pop()
    files.append((name, content + data))


def _email(body: bytes, boundary: str) -> Files:
    head = f'Content-Type: multipart/form-data; boundary="{boundary}"\r\n\r\n'
    message = email.message_from_bytes(head.encode() + body)
    return [
        (part.get_filename() or "", part.get_payload(decode=True))  # type: ignore[union-attr,misc]
        for part in message.get_payload()
        if part.get_filename() is not None  # type: ignore[union-attr]
    ]


def _werkzeug(body: bytes, boundary: str) -> Files:
    decoder, files, is_file = MultipartDecoder(boundary.encode()), Files(), False
    decoder.receive_data(body)
    decoder.receive_data(None)
    while not isinstance(event := decoder.next_event(), (Epilogue, NeedData)):
        if isinstance(event, (Field, File)):
            is_file = isinstance(event, File)
        if isinstance(event, File):
            files.append((event.filename, b""))
        elif isinstance(event, Data) and is_file:
            _append(files, event.data)
    return files


def _multipart(body: bytes, boundary: str) -> Files:
    """The library that our parser uses, without our rule for delimiter lines."""
    files, is_file = Files(), False
    with PushMultipartParser(boundary) as parser:
        for event in parser.parse(body):
            if isinstance(event, MultipartSegment):
                is_file = event.filename is not None
                if event.filename is not None:
                    files.append((event.filename, b""))
            elif event and is_file:
                _append(files, bytes(event))
    return files


def _aiohttp(body: bytes, boundary: str) -> Files:
    async def read() -> Files:
        loop, files = asyncio.get_running_loop(), Files()
        stream = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
        stream.feed_data(body)
        stream.feed_eof()
        headers = {"Content-Type": f'multipart/form-data; boundary="{boundary}"'}
        reader = AiohttpReader(headers, stream)
        while (part := await reader.next()) is not None:
            assert isinstance(part, BodyPartReader)
            content = bytes(await part.read())
            if part.filename is not None:
                files.append((part.filename, content))
        return files

    return asyncio.run(read())


OTHERS: dict[str, Parser] = {
    "email": _email,
    "werkzeug": _werkzeug,
    "multipart": _multipart,
    "aiohttp": _aiohttp,
}
