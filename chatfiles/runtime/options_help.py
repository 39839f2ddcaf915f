"""
The text of ``twistd chatfiles --help``: examples, and the options of each role.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

from chatfiles.runtime.option import Option

__all__ = ["help_text"]

#: Columns before the description of an option.
INDENT = 30

EXAMPLES: Final = r"""
Examples:
  A platform that only this machine can reach:
    twistd -n chatfiles --role=platform --state-dir=/var/lib/chatfiles

  A platform with PostgreSQL, on all addresses, for workspaces in one network:
    twistd -n chatfiles --role=platform --listen=tcp:8080 \
        --database=postgresql://chatfiles@db/chatfiles --upstream-allow=10.0.0.0/8

  A workspace that serves one directory, and registers with that platform:
    twistd -n chatfiles --role=workspace --root=/workspace=/srv/ws1 \
        --listen=tcp:8000 --advertise=http://10.0.0.7:8000 \
        --platform=https://files.example.com \
        --workspace-id=3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d

  A workspace behind NAT, which listens on nothing and connects to that platform:
    twistd -n chatfiles --role=workspace --root=/workspace=/srv/ws1 \
        --channel --listen=none --platform=https://files.example.com \
        --workspace-id=3f0c8a52-7b1d-4e7e-9d55-0a4c3b2f1e6d
"""

ENVIRONMENT: Final = (
    "Every option can also be set as CHATFILES_<NAME> in the environment (CHATFILES_LISTEN, "
    "CHATFILES_STATE_DIR, …); the command line wins. Of an option that may be given several "
    "times, one value stands on a line. The admin token can be given as CHATFILES_ADMIN_TOKEN."
)

#: What an option takes.  An option without an entry takes no value.
TAKES: Final = {
    "role": "ROLE",
    "listen": "ENDPOINT",
    "state-dir": "DIR",
    "database": "URL",
    "registry-timeout": "SECONDS",
    "admin-token-file": "FILE",
    "upstream-allow": "NETWORK",
    "trusted-proxy": "NETWORK",
    "public-url": "URL",
    "upstream-ca": "FILE",
    "platform-ca": "FILE",
    "upstream-certificate": "FILE",
    "upstream-key": "FILE",
    "root": "ROOT=DIR",
    "configs-dir": "DIR",
    "platform": "URL",
    "workspace-id": "UUID",
    "advertise": "URL",
    "channel-idle": "N",
    "channel-max": "N",
    "deny": "GLOB",
    "writable": "PATH",
    "write-in-place": "PATH",
    "max-resumable-bytes": "SIZE",
    "upload-expiry": "SECONDS",
    "max-unfinished-uploads": "N",
    "allow-origin": "ORIGIN",
    "max-list-entries": "N",
    "digest-inline-bytes": "SIZE",
    "archive-max-entries": "N",
    "archive-max-bytes": "SIZE",
    "max-archives": "N",
    "max-request-bytes": "SIZE",
    "max-file-bytes": "SIZE",
    "connect-timeout": "SECONDS",
    "header-timeout": "SECONDS",
    "idle-timeout": "SECONDS",
    "fast-path": "SWITCH",
    "log-format": "FORMAT",
    "metrics-listen": "ENDPOINT",
    "audit-log": "FILE",
    "workers": "N",
    "drain-timeout": "SECONDS",
    "drain-delay": "SECONDS",
    "max-transfers": "N",
    "max-transfers-per-workspace": "N",
    "max-transfers-per-token": "N",
    "max-refusals-per-client": "N",
    "node-url": "URL",
    "node-listen": "ENDPOINT",
    "ui": "SWITCH",
}


def help_text(options: Sequence[Option], width: int) -> str:
    """
    :param options: all options.
    :param width: of the terminal, in columns.
    :return: the examples, then the options by the roles that have them.
    """
    parts = [EXAMPLES]
    for title, roles in (
        ("Options of both roles", ("platform", "workspace")),
        ("Options of --role=platform", ("platform",)),
        ("Options of --role=workspace", ("workspace",)),
    ):
        parts.append(f"\n{title}:\n")
        parts += [_option(each, width) for each in options if each.roles == roles]
    parts.append("\nWithout a role:\n")
    parts.append(_line("--help", "show this text", width))
    parts.append(_line("--version", "show the version of chatfiles", width))
    parts.append("\n" + textwrap.fill(ENVIRONMENT, width) + "\n")
    return "".join(parts)


def _option(option: Option, width: int) -> str:
    takes = TAKES.get(option.name)
    if takes is None:
        return _line(f"--{option.name}", option.help, width)
    default = "" if option.default is None else f" [default: {option.default}]"
    return _line(f"--{option.name}={takes}", option.help + default, width)


def _line(flag: str, text: str, width: int) -> str:
    """:return: the flag, and behind or below it the description, wrapped."""
    wrapped = textwrap.wrap(
        text, max(width - INDENT, 20), break_on_hyphens=False, break_long_words=False
    )
    flag = f"  {flag}"
    first = flag.ljust(INDENT) if len(flag) < INDENT - 1 else f"{flag}\n{' ' * INDENT}"
    return first + f"\n{' ' * INDENT}".join(wrapped) + "\n"
