"""
The options of a platform about the nodes that share its registry (reference/channel, "Several
nodes").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.python import usage

from chatfiles.rules import node_address
from chatfiles.runtime import option_values
from chatfiles.runtime.option import Option
from chatfiles.runtime.option_values import PLATFORM, InvalidValue

__all__ = ["NODE_OPTIONS", "node_settings"]

_URL, _LISTEN = "node-url", "node-listen"


def _node_url(value: str) -> str:
    try:
        return node_address.parse_url(value)
    except ValueError as error:
        raise InvalidValue(str(error)) from None


NODE_OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        _URL,
        (PLATFORM,),
        "URL at which the other nodes reach this one, such as http://10.0.0.3:8081, for workspaces "
        "that are connected here; never that of a balancer",
        _node_url,
    ),
    Option(
        _LISTEN,
        (PLATFORM,),
        "Twisted server endpoint for the other nodes, such as tcp:8081:interface=10.0.0.3, with "
        "--node-url",
        option_values.text,
    ),
)


def node_settings(one: Callable[[str, Any], Any]) -> dict[str, str | None]:
    """
    :param one: takes the name of an option and a default; returns its value.
    :return: the settings: where other nodes reach this one, and where it listens for them.
    :raise UsageError: one is given without the other.
    """
    url, listen = one(_URL, None), one(_LISTEN, None)
    if (url is None) is not (listen is None):
        missing, given = (_URL, _LISTEN) if url is None else (_LISTEN, _URL)
        raise usage.UsageError(f"--{missing} is required with --{given}")
    return {"node_url": url, "node_listen": listen}
