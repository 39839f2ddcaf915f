"""
Connects to PostgreSQL within a timeout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.defer import TimeoutError as NotInTime
from twisted.python.failure import Failure

from chatfiles.errors import RegistryUnavailable, Unavailable
from chatfiles.platform.registry.postgres.address import PostgresAddress, ServerHost
from chatfiles.platform.registry.postgres.connection import (
    CONNECTION_ERRORS,
    PostgresConnection,
    PostgresError,
    Values,
    sanitized_error,
)
from chatfiles.rules.address_policy import IPAddress
from chatfiles.runtime.name_lookup import Lookup, NameLookup, system_lookup
from chatfiles.runtime.threads import Threads

__all__ = ["PostgresConnector"]

#: Parameters of libpq that the URL may override.  They detect a dead peer within seconds.
DEFAULTS = {
    "application_name": "chatfiles",
    "gssencmode": "disable",  # it reads credentials and uses DNS on the reactor thread
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
}

#: The settings of each session.  A transaction that hangs in the platform must release its locks.
_SESSION = """
    SELECT set_config('statement_timeout', %(statement)s, false),
        set_config('idle_in_transaction_session_timeout', %(transaction)s, false),
        set_config('TimeZone', 'UTC', false),
        set_config('DateStyle', 'ISO, YMD', false),
        pg_is_in_recovery()"""


class PostgresConnector:
    """
    Opens connections to the server of a URL.

    It looks up host names itself, in threads, because libpq would block the reactor.

    :param address: the server.
    :param reactor: provides every reactor interface.
    :param timeout: seconds for a connection, from the look-up to the first result.
    :param statement_timeout: seconds after which the server cancels a statement.
    :param lookup: looks up a name; called in a thread.
    """

    def __init__(
        self,
        address: PostgresAddress,
        *,
        reactor: Any,
        timeout: float,
        statement_timeout: float,
        lookup: Lookup = system_lookup,
    ) -> None:
        self._address = address
        self._reactor = reactor
        self._timeout = timeout
        self._statement_timeout = statement_timeout
        self._names = {host.name for host in address.hosts if host.name}
        count = len(self._names)
        self._threads = Threads(reactor, "chatfiles-registry-lookup", count, abandon=True)
        self._lookups = NameLookup(self._threads.run, lookup, clock=reactor, threads=count)
        self._known: dict[str, Sequence[IPAddress]] = {}
        self._lookup_error = ""
        self._closed = False
        self._parameters = DEFAULTS | dict(address.parameters)
        self._parameters.setdefault("tcp_user_timeout", f"{timeout * 1000:.0f}")
        self._parameters["client_encoding"] = "UTF8"

    def start(self) -> None:
        """Begin to look up names; does nothing the second time, or once closed."""
        if not self._closed:
            self._threads.start()

    def close(self) -> None:
        """
        End the look-up threads; idempotent.  The thread of a look-up that is running ends after
        it, and is not waited for.
        """
        self._closed = True
        self._threads.stop()

    def connect(self) -> Deferred[PostgresConnection]:
        """
        :return: a connection that is ready for use.  Fails with `RegistryUnavailable` if there is
            none within the timeout; its cause says why.
        """
        return Deferred.fromCoroutine(self._connect())

    async def _connect(self) -> PostgresConnection:
        deadline = self._reactor.seconds() + self._timeout
        hosts = await self._hosts()
        failure = PostgresError(f"no address of the server is known: {self._lookup_error}")
        for index, host in enumerate(hosts):
            # An address that does not respond leaves time for the others.
            left = deadline - self._reactor.seconds()
            try:
                return await self._connect_to(host, left / (len(hosts) - index))
            except CONNECTION_ERRORS as error:
                failure = sanitized_error(error)
            except TimeoutError:
                failure = PostgresError(f"no connection within {self._timeout:g} s")
        raise RegistryUnavailable from failure

    async def _hosts(self) -> Sequence[ServerHost]:
        """:return: all addresses; for a name that cannot be looked up now, those found before."""
        await gatherResults([self._look_up(name) for name in self._names])
        hosts: list[ServerHost] = []
        for host in self._address.hosts:
            if host.name is None:
                hosts.append(host)
            else:
                addresses = self._known.get(host.name, ())
                hosts += [replace(host, hostaddr=str(address)) for address in addresses]
        return hosts

    def _look_up(self, name: str) -> Deferred[None]:
        def found(addresses: Sequence[IPAddress]) -> None:
            self._known[name] = addresses

        def not_found(failure: Failure) -> None:
            self._lookup_error = "its name cannot be looked up"
            if failure.trap(OSError, UnicodeError, NotInTime, Unavailable) is Unavailable:
                self._lookup_error += f": {failure.getErrorMessage()}"

        looked_up = self._lookups.addresses(name).addTimeout(self._timeout / 2, self._reactor)
        return looked_up.addCallbacks(found, not_found)

    async def _connect_to(self, host: ServerHost, seconds: float) -> PostgresConnection:
        connection = PostgresConnection(self._reactor)
        parameters = {"host": host.host, "hostaddr": host.hostaddr, "port": host.port}
        given = {name: value for name, value in parameters.items() if value is not None}
        timer = self._reactor.callLater(max(seconds, 0), connection.discard)
        try:
            await connection.connect(**self._parameters, **given)
            connection.configure_types()
            ((*_, connection.is_standby),) = await connection.rows(_SESSION, self._timeouts())
        except BaseException as error:
            connection.discard()
            if isinstance(error, CONNECTION_ERRORS) and not timer.active():
                raise TimeoutError from None
            raise
        finally:
            if timer.active():
                timer.cancel()
        return connection

    def _timeouts(self) -> Values:
        milliseconds = self._statement_timeout * 1000
        return {
            "statement": f"{milliseconds:.0f}",
            "transaction": f"{milliseconds * 2:.0f}",
        }
