"""
Pure: where PostgreSQL is, from a libpq URL.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psycopg2
from psycopg2.extensions import parse_dsn

from chatfiles.rules.database_url import POSTGRES_SCHEMES

__all__ = ["Place", "PostgresAddress"]

_TAKES = (
    "--database takes a libpq URL, such as postgresql://chatfiles@db.example.com:5432/chatfiles"
)


@dataclass(frozen=True, slots=True)
class Place:
    """
    One host of the URL.

    :param host: a name, an address, or the directory of a socket; ``None`` for libpq's default.
    :param hostaddr: its address, if that is known: given it, libpq looks nothing up.
    """

    host: str | None
    hostaddr: str | None
    port: str | None

    @property
    def name(self) -> str | None:
        """What has to be looked up, if anything has."""
        if self.hostaddr or not self.host or self.host.startswith(("/", "@")):
            return None
        return self.host


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """
    What a URL says.

    :param shown: the URL for people and logs: no user, password or parameter.
    :param parameters: of libpq, other than those that say where; may hold a password.
    """

    shown: str
    places: Sequence[Place]
    parameters: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, url: str, environment: Mapping[str, str] = os.environ) -> PostgresAddress:
        """
        :param url: ``postgresql://…``; several hosts may be given, as to libpq.
        :param environment: where libpq looks for what the URL does not say.
        :raise ValueError: it is not such a URL; the text does not repeat it.
        """
        if not url.startswith(POSTGRES_SCHEMES):
            raise ValueError(_TAKES)
        try:
            parameters: dict[str, str] = parse_dsn(url)
        except psycopg2.Error:
            raise ValueError(_TAKES) from None
        if "service" in parameters:
            raise ValueError(f"{_TAKES}; service= is not supported")
        wheres = []
        for name, variable in (("host", "PGHOST"), ("hostaddr", "PGHOSTADDR"), ("port", "PGPORT")):
            wheres.append((parameters.pop(name, "") or environment.get(variable, "")).split(","))
        if not all(map(_is_port, wheres[2])):
            raise ValueError(f"{_TAKES}; a port, also that of PGPORT, is a number from 1 to 65535")
        count = max(len(wheres[0]), len(wheres[1]))
        if any(len(each) not in (1, count) for each in wheres):
            raise ValueError(f"{_TAKES}; as many ports as hosts, or one")
        hosts, hostaddrs, ports = (each * count if len(each) == 1 else each for each in wheres)
        places = [
            Place(host or None, hostaddr or _address(host), port or None)
            for host, hostaddr, port in zip(hosts, hostaddrs, ports, strict=True)
        ]
        shown = ",".join(_shown(place) for place in places)
        database = parameters.get("dbname") or environment.get("PGDATABASE", "")
        return cls(f"postgresql://{shown}/{database}", places, parameters)


def _is_port(text: str) -> bool:
    """:return: whether libpq would dial it; nothing is its default."""
    if not re.fullmatch("[0-9]{1,5}", text):
        return not text
    return 1 <= int(text) <= 65535


def _address(host: str) -> str | None:
    """:return: *host*, if it is an address already."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return host


def _shown(place: Place) -> str:
    host = place.host or place.hostaddr or ""
    if ":" in host:
        host = f"[{host}]"
    return f"{host}:{place.port}" if place.port else host
