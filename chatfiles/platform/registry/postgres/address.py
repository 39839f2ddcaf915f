"""
Pure: the hosts and parameters of a libpq URL.
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

__all__ = ["PostgresAddress", "ServerHost"]

_TAKES = (
    "--database takes a libpq URL, such as postgresql://chatfiles@db.example.com:5432/chatfiles"
)


@dataclass(frozen=True, slots=True)
class ServerHost:
    """
    One host of the URL.

    :param host: a name, an address, or the directory of a socket; ``None`` for libpq's default.
    :param hostaddr: its address, if known; then libpq does not look up *host*.
    :param port: ``None`` for libpq's default.
    """

    host: str | None
    hostaddr: str | None
    port: str | None

    @property
    def name(self) -> str | None:
        """The host name that has to be looked up, if there is one."""
        if self.hostaddr or not self.host or self.host.startswith(("/", "@")):
            return None
        return self.host


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """
    A parsed URL.

    :param display_url: the URL for people and logs, without user, password and parameters.
    :param hosts: in the order in which they are tried.
    :param parameters: the other parameters of libpq; may contain a password.
    """

    display_url: str
    hosts: Sequence[ServerHost]
    parameters: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, url: str, environment: Mapping[str, str] = os.environ) -> PostgresAddress:
        """
        :param url: ``postgresql://…``; may contain several hosts, as for libpq.
        :param environment: the environment variables, which libpq reads for parts missing in the
            URL.
        :return: the parsed URL.
        :raise ValueError: the URL is not valid; the text does not repeat it.
        """
        if not url.startswith(POSTGRES_SCHEMES):
            raise ValueError(_TAKES)
        try:
            parameters: dict[str, str] = parse_dsn(url)
        except psycopg2.Error:
            raise ValueError(_TAKES) from None
        if "service" in parameters:
            raise ValueError(f"{_TAKES}; service= is not supported")
        lists = []
        for name, variable in (("host", "PGHOST"), ("hostaddr", "PGHOSTADDR"), ("port", "PGPORT")):
            lists.append((parameters.pop(name, "") or environment.get(variable, "")).split(","))
        if not all(map(_is_port, lists[2])):
            raise ValueError(f"{_TAKES}; a port, also that of PGPORT, is a number from 1 to 65535")
        count = max(len(lists[0]), len(lists[1]))
        if any(len(each) not in (1, count) for each in lists):
            raise ValueError(f"{_TAKES}; as many ports as hosts, or one")
        hosts, hostaddrs, ports = (each * count if len(each) == 1 else each for each in lists)
        servers = [
            ServerHost(host or None, hostaddr or _address(host), port or None)
            for host, hostaddr, port in zip(hosts, hostaddrs, ports, strict=True)
        ]
        shown = ",".join(map(_display, servers))
        database = parameters.get("dbname") or environment.get("PGDATABASE", "")
        return cls(f"postgresql://{shown}/{database}", servers, parameters)


def _is_port(text: str) -> bool:
    """:return: whether libpq accepts it; an empty text is its default."""
    if not re.fullmatch("[0-9]{1,5}", text):
        return not text
    return 1 <= int(text) <= 65535


def _address(host: str) -> str | None:
    """:return: *host* if it is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return host


def _display(server: ServerHost) -> str:
    host = server.host or server.hostaddr or ""
    if ":" in host:
        host = f"[{host}]"
    return f"{host}:{server.port}" if server.port else host
