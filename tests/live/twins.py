"""
Both roles twice, with the fast path and without it, over the same files and the same registry.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from tests.live.pair import Pair
from tests.live.rawhttp import Answer, Connection, Incomplete, Malformed
from tests.live.role import Role

__all__ = ["FROM_THE_FUTURE", "HOPS", "MODES", "Exchange", "Twins", "split"]

MODES = ("on", "off")
HOPS = ("direct", "through")
#: The last request of every connection.  Its response shows that nothing was left behind.
PROBE = b"GET /health HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"
#: The name of a file that was last modified in the future.
FROM_THE_FUTURE = b"future.txt"
_TRANSFER = re.compile(r"http\.server\.site\.Site#info\] (\S+) (.*)")
_GENERATED = re.compile(rb"X-Request-Id: ([0-9a-f]{32})\r\n")


@dataclass(frozen=True)
class Exchange:
    """
    What a client sends on one connection.

    :param requests: each with its method.  ``@T@`` stands for the route of the hop up to the value
        of its query, ``@A@`` for the credential, ``@O@`` for the route alone.
    :param pipelined: whether all of them are sent before the first response is read.
    :param cuts: where each request is divided into pieces that are sent one by one.
    """

    requests: Sequence[tuple[bytes, bytes]]
    pipelined: bool = False
    cuts: Sequence[int] = ()


class Twins(Pair):
    """
    A pair whose roles have ``--fast-path=on``, and a second pair of roles with ``off``.

    :ivar ids: the id of the workspace in each mode.
    :ivar tokens: a token of it.
    :ivar plain_platform: the platform without the fast path.
    :ivar plain_workspace: the workspace without it.
    """

    def __init__(self) -> None:
        self._numbers = count()
        trusted = "--trusted-proxy=127.0.0.0/8"
        super().__init__(
            ["--fast-path=on", "--drain-timeout=5"],
            [trusted],
            ["--deny=/workspace/**/*.key"],
            via="url",
        )

    def _enrol(self) -> None:
        super()._enrol()
        roots = [f"--root=/{r}={self.at(r)}" for r in ("workspace", "configs", "home", "plugins")]
        more = ["--fast-path=off", "--drain-timeout=5"]
        deny = "--deny=/workspace/**/*.key"
        self.plain_workspace = Role("workspace", *roots, deny, *more)
        self.plain_platform = Role(
            "platform",
            f"--state-dir={self.at('second')}",
            f"--database=sqlite:{self.database}",
            "--upstream-allow=127.0.0.0/8",
            "--trusted-proxy=127.0.0.0/8",
            *more,
            told={"CHATFILES_ADMIN_TOKEN": self.admin},
        )
        self.roles += [self.plain_workspace, self.plain_platform]
        second, token = self.add(self.plain_workspace.url)
        self.ids = {"on": self.id, "off": second}
        self.tokens = {"on": self.token, "off": token}
        self.share_secret()
        self.hide(self.admin, self.secret, *self.tokens.values())

    def execute(self, statement: str, *values: object) -> None:
        """Change the registry from outside."""
        with contextlib.closing(sqlite3.connect(self.database)) as database, database:
            database.execute(statement, values)

    def share_secret(self) -> None:
        """Let the second workspace have the inbound secret of the first."""
        statement = "update workspaces set platform_inbound_secret = ? where id = ?"
        for workspace_id in self.ids.values():
            self.execute(statement, self.secret, workspace_id)

    def role(self, hop: str, mode: str) -> Role:
        """:return: the role that a client of *hop* asks."""
        if hop == "direct":
            return self.workspace if mode == "on" else self.plain_workspace
        return self.platform if mode == "on" else self.plain_platform

    def route(self, hop: str, mode: str) -> bytes:
        """:return: the route of downloads."""
        if hop == "direct":
            return b"/internal/file/read"
        return b"/workspaces/%b/chat/download" % self.ids[mode].encode()

    def credential(self, hop: str, mode: str) -> bytes:
        """:return: the client's token."""
        return (self.secret if hop == "direct" else self.tokens[mode]).encode()

    def filled(self, request: bytes, hop: str, mode: str) -> bytes:
        """:return: *request* with its target and credential; see `Exchange`."""
        route = self.route(hop, mode)
        values = {b"@T@": route + b"?path=", b"@O@": route, b"@A@": self.credential(hop, mode)}
        for mark, value in values.items():
            request = request.replace(mark, value)
        return request

    def received(self, exchange: Exchange, hop: str, mode: str) -> bytes:
        """:return: all that a client receives, without what differs between two equal responses."""
        requests = [(m, self.filled(raw, hop, mode)) for m, raw in exchange.requests]
        with Connection(self.role(hop, mode).url) as connection:
            data = _talk(connection, requests, exchange)
        data = self._comparable(data, mode)
        if any(FROM_THE_FUTURE in raw for _, raw in requests):
            # RFC 9110, 8.8.2.1: it is the time of the response.
            data = re.sub(rb"(?<=\r\nLast-Modified: )[^\r]+", b"(now)", data)
        return data

    def _comparable(self, data: bytes, mode: str) -> bytes:
        for made in set(_GENERATED.findall(data)):
            data = data.replace(made, b"(made)")
        data = data.replace(self.ids[mode].encode(), b"(workspace)")
        return re.sub(rb"(?<=\r\nDate: )[^\r]+", b"(now)", data)

    def marks(self) -> dict[tuple[str, str], int]:
        """:return: where each log is when all earlier transfers are in it."""
        return {(hop, mode): self._flushed(hop, mode) for hop in HOPS for mode in MODES}

    def transfers(self, marks: dict[tuple[str, str], int], hop: str, mode: str) -> list[str]:
        """:return: what was logged about transfers, without ids that were made and times."""
        self._flushed(hop, mode)
        logged = self.role(hop, mode).log_since(marks[hop, mode])
        found = []
        for request_id, line in _TRANSFER.findall(logged):
            shown = "(made)" if re.fullmatch("[0-9a-f]{32}", request_id) else request_id
            text = f"{shown} {line}".replace(self.ids[mode], "(workspace)")
            if request_id == "with-body":
                text = re.sub(r"[0-9]+ bytes", "(some) bytes", text)
            found.append(re.sub(r"[0-9.]+ s ", "(time) ", text))
        return sorted(line for line in found if not line.startswith("flushed."))

    def _flushed(self, hop: str, mode: str) -> int:
        """:return: where the log is when everything up to now is in it."""
        role, request_id = self.role(hop, mode), f"flushed.{next(self._numbers)}"
        raw = b"GET @O@ HTTP/1.1\r\nHost: h\r\nX-Request-Id: %b\r\n\r\n" % request_id.encode()
        self.received(Exchange([(b"GET", raw)]), hop, mode)
        role.logged(re.escape(f"#info] {request_id} "))
        return role.mark()


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """:return: the pieces of *data*."""
    places = sorted({cut % len(data) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if a < b]


def _talk(
    connection: Connection, requests: Sequence[tuple[bytes, bytes]], exchange: Exchange
) -> bytes:
    seen: list[bytes] = []

    def receive(size: int) -> bytes:
        data = connection.socket.recv(size)
        seen.append(data)
        return data

    buffer = bytearray()
    with contextlib.suppress(ConnectionError, Malformed, Incomplete):
        if exchange.pipelined:  # at once: what follows the last response could reset the connection
            connection.send(b"".join(raw for _, raw in requests) + PROBE)
        else:
            for method, raw in requests:
                for piece in split(raw, exchange.cuts):
                    connection.send(piece)
                Answer(receive, buffer, method.decode("latin-1")).rest()
            connection.send(PROBE)
    seen.append(connection.until_closed())
    return b"".join(seen)
