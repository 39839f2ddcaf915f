"""
A network namespace whose processes can connect to one port outside, and which nothing can connect
to.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from contextlib import suppress

from twisted.trial.unittest import SkipTest

from tests.support.network_changes import changed_network
from tests.support.patience import PATIENCE

__all__ = ["BehindNAT"]


class BehindNAT:
    """
    A namespace.

    :param port: the port outside, at `outside`.
    :ivar outside: the address of this machine, as the namespace sees it.
    :ivar url: the URL of the port outside.
    :ivar inside: the address of the namespace.
    :ivar command: what a command begins with that runs in the namespace.
    :raise twisted.trial.unittest.SkipTest: there can be no namespace here.
    """

    def __init__(self, port: int) -> None:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise SkipTest("a network namespace needs root, and the command ip")
        number = self._new()
        network = f"10.213.{number >> 6}.{(number & 63) << 2}".rpartition(".")
        self.outside, self.inside = (f"{network[0]}.{int(network[2]) + n}" for n in (1, 2))
        self.url = f"http://{self.outside}:{port}"
        self._name, self._table = f"cf{number}", str(21300 + number)
        self.command = ("ip", "netns", "exec", self._name)
        # Only packets from that port find the way into the namespace.
        self._rule = ("to", self.inside, "ipproto", "tcp", "sport", str(port), "table", self._table)
        try:
            with changed_network():
                self._make()
        except subprocess.CalledProcessError as error:
            self.close()
            raise SkipTest(f"no network namespace: {error.stderr.decode().strip()}") from None

    def _new(self) -> int:
        """:return: the number of a namespace that no other process has."""
        for _ in range(64):
            number = secrets.randbelow(1 << 14)
            try:
                _ip("netns", "add", f"cf{number}")
            except subprocess.CalledProcessError as error:
                problem = error.stderr.decode().strip()
            else:
                return number
        raise SkipTest(f"no network namespace: {problem}")

    def _make(self) -> None:
        name, host, guest = self._name, f"{self._name}a", f"{self._name}b"
        _ip("link", "add", host, "type", "veth", "peer", "name", guest, "netns", name)
        _ip("addr", "add", f"{self.outside}/32", "dev", host)
        _ip("link", "set", host, "up")
        _ip("route", "add", self.inside, "dev", host, "src", self.outside, "table", self._table)
        _ip("route", "add", "unreachable", self.inside)
        _ip("rule", "add", *self._rule)
        _ip("-n", name, "addr", "add", f"{self.inside}/32", "dev", guest)
        for each in ("lo", guest):
            _ip("-n", name, "link", "set", each, "up")
        _ip("-n", name, "route", "add", self.outside, "dev", guest)

    def is_reached(self) -> bool:
        """:return: whether this machine can send to the namespace."""
        with socket.socket() as connection:
            connection.settimeout(PATIENCE)
            try:
                connection.connect((self.inside, 1))
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
        return True

    def close(self) -> None:
        """Remove all of it."""
        with changed_network():
            for words in (
                ("rule", "del", *self._rule),
                ("route", "del", "unreachable", self.inside),
                ("netns", "del", self._name),
                ("link", "del", f"{self._name}a"),
            ):
                with suppress(subprocess.CalledProcessError):
                    _ip(*words)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
