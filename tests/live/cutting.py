"""
A bad line: passes bytes between a client and a role, and closes connections where a test says.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

from tests.live.rawhttp import READ
from tests.support.patience import PATIENCE

__all__ = ["BadLine"]


class BadLine:
    """
    A proxy on a port of its own; a context manager that closes it.

    :param port: of the role behind it, on 127.0.0.1.
    :param cuts: after how many bytes from the role each connection is closed, in turn; later
        connections are not.
    :param on_cut: called before a connection is closed.
    :param together: the first connection waits, after its first bytes, for those of a second one,
        as on a slower line.
    :ivar url: where it listens.
    :ivar connections: how many there have been.
    """

    def __init__(
        self,
        port: int,
        cuts: list[int],
        on_cut: Callable[[], object] = lambda: None,
        *,
        together: bool = False,
    ) -> None:
        self._port = port
        self._cuts = list(cuts)
        self._on_cut = on_cut
        self._second = threading.Event()
        if not together:
            self._second.set()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.connections = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE)

    def cut(self) -> None:
        """Close all connections."""
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _start(self, target: Callable[..., object], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            cut = self._cuts.pop(0) if self._cuts else None
            self.connections += 1
            is_second = self.connections > 1
            try:
                role = socket.create_connection(("127.0.0.1", self._port))
            except OSError:  # else the client would wait for ever
                client.close()
                continue
            self._open |= {client, role}
            self._start(self._pass_on, client, role, None)
            self._start(self._pass_on, role, client, cut, is_second)

    def _pass_on(
        self,
        source: socket.socket,
        target: socket.socket,
        left: int | None,
        is_second: bool = False,
    ) -> None:
        with contextlib.suppress(OSError):
            while left != 0 and (data := source.recv(READ if left is None else min(READ, left))):
                target.sendall(data)
                if is_second:
                    self._second.set()
                self._second.wait(PATIENCE)
                left = None if left is None else left - len(data)
        if is_second:
            self._second.set()
        if left == 0:
            self._on_cut()
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
