"""
Connecting to PostgreSQL, within a deadline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.defer import TimeoutError as NotInTime
from twisted.python.failure import Failure

from chatfiles.errors import RegistryUnavailable, Unavailable
from chatfiles.platform.registry.postgres.address import Place, PostgresAddress
from chatfiles.platform.registry.postgres.connection import (
    LINK_ERRORS,
    PostgresConnection,
    PostgresError,
    Values,
    described,
)
from chatfiles.rules.address_policy import IPAddress
from chatfiles.runtime.name_lookup import Lookup, NameLookup, system_lookup
from chatfiles.runtime.threads import Threads

__all__ = ["PostgresConnector"]

#: Of libpq, unless the URL says otherwise: a peer that has gone is noticed within seconds.
DEFAULTS = {
    "application_name": "chatfiles",
    "gssencmode": "disable",  # looks for credentials, and asks the DNS, in the reactor's thread
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
}

#: Of each session.  A transaction that hangs on our side must not keep its locks.
_SESSION = """
    SELECT set_config('statement_timeout', %(statement)s, false),
        set_config('idle_in_transaction_session_timeout', %(transaction)s, false),
        set_config('TimeZone', 'UTC', false),
        set_config('DateStyle', 'ISO, YMD', false),
        pg_is_in_recovery()"""


class PostgresConnector:
    """
    Opens connections to the server of a URL.

    :param address: where it is.
    :param reactor: provides every reactor interface.
    :param timeout: seconds for a connection, from the name to the first answer.
    :param statement_timeout: seconds after which the server gives a statement up.
    :param lookup: looks a name up; called in a thread, because libpq's own would block the reactor.
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
        self._names = {place.name for place in address.places if place.name}
        count = len(self._names)
        self._threads = Threads(reactor, "chatfiles-registry-lookup", count, abandon=True)
        self._lookups = NameLookup(self._threads.run, lookup, threads=count)
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
        self._threads.settled().addCallback(lambda _: self._threads.stop())

    def dial(self) -> Deferred[PostgresConnection]:
        """
        :return: a connection, ready for use.
        :raise RegistryUnavailable: there is none within the deadline; its cause says why.
        """
        return Deferred.fromCoroutine(self._dial())

    async def _dial(self) -> PostgresConnection:
        deadline = self._reactor.seconds() + self._timeout
        places = await self._places()
        trouble = PostgresError(f"no address of the server is known: {self._lookup_error}")
        for index, place in enumerate(places):
            # An address that does not answer leaves time for the others.
            left = deadline - self._reactor.seconds()
            try:
                return await self._connect(place, left / (len(places) - index))
            except LINK_ERRORS as error:
                trouble = described(error)
            except TimeoutError:
                trouble = PostgresError(f"no connection within {self._timeout:g} s")
        raise RegistryUnavailable from trouble

    async def _places(self) -> Sequence[Place]:
        """:return: every address to try; what cannot be looked up now is where it was."""
        await gatherResults([self._look_up(name) for name in self._names])
        places: list[Place] = []
        for place in self._address.places:
            if place.name is None:
                places.append(place)
            else:
                addresses = self._known.get(place.name, ())
                places += [replace(place, hostaddr=str(address)) for address in addresses]
        return places

    def _look_up(self, name: str) -> Deferred[None]:
        def found(addresses: Sequence[IPAddress]) -> None:
            self._known[name] = addresses

        def not_found(failure: Failure) -> None:
            self._lookup_error = "its name cannot be looked up"
            if failure.trap(OSError, UnicodeError, NotInTime, Unavailable) is Unavailable:
                self._lookup_error += f": {failure.getErrorMessage()}"

        looked_up = self._lookups.addresses(name).addTimeout(self._timeout / 2, self._reactor)
        return looked_up.addCallbacks(found, not_found)

    async def _connect(self, place: Place, patience: float) -> PostgresConnection:
        link = PostgresConnection(self._reactor)
        where = {"host": place.host, "hostaddr": place.hostaddr, "port": place.port}
        given = {name: value for name, value in where.items() if value is not None}
        late = []

        def too_late() -> None:
            late.append(True)
            link.discard()

        timer = self._reactor.callLater(max(patience, 0), too_late)
        try:
            await link.connect(**self._parameters, **given)
            link.opened()
            ((*_, link.standby),) = await link.rows(_SESSION, self._session())
        except LINK_ERRORS:
            link.discard()
            if late:
                raise TimeoutError from None
            raise
        except BaseException:
            link.discard()
            raise
        finally:
            if timer.active():
                timer.cancel()
        return link

    def _session(self) -> Values:
        milliseconds = self._statement_timeout * 1000
        return {
            "statement": f"{milliseconds:.0f}",
            "transaction": f"{milliseconds * 2:.0f}",
        }
