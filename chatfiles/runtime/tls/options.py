"""
The options for TLS towards servers (reference/tls, "Between the roles").
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from twisted.python import usage

from chatfiles.runtime import option_values
from chatfiles.runtime.option import Option
from chatfiles.runtime.option_values import PLATFORM, WORKSPACE
from chatfiles.runtime.settings import PeerFiles

__all__ = ["PEER_OPTIONS", "peer_files"]

PEER_OPTIONS: Final = (
    Option(
        "upstream-ca",
        (PLATFORM,),
        "certificate authorities that are trusted for workspaces besides those of the machine, in "
        "PEM format",
        option_values.text,
    ),
    Option(
        "upstream-ca-only",
        (PLATFORM,),
        "trust those of --upstream-ca only, not those of the machine",
        option_values.switch,
        "0",
    ),
    Option(
        "platform-ca",
        (WORKSPACE,),
        "certificate authorities that are trusted for the platform besides those of the machine, "
        "in PEM format",
        option_values.text,
    ),
    Option(
        "upstream-certificate",
        (PLATFORM, WORKSPACE),
        "certificate to present to workspaces (platform) or to the platform (workspace), with its "
        "chain, in PEM format",
        option_values.text,
    ),
    Option(
        "upstream-key",
        (PLATFORM, WORKSPACE),
        "private key of that certificate. Default: it is in the same file",
        option_values.text,
    ),
)


def peer_files(value: Callable[[str, Any], Any], authorities: str, only: str = "") -> PeerFiles:
    """
    :param value: returns the value of an option, or its second argument.
    :param authorities: the name of the option of the authorities.
    :param only: the name of the option that leaves out those of the machine.
    :return: the files, with absolute paths.
    :raise twisted.python.usage.UsageError: an option lacks another one.
    """

    def path(name: str) -> str:
        return os.path.abspath(value(name, "")) if value(name, "") else ""

    replaces = bool(only) and value(only, None)
    own, key = path("upstream-certificate"), path("upstream-key")
    if replaces and not path(authorities):
        raise usage.UsageError(f"--{authorities} is required with --{only}")
    if key and not own:
        raise usage.UsageError("--upstream-certificate is required with --upstream-key")
    return PeerFiles(path(authorities), replaces, own, key)
