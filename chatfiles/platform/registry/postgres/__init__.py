"""
Opens the registry in PostgreSQL.  This module can be imported without txpostgres and psycopg2,
which are an optional extra.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatfiles.platform.registry.postgres.registry import PostgresRegistry

__all__ = ["check_extra", "open_postgres"]

_NEEDED = ("psycopg2", "txpostgres")


def open_postgres(
    url: str, *, reactor: Any, now: Callable[[], datetime], **more: Any
) -> PostgresRegistry:
    """
    :param url: ``postgresql://…``.
    :param reactor: provides every reactor interface.
    :param now: returns the current time, with its time zone.
    :param more: see `chatfiles.platform.registry.postgres.registry.PostgresRegistry`.
    :return: the registry, not started.
    :raise ValueError: the extra is not installed, or the URL is not valid.  The text names
        ``--database`` and does not repeat the URL.
    """
    check_extra()
    module = import_module("chatfiles.platform.registry.postgres.registry")
    registry: PostgresRegistry = module.PostgresRegistry(url, reactor=reactor, now=now, **more)
    return registry


def check_extra() -> None:
    """
    Verify that txpostgres and psycopg2 can be imported.

    :raise ValueError: the extra is not installed.
    """
    try:
        for name in _NEEDED:
            import_module(name)
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        raise ValueError(
            "--database=postgresql://… needs chatfiles[postgres]: pip install 'chatfiles[postgres]'"
        ) from error
