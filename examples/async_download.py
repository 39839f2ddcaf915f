"""
Downloads files of a workspace at the same time, in the reactor, and prints their digests::

    python examples/async_download.py DIRECTORY /workspace/a.bin /workspace/b.bin

The settings are in the environment: `CHATFILES_PLATFORM`, `CHATFILES_TOKEN`, `CHATFILES_WORKSPACE`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorCore
from twisted.internet.task import react

from chatfiles.client import AsyncClient, Downloaded


async def download_all(
    reactor: IReactorCore, directory: str, paths: Sequence[str]
) -> list[Downloaded]:
    """
    :param directory: where the files are saved, under their own names.
    :param paths: virtual paths.
    :return: what was downloaded, in the order of *paths*.
    """
    async with AsyncClient.from_environment(reactor=reactor) as client:
        transfers = [
            Deferred.fromCoroutine(client.download(path, directory, verify=True)) for path in paths
        ]
        done: list[Downloaded] = await gatherResults(transfers, consumeErrors=True)
        return done


async def main(reactor: IReactorCore, directory: str, *paths: str) -> None:
    """Print one line for each file, as ``sha256sum`` does."""
    for done in await download_all(reactor, directory, paths):
        print(f"{done.sha256}  {done.to}")


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
