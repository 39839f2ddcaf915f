"""
Resumable uploads with Python's clients of tus: ``python -m tests.live.tus_senders CLIENT``.

A job comes from standard input, in JSON: ``url`` of the creation, ``headers``, ``metadata``,
``path`` of the file, ``chunk`` bytes of a chunk.  The program ends well when the file is uploaded.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["CLIENTS", "main"]

#: How often a client tries again.
TRIES = 40


def main() -> None:
    """Do one job."""
    CLIENTS[sys.argv[1]](json.load(sys.stdin))


def tuspy(job: dict[str, Any]) -> None:
    """Upload with a checksum of each chunk."""
    from requests.exceptions import ConnectionError as Disconnected  # noqa: PLC0415
    from tusclient.client import TusClient  # noqa: PLC0415
    from tusclient.exceptions import TusCommunicationError, TusUploadFailed  # noqa: PLC0415

    uploader = TusClient(job["url"], job["headers"]).uploader(
        job["path"], chunk_size=job["chunk"], upload_checksum=True, metadata=job["metadata"]
    )
    for _ in range(TRIES):
        try:
            uploader.upload()
            return
        except (TusCommunicationError, TusUploadFailed, Disconnected):
            uploader.offset = uploader.get_offset()
    raise SystemExit("too many failures")


def aiotus(job: dict[str, Any]) -> None:
    """Upload with aiohttp."""
    asyncio.run(_aiotus(job))


async def _aiotus(job: dict[str, Any]) -> None:
    import aiohttp  # noqa: PLC0415
    import yarl  # noqa: PLC0415
    from aiotus import core, creation  # noqa: PLC0415

    url, headers = yarl.URL(job["url"]), job["headers"]
    metadata = {key: value.encode() for key, value in job["metadata"].items()}
    async with aiohttp.ClientSession() as session:
        with open(job["path"], "rb") as file:  # noqa: ASYNC230
            location = await creation.create(session, url, file, metadata, headers=headers)
            there = url.join(location)
            for _ in range(TRIES):
                try:
                    await core.upload_buffer(
                        session, there, file, chunksize=job["chunk"], headers=headers
                    )
                    return
                except aiohttp.ClientError:
                    continue
    raise SystemExit("too many failures")


CLIENTS: dict[str, Callable[[dict[str, Any]], None]] = {"tuspy": tuspy, "aiotus": aiotus}

if __name__ == "__main__":
    main()
