"""
The registry that many platform nodes share: PostgreSQL, through txpostgres.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred, gatherResults
from zope.interface import implementer

from chatfiles.interfaces import IWorkspaceRegistry
from chatfiles.model import Scope, Token, Workspace
from chatfiles.platform.registry import postgres_queries as queries
from chatfiles.platform.registry.changes import Subscribers
from chatfiles.platform.registry.migrations import load
from chatfiles.platform.registry.postgres_address import PostgresAddress
from chatfiles.platform.registry.postgres_dial import PostgresDialer
from chatfiles.platform.registry.postgres_link import Link
from chatfiles.platform.registry.postgres_listen import PostgresListener
from chatfiles.platform.registry.postgres_opening import Opening
from chatfiles.platform.registry.postgres_pool import Call, PostgresPool
from chatfiles.platform.registry.rows import utc
from chatfiles.platform.registry.trouble import Trouble

__all__ = ["PostgresRegistry"]

#: Seconds in which a call is answered.
TIMEOUT = 2.0
#: The part of it after which the server gives a statement up, so that the log can tell a lock from
#: a connection that hangs.
STATEMENT_PART = 0.75
#: Seconds for `PostgresRegistry.workspaces`, which may be many.
LIST_TIMEOUT = 10.0
#: Seconds for each statement of a migration, which may have a large table to index.
MIGRATION_TIMEOUT = 300.0
#: Connections that read, and that write.  A change may have to wait for a lock; a lookup never
#: waits behind it.
READERS, WRITERS = 4, 2

T = TypeVar("T")


@implementer(IWorkspaceRegistry)
class PostgresRegistry:
    """
    A registry in PostgreSQL.

    Changes are told twice: when a change of ours is done, and when PostgreSQL notifies of it, as of
    everybody's.  While it cannot notify, `watching` is false, and nothing may be kept.

    :param url: ``postgresql://…``; its password is never shown.
    :param reactor: provides every reactor interface.
    :param now: gives the aware time.
    :param new_id: gives the id of a new token.
    :param timeout: seconds in which a call is answered.
    :param getaddrinfo: looks names up; called in a thread.
    :raise ValueError: the URL is none; the text does not repeat it.
    """

    def __init__(
        self,
        url: str,
        *,
        reactor: Any,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], UUID] = uuid4,
        timeout: float = TIMEOUT,
        getaddrinfo: Callable[..., Sequence[tuple[object, ...]]] = socket.getaddrinfo,
    ) -> None:
        address = PostgresAddress.parse(url)
        self._now = now
        self._new_id = new_id
        self._subscribers = Subscribers()
        self._dialer = PostgresDialer(
            address,
            reactor=reactor,
            timeout=timeout * STATEMENT_PART,
            statement_timeout=timeout * STATEMENT_PART,
            getaddrinfo=getaddrinfo,
        )

        def trouble(part: str) -> Callable[[str, BaseException | None], None]:
            return Trouble(f"registry {address.shown} ({part})").outcome

        def pool(part: str, size: int) -> PostgresPool:
            return PostgresPool(
                self._dialer.dial,
                clock=reactor,
                size=size,
                timeout=timeout,
                outcome=trouble(part),
            )

        self._readers, self._writers = pool("readers", READERS), pool("writers", WRITERS)
        self._listener = PostgresListener(
            self._dialer.dial, self._subscribers.tell, clock=reactor, outcome=trouble("listener")
        )
        self._opening = Opening(
            self._dialer.dial,
            load("postgresql"),
            self._opened,
            clock=reactor,
            now=now,
            patience=MIGRATION_TIMEOUT,
            outcome=trouble("schema"),
        )

    @property
    def watching(self) -> bool:
        """Whether subscribers hear of every change now."""
        return self._listener.watching

    def start(self) -> Deferred[None]:
        """
        Connect and migrate.  If that fails for want of the server, it is tried again and again
        until it has not or the registry is closed; what calls meanwhile fails.

        :raise RegistryUnavailable: the first attempt has failed.
        :raise chatfiles.platform.registry.migrations.SchemaTooNew: a newer chatfiles has migrated
            the database; not tried again.
        """
        self._dialer.start()
        return self._opening.start()

    def _opened(self) -> Deferred[None]:
        self._readers.open()
        self._writers.open()
        return self._listener.start()

    async def close(self) -> None:
        await self._opening.close()
        await gatherResults([self._readers.close(), self._writers.close()])
        await self._listener.close()
        await self._dialer.close()

    def check(self) -> Deferred[None]:
        return self._read("check", queries.check)

    def subscribe(self, changed: Callable[[UUID | None], None]) -> Callable[[], None]:
        return self._subscribers.subscribe(changed)

    def workspace(self, workspace_id: UUID) -> Deferred[Workspace | None]:
        return self._read("workspace", lambda link: queries.workspace(link, workspace_id))

    fresh_workspace = workspace

    def workspaces(self) -> Deferred[Sequence[Workspace]]:
        def work(link: Link, _: object) -> Deferred[Sequence[Workspace]]:
            return Deferred.fromCoroutine(queries.workspaces(link))

        return self._readers.call("workspaces", work, again=True, timeout=LIST_TIMEOUT)

    def create_workspace(
        self,
        workspace_id: UUID,
        *,
        name: str,
        url: str | None,
        delivery_mode: str | None,
        secret: str,
    ) -> Deferred[Workspace]:
        change = partial(
            queries.create_workspace,
            workspace_id=workspace_id,
            now=self._now(),
            name=name,
            url=url,
            delivery_mode=delivery_mode,
            secret=secret,
        )
        return self._change("create_workspace", change)

    def register(
        self,
        workspace_id: UUID,
        *,
        url: str | None,
        delivery_mode: str | None,
        create_name: str | None,
    ) -> Deferred[Workspace | None]:
        change = partial(
            queries.register,
            workspace_id=workspace_id,
            now=self._now(),
            url=url,
            delivery_mode=delivery_mode,
            create_name=create_name,
        )
        return self._change("register", change)

    def ensure_secret(self, workspace_id: UUID, candidate: str) -> Deferred[str | None]:
        now = self._now()
        return self._change(
            "ensure_secret", lambda db: queries.ensure_secret(db, workspace_id, now, candidate)
        )

    def heartbeat(self, workspace_id: UUID) -> Deferred[Workspace | None]:
        now = self._now()
        return self._change("heartbeat", lambda db: queries.heartbeat(db, workspace_id, now))

    def remove_workspace(self, workspace_id: UUID) -> Deferred[bool]:
        now = self._now()
        return self._change(
            "remove_workspace", lambda db: queries.remove_workspace(db, workspace_id, now)
        )

    def token(self, digest: bytes) -> Deferred[Token | None]:
        return self._read("token", lambda link: queries.token(link, digest))

    def create_token(
        self,
        workspace_id: UUID,
        *,
        digest: bytes,
        prefix: str,
        scopes: frozenset[Scope],
        name: str | None,
        only_first: bool = False,
    ) -> Deferred[Token | None]:
        new = Token(
            id=self._new_id(),
            workspace_id=workspace_id,
            prefix=prefix,
            scopes=scopes,
            name=name,
            created_at=utc(self._now()),
        )
        return self._change(
            "create_token",
            lambda db: queries.create_token(db, new, digest, only_first=only_first),
        )

    def has_live_token(self, workspace_id: UUID) -> Deferred[bool]:
        return self._read("has_live_token", lambda link: queries.has_live_token(link, workspace_id))

    def tokens(self, workspace_id: UUID) -> Deferred[Sequence[Token]]:
        return self._read("tokens", lambda link: queries.tokens(link, workspace_id))

    def revoke_token(self, workspace_id: UUID, token_id: UUID) -> Deferred[bool]:
        now = self._now()
        return self._change(
            "revoke_token", lambda db: queries.revoke_token(db, workspace_id, token_id, now)
        )

    def touch_tokens(self, used: Mapping[UUID, datetime]) -> Deferred[None]:
        batch = dict(used)
        return self._change("touch_tokens", lambda db: queries.touch_tokens(db, batch))

    def _read(self, what: str, query: Callable[[Link], Deferred[T]]) -> Deferred[T]:
        return self._readers.call(what, lambda link, _: query(link), again=True)

    def _change(
        self, what: str, change: Callable[[queries.Transaction], Awaitable[queries.Change[T]]]
    ) -> Deferred[T]:
        async def work(link: Link, call: Call[Any]) -> T:
            done, changed = await queries.change(link, change, wanted=lambda: not call.abandoned)
            for workspace_id in changed:
                self._subscribers.tell(workspace_id)
            return done

        return self._writers.call(
            what, lambda link, call: Deferred.fromCoroutine(work(link, call)), again=False
        )
