"""
Resumable uploads with Python's clients of tus.

A job has ``url`` of the creation, ``headers``, ``metadata``, ``path`` of the file, and ``chunk``,
the bytes of a chunk.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import yarl
from aiotus import core, creation
from requests.exceptions import ConnectionError as Disconnected
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed

__all__ = ["with_aiotus", "with_tuspy"]

#: How often a client tries again.
TRIES = 40


def with_tuspy(job: dict[str, Any]) -> None:
    """Upload with a checksum of each chunk."""
    uploader = TusClient(job["url"], job["headers"]).uploader(
        job["path"], chunk_size=job["chunk"], upload_checksum=True, metadata=job["metadata"]
    )
    for _ in range(TRIES):
        try:
            uploader.upload()
            return
        except (TusCommunicationError, TusUploadFailed, Disconnected):
            uploader.offset = uploader.get_offset()
    raise AssertionError("too many failures")


def with_aiotus(job: dict[str, Any]) -> None:
    """Upload with aiohttp."""
    asyncio.run(_with_aiotus(job))


async def _with_aiotus(job: dict[str, Any]) -> None:
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
    raise AssertionError("too many failures")
