"""
What the registry costs a request, on SQLite and on PostgreSQL, cold and warm, in one run.

    python -m bench.registry [--lookups 2000] [--workspaces 20000]

A request asks who is calling (the token) and where to go (the workspace).  Cold, both are asked of
the database; warm, both are remembered.  Reports the CPU time of this process for one request (for
SQLite, the database's is in it), that of PostgreSQL's processes, and how long one request waits;
ratios hold on any machine.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from bench.processes import Server
from chatfiles.platform.registry.cache import CachedRegistry
from chatfiles.platform.service import open_registry
from tests.support.postgres_server import Database, server


@dataclass(frozen=True)
class Cost:
    """Microseconds for one request."""

    here: float
    there: float
    waited: float

    def __str__(self) -> str:
        return f"{self.here:8.1f} µs here  {self.there:8.1f} µs in the server  "


def identifier(number: int) -> UUID:
    """:return: the id of a workspace."""
    return UUID(bytes=sha256(b"%d" % number).digest()[:16])


def digest(number: int) -> bytes:
    """:return: of its token."""
    return sha256(b"token %d" % number).digest()


def rows(count: int) -> tuple[Sequence[Any], Sequence[Any]]:
    """:return: of both tables."""
    ids = [str(identifier(number)) for number in range(count)]
    workspaces = [(each, "x", "http://10.0.0.1:8000", "online", "push", "s" * 43) for each in ids]
    tokens = [(each, each, digest(number)) for number, each in enumerate(ids)]
    return workspaces, tokens


INTO = (
    "INSERT INTO workspaces (id, name, url, status, delivery_mode, platform_inbound_secret)",
    "INSERT INTO workspace_auth_tokens (id, workspace_id, token_hash)",
)


def fill_sqlite(path: str, count: int) -> None:
    """Write the rows into a file that has the tables."""
    with sqlite3.connect(path) as connection:
        for into, values in zip(INTO, rows(count), strict=True):
            marks = ", ".join("?" * len(values[0]))
            connection.executemany(f"{into} VALUES ({marks})", values)
    connection.close()


def fill_postgres(database: Database, count: int) -> None:
    """Write the rows into a database that has the tables."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN; SET LOCAL session_replication_role = replica")
        for into, values in zip(INTO, rows(count), strict=True):
            marks = ", ".join(["%s"] * len(values[0]))
            cursor.executemany(f"{into} VALUES ({marks})", values)
        cursor.execute("COMMIT; ANALYZE")


def server_seconds(database: Database | None) -> float:
    """:return: the CPU time that the backends have taken that are connected now."""
    if database is None:
        return 0.0
    found = database.server.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
        (database.name,),
    )
    return sum(Server(pid).cpu_seconds() for (pid,) in found)


async def measure(
    registry: CachedRegistry, numbers: Sequence[int], database: Database | None
) -> Cost:
    """Ask for *numbers*, one request after the other."""
    wanted = [(digest(number), identifier(number)) for number in numbers]
    there = server_seconds(database)
    began, cpu = time.perf_counter(), time.process_time()
    for token_digest, workspace_id in wanted:
        token = await registry.token(token_digest)
        workspace = await registry.workspace(token.workspace_id) if token else None
        if workspace is None or workspace.id != workspace_id:
            raise RuntimeError("the wrong workspace")
    took, used = time.perf_counter() - began, time.process_time() - cpu
    there = server_seconds(database) - there
    return Cost(*(1e6 * each / len(wanted) for each in (used, there, took)))


async def compare(
    name: str, registry: Any, given: argparse.Namespace, database: Database | None = None
) -> None:
    """Measure and print."""
    step = given.workspaces // given.lookups
    cold = list(range(0, given.lookups * step, step))
    await measure(registry, cold[:100], database)  # connections, and what Python does only once
    registry._forget(None)
    first = await measure(registry, cold, database)
    warm = await measure(registry, cold * 20, database)
    print(f"{name:<11} cold  {first}{first.waited:8.1f} µs waited")
    print(f"{name:<11} warm  {warm}{warm.waited:8.1f} µs waited")
    ratio = (first.here + first.there) / (warm.here + warm.there)
    print(f"{name:<11} cold costs {ratio:.0f} times what warm does")


async def run(reactor: Any, given: argparse.Namespace) -> None:
    """Measure both."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "registry.db")
        registry: Any = open_registry(f"sqlite:{path}", 2.0, reactor)
        await registry.start()
        fill_sqlite(path, given.workspaces)
        await compare("SQLite", registry, given)
        await registry.close()
    database = Database(server())
    registry = open_registry(database.url, 2.0, reactor)
    await registry.start()
    fill_postgres(database, given.workspaces)
    await compare("PostgreSQL", registry, given, database)
    await registry.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--lookups", type=int, default=2000, help="different workspaces asked for")
    parser.add_argument("--workspaces", type=int, default=20000, help="that there are")
    given = parser.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, given)))


if __name__ == "__main__":
    main()
