"""
Listens on sockets of systemd.

Twisted's ``systemd:`` endpoint takes only sockets that have names.  Names are optional
(``sd_listen_fds(3)``): ``systemd-socket-activate`` and other starters give none.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from typing import Any, Final

from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint

__all__ = ["SYSTEMD", "initial_environment", "systemd_endpoint"]

#: How the endpoint strings begin.
SYSTEMD: Final = "systemd:"
_BY_INDEX = re.compile(r"systemd:domain=(INET6?|UNIX):index=([0-9]{1,9})")
#: The first descriptor that systemd passes.
_FIRST: Final = 3


def systemd_endpoint(
    reactor: Any, description: str, environment: Mapping[str, str], pid: int
) -> IStreamServerEndpoint:
    """
    :param description: an endpoint string that begins with `SYSTEMD`.
    :param environment: with which the process was started.
    :param pid: of this process.
    :return: the endpoint.
    :raise ValueError: systemd has not passed this socket, or the string is not valid.
    """
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    except LookupError:
        found = _BY_INDEX.fullmatch(description)
        if found is None or int(found[2]) >= _unnamed(environment, pid):
            raise ValueError("no such socket was passed to this process, see LISTEN_FDS") from None
        family = getattr(socket, f"AF_{found[1]}")
        return AdoptedStreamServerEndpoint(reactor, _FIRST + int(found[2]), family)
    return endpoint


def initial_environment() -> Mapping[str, str]:
    """:return: the environment with which this process was started: Twisted removes variables."""
    with open("/proc/self/environ", "rb") as file:
        pairs = [os.fsdecode(each).partition("=") for each in file.read().split(b"\0")]
    return {name: value for name, _, value in pairs}


def _unnamed(environment: Mapping[str, str], pid: int) -> int:
    """:return: how many sockets without names were passed."""
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(pid) or environment.get("LISTEN_FDNAMES"):
        return 0
    return int(count) if count.isdecimal() else 0
