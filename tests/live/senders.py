"""
Uploads with Python's HTTP clients: ``python tests/live/senders.py CLIENT < job.json``.

A job has ``url``, ``authorization`` and ``files``, a list of ``[path, name, type]``, in which the
type may be ``null``.  The response is written to standard output.  Each client is imported only if
it is used.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, BinaryIO


def main() -> None:
    """Do one job."""
    job = json.load(sys.stdin)
    with ExitStack() as stack:
        files = [
            (name, stack.enter_context(open(path, "rb")), media_type)
            for path, name, media_type in job["files"]
        ]
        headers = {"Authorization": job["authorization"]}
        status, body = CLIENTS[sys.argv[1]](job["url"], headers, files)
    json.dump({"status": status, "body": body}, sys.stdout)


File = tuple[str, BinaryIO, str | None]


def _parts(files: Sequence[File]) -> list[tuple[str, Any]]:
    """:return: *files* as requests and httpx take them."""
    return [("files", each if each[2] else each[:2]) for each in files]


def _requests(url: str, headers: dict[str, str], files: Sequence[File]) -> tuple[int, str]:
    import requests  # noqa: PLC0415

    response = requests.post(url, headers=headers, files=_parts(files), timeout=110)
    return response.status_code, response.text


def _httpx(url: str, headers: dict[str, str], files: Sequence[File]) -> tuple[int, str]:
    import httpx  # noqa: PLC0415

    response = httpx.post(url, headers=headers, files=_parts(files), timeout=110)
    return response.status_code, response.text


def _httpx_boundary(url: str, headers: dict[str, str], files: Sequence[File]) -> tuple[int, str]:
    """With a boundary that our contents resemble."""
    return _httpx(url, {**headers, "Content-Type": "multipart/form-data; boundary=B"}, files)


def _aiohttp(url: str, headers: dict[str, str], files: Sequence[File]) -> tuple[int, str]:
    return asyncio.run(_post(url, headers, files, quote_fields=True))


def _aiohttp_plain(url: str, headers: dict[str, str], files: Sequence[File]) -> tuple[int, str]:
    return asyncio.run(_post(url, headers, files, quote_fields=False))


async def _post(
    url: str, headers: dict[str, str], files: Sequence[File], *, quote_fields: bool
) -> tuple[int, str]:
    import aiohttp  # noqa: PLC0415

    form = aiohttp.FormData(quote_fields=quote_fields)
    for name, file, media_type in files:
        form.add_field("files", file, filename=name, content_type=media_type)
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, headers=headers, data=form) as response,
    ):
        return response.status, await response.text()


CLIENTS = {
    "requests": _requests,
    "httpx": _httpx,
    "httpx-boundary": _httpx_boundary,
    "aiohttp": _aiohttp,
    "aiohttp-plain": _aiohttp_plain,
}

if __name__ == "__main__":
    main()
