"""
Copies what is new in a folder of a workspace, in several threads that share a client::

    python examples/mirror_folder.py /workspace/results results

The settings are in the environment: `CHATFILES_PLATFORM`, `CHATFILES_TOKEN`, `CHATFILES_WORKSPACE`.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from chatfiles.client import Client, Entry

THREADS = 4


def mirror(client: Client, source: str, target: str) -> int:
    """
    :param source: the virtual path of a folder.
    :param target: a directory; it is made.
    :return: how many files were copied.
    """

    def place(entry: Entry) -> str:
        return os.path.join(target, entry.path.removeprefix(source).lstrip("/"))

    def copy(entry: Entry) -> None:
        # The tag of a file that was written just now is weak, and never matches.
        is_weak = entry.etag is None or entry.etag.startswith("W/")
        client.download(entry.path, place(entry), if_match=None if is_weak else entry.etag)
        if entry.mtime_ns is not None:
            os.utime(place(entry), ns=(entry.mtime_ns, entry.mtime_ns))

    new = []
    os.makedirs(target, exist_ok=True)
    for entry in client.walk(source):
        if entry.type == "directory":
            os.makedirs(place(entry), exist_ok=True)
        elif entry.type == "file" and not is_same(place(entry), entry):
            new.append(entry)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(copy, new))
    return len(new)


def is_same(path: str, entry: Entry) -> bool:
    """:return: whether the file at *path* has the size and time of *entry*."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return (there.st_size, there.st_mtime_ns) == (entry.size, entry.mtime_ns)


if __name__ == "__main__":
    with Client.from_environment() as here:
        print(mirror(here, sys.argv[1], sys.argv[2]), "files copied")
