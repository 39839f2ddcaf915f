"""
Where a process of a platform listens for other nodes.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from chatfiles.rules.node_address import endpoint_of_worker, url_of_worker
from chatfiles.runtime.role_service import Listener
from chatfiles.runtime.settings import PlatformSettings

__all__ = ["NODE_DIRECTORY", "NodeListener", "make_node_directory", "node_listener"]

#: The environment variable with the directory of the sockets at which workers reach each other.
NODE_DIRECTORY: Final = "CHATFILES_NODE_DIRECTORY"


class NodeListener(NamedTuple):
    """
    :param url: where other nodes reach this process.
    :param listener: where it listens for them.
    """

    url: str
    listener: Listener


def make_node_directory(owner: tuple[int, int]) -> str:
    """
    :param owner: the ids of the user and group of the workers; -1 for those of this process.
    :return: a new directory, which is removed at the end of the process.
    """
    directory = tempfile.mkdtemp(prefix="chatfiles-nodes-")
    os.chown(directory, *owner)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def node_listener(
    settings: PlatformSettings,
    number: int,
    environment: Mapping[str, str],
    listener: Callable[[str], Listener],
) -> NodeListener | None:
    """
    :param settings: the operator's options.
    :param number: of the worker, from 1; 1 without workers.
    :param environment: of the process.
    :param listener: makes one from an endpoint string.
    :return: where the process listens; ``None`` if other nodes do not reach it.
    :raise ValueError: the option has an invalid value; the text names it.
    """
    if settings.node_listen is not None and settings.node_url is not None:
        try:
            description = endpoint_of_worker(settings.node_listen, number)
        except ValueError as error:
            raise ValueError(f"--node-listen {error}") from None
        return NodeListener(url_of_worker(settings.node_url, number), listener(description))
    directory = environment.get(NODE_DIRECTORY)
    if directory is None:
        return None
    path = os.path.join(directory, str(number))
    if os.path.exists(path):  # the worker that this one replaces
        os.unlink(path)
    return NodeListener(f"unix:{path}", listener(f"unix:{path}:mode=600"))
