"""
Builds a platform from its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from chatfiles.errors import RegistryUnavailable
from chatfiles.http.server.site import Site
from chatfiles.platform.admin_token import ADMIN_TOKEN, FILE_TOKEN, INTERVAL, AdminToken
from chatfiles.platform.authentication import Authenticator
from chatfiles.platform.channel.setup import ChannelParts
from chatfiles.platform.forwarding.gateway import WorkspaceGateway
from chatfiles.platform.forwarding.resolver import Resolver
from chatfiles.platform.last_seen import LastSeenBuffer
from chatfiles.platform.measurements import (
    FAMILIES,
    MeasuredRegistry,
    UpstreamFailures,
    count_lookups,
    measure_upstream,
)
from chatfiles.platform.refused_credentials import RefusedCredentials
from chatfiles.platform.registry.cache import CachedRegistry
from chatfiles.platform.registry.interface import IWorkspaceRegistry
from chatfiles.platform.registry.postgres import open_postgres
from chatfiles.platform.registry.sqlite.registry import SQLiteRegistry
from chatfiles.platform.routes.context import PlatformContext, UploadLimits
from chatfiles.platform.routes.fast_download import FastDownload
from chatfiles.platform.routes.route_table import DOWNLOAD, platform_tree
from chatfiles.platform.signed_links import Links
from chatfiles.platform.transfer_limits import TransferLimits
from chatfiles.platform.upstream.agent import UpstreamAgent
from chatfiles.platform.upstream.dialer import Dialer
from chatfiles.rules.address_policy import AddressPolicy, parse_networks
from chatfiles.rules.database_url import POSTGRES_SCHEMES
from chatfiles.rules.x_forwarded_for import TrustedProxies
from chatfiles.runtime.file_watch import FileWatch
from chatfiles.runtime.metrics.meter import Meter
from chatfiles.runtime.name_lookup import CHECK_THREADS, LOOKUP_THREADS, NameLookup
from chatfiles.runtime.node_listener import NodeListener
from chatfiles.runtime.role_service import Listener, ReadyReport, RoleService
from chatfiles.runtime.settings import PlatformSettings
from chatfiles.runtime.telemetry import Telemetry, check_audit_log, metrics_of_workers
from chatfiles.runtime.threads import Threads
from chatfiles.runtime.tls.files import SILENT
from chatfiles.runtime.tls.peers import PeerVerification, peer_verification
from chatfiles.runtime.workers.pool import WorkerPool

__all__ = ["open_registry", "platform_service", "platform_supervisor"]


def _utc_now() -> datetime:
    return datetime.now(UTC)


def open_registry(
    database: str, timeout: float, reactor: Any, meter: Meter | None = None
) -> CachedRegistry:
    """
    :param database: ``sqlite:PATH`` or ``postgresql://…``.
    :param timeout: seconds that a call of the registry may take.
    :param reactor: runs the registry's timers and connections.
    :param meter: measures its statements.
    :return: the registry, not started yet.
    :raise ValueError: *database* has neither form.  The text never repeats it, for it may hold a
        password.
    """
    return _cached(_open_database(database, timeout, reactor), reactor, meter)


def _cached(inner: Any, reactor: Any, meter: Meter | None) -> CachedRegistry:
    if meter is None:
        return CachedRegistry(inner, reactor)
    registry = CachedRegistry(MeasuredRegistry(inner, meter, reactor), reactor)
    count_lookups(meter, registry)
    return registry


def _open_database(database: str, timeout: float, reactor: Any) -> Any:
    if database.startswith(POSTGRES_SCHEMES):
        return open_postgres(database, reactor=reactor, now=_utc_now, timeout=timeout)
    kind, _, path = database.partition(":")
    if kind != "sqlite" or not path:
        raise ValueError(
            "--database takes sqlite:PATH, such as sqlite:/var/lib/chatfiles/registry.db, "
            "or postgresql://USER@HOST/NAME"
        )
    return SQLiteRegistry(path, clock=reactor, now=_utc_now, timeout=timeout)


async def _start_registry(registry: IWorkspaceRegistry, database: str | None) -> None:
    try:
        await registry.start()
    except RegistryUnavailable as error:
        if database is None:
            raise
        # A file that cannot be opened stays so.  A server may only be late: the registry retries.
        if not database.startswith(POSTGRES_SCHEMES):
            raise ValueError(f"--database: {_why_unusable(database, error)}") from error


def _why_unusable(database: str, error: RegistryUnavailable) -> str:
    """:return: why a registry file cannot be opened, for people; it names the file."""
    path, cause = database.partition(":")[2], error.__cause__
    reason = getattr(cause, "strerror", None) or str(cause or "it does not respond")
    return reason if path in reason else f"{path} cannot be opened: {reason}"


def platform_service(
    reactor: Any,
    settings: PlatformSettings,
    admin_token: Callable[[], AdminToken],
    listeners: Sequence[Listener],
    cannot_start: Callable[[], object],
    report: ReadyReport | None = None,
    metrics_listener: Listener | None = None,
    node: NodeListener | None = None,
    own_registry: IWorkspaceRegistry | None = None,
) -> RoleService:
    """
    :param reactor: provides every reactor interface that a server needs.
    :param settings: the operator's options.
    :param admin_token: returns the admin token, and may create it.  Called after all settings have
        been validated.
    :param listeners: where the platform will listen.
    :param cannot_start: ends the process; called if the platform cannot start.
    :param report: receives the news of a worker.
    :param metrics_listener: where the metrics are shown.
    :param node: where it listens for other nodes; ``None`` if they do not reach it.
    :param own_registry: is used in place of the one that the settings name.
    :return: the platform, as a service.
    :raise ValueError: a setting is wrong; the text names the option.
    """
    shared = settings.shared
    clock: IReactorTime = reactor
    policy, proxies = _networks(settings)
    telemetry = Telemetry(
        reactor,
        "platform",
        shared,
        FAMILIES,
        report,
        metrics_listener,
        listeners,
        {} if node is None else {settings.node_listen or "": node.listener},
    )
    meter = telemetry.meter
    peers = _peers(settings, report)
    registry = (
        open_registry(settings.database, settings.registry_timeout, reactor, meter)
        if own_registry is None
        else _cached(own_registry, reactor, meter)
    )
    lookups = Threads(reactor, "chatfiles-lookup", LOOKUP_THREADS, abandon=True)
    # Look-ups for registrations must not delay look-ups for connections.
    checks = Threads(reactor, "chatfiles-check", CHECK_THREADS, abandon=True)

    def dialer_with(threads: Threads, most: int) -> Dialer:
        names = NameLookup(threads.run, clock=clock, threads=most)
        return Dialer(clock, policy, names, connect_timeout=shared.connect_timeout, tls=peers)

    dialer, checker = dialer_with(lookups, LOOKUP_THREADS), dialer_with(checks, CHECK_THREADS)
    parts = ChannelParts(reactor, registry, shared, peers, node)
    agent = UpstreamAgent(dialer, header_timeout=shared.header_timeout, channels=parts.channels)
    if meter is not None:
        measure_upstream(meter, agent, parts.channels, parts.relays)
        telemetry.observers.append(UpstreamFailures(meter))
        meter.threads(lambda: lookups.running + checks.running)
    uses = LastSeenBuffer("last uses of tokens", registry.touch_tokens, clock, _utc_now)
    heartbeats = LastSeenBuffer("heartbeats", registry.touch_workspaces, clock, _utc_now)
    admin = admin_token()
    admin_watch = FileWatch(reactor, admin.look, INTERVAL)
    authenticator = Authenticator(
        registry,
        admin,
        uses.record,
        RefusedCredentials(settings.max_refusals_per_client, clock.seconds),
        open_registration=settings.open_registration,
    )
    context = PlatformContext(
        registry=registry,
        authenticator=authenticator,
        heartbeats=heartbeats,
        resolver=Resolver(registry, policy, parts.channels),
        gateway=WorkspaceGateway(agent, reactor),
        links=Links(registry, authenticator, _utc_now, settings.public_url),
        check_url=checker.check_url,
        clock=clock,
        idle_timeout=shared.idle_timeout,
        limits=UploadLimits(
            shared.max_file_bytes,
            shared.max_request_bytes,
            resumable_bytes=shared.max_resumable_bytes,
        ),
        channels=parts.channels,
        node=parts.node,
        transfers=TransferLimits(
            settings.max_transfers,
            settings.max_transfers_per_workspace,
            settings.max_transfers_per_token,
        ),
        ui=settings.ui,
        allowed_origins=frozenset(settings.allow_origin),
        has_prefix=bool(urlsplit(settings.public_url).path),
    )
    site = Site(
        platform_tree(context),
        clock,
        header_timeout=shared.header_timeout,
        idle_timeout=shared.idle_timeout,
        client_address=proxies.client_address if settings.trusted_proxy else None,
        is_relayed=proxies.trusts,
        fast_routes=FastDownload(context, registry, DOWNLOAD) if shared.fast_path else None,
        observers=telemetry.observers,
        refusal=telemetry.refusal,
    )

    site.held = lambda: parts.channels.open

    async def begin() -> None:
        telemetry.start(site)
        lookups.start()
        checks.start()
        if admin.path is not None:
            admin_watch.start()
            admin_watch.look_now()
        await _start_registry(registry, settings.database if own_registry is None else None)
        await parts.start()
        uses.startService()
        heartbeats.startService()

    async def end() -> None:
        await parts.finish(site.time_to_drain)
        await gatherResults([uses.stopService(), heartbeats.stopService()])
        await parts.stop()
        await agent.close()
        await registry.close()
        admin_watch.stop()
        for threads in (lookups, checks):
            threads.stop()
        await telemetry.stop()

    service = RoleService(
        "platform",
        site,
        listeners,
        drain_timeout=shared.drain_timeout,
        drain_delay=settings.drain_delay,
        cannot_start=cannot_start,
        before=[begin],
        stopping=parts.drain,
        check=registry.check,
        report=report,
        after=[end],
        metrics=telemetry.server,
        looks=peers.looks,
        alive=partial(_registry_responds, registry, settings.database),
    )
    service.reload.add(admin_watch.look_now)
    service.reload.add(telemetry.reload)
    return service


async def _registry_responds(registry: CachedRegistry, database: str) -> None:
    """
    :raise RegistryUnavailable: the thread of a registry file hangs.  A file that cannot be used is
        no such failure, and neither is a server that is down.
    """
    if database.startswith(POSTGRES_SCHEMES):
        return
    try:
        await registry.check()
    except RegistryUnavailable as error:
        if isinstance(error.__cause__, TimeoutError):
            raise


def _peers(settings: PlatformSettings, report: ReadyReport | None) -> PeerVerification:
    log = Logger() if report is None or report.is_first else SILENT
    return peer_verification(settings.peers, "--upstream-ca", log)


def _networks(settings: PlatformSettings) -> tuple[AddressPolicy, TrustedProxies]:
    try:
        policy = AddressPolicy(parse_networks(settings.upstream_allow))
    except ValueError as error:
        raise ValueError(f"--upstream-allow takes networks such as 10.0.0.0/8: {error}") from None
    try:
        return policy, TrustedProxies.parse(settings.trusted_proxy)
    except ValueError as error:
        raise ValueError(
            f"--trusted-proxy takes networks such as 10.0.0.5/32, or unix: {error}"
        ) from None


def platform_supervisor(
    settings: PlatformSettings,
    pool: WorkerPool,
    admin_token: Callable[[], AdminToken],
    listeners: Sequence[Listener],
    cannot_start: Callable[[], object],
    metrics_listener: Listener | None = None,
) -> RoleService:
    """
    The first process of a platform with workers.  It alone migrates the registry, and passes the
    admin token to the workers.

    :param settings: the operator's options.
    :param pool: the workers.
    :param admin_token: see `platform_service`; so are *listeners* and *cannot_start*.
    :return: the platform, as a service.
    :raise ValueError: a setting is wrong; the text names the option.
    """
    _networks(settings)
    _peers(settings, None)
    registry = open_registry(settings.database, settings.registry_timeout, pool.reactor)
    admin = admin_token()
    pool.command.environment[ADMIN_TOKEN if admin.path is None else FILE_TOKEN] = admin.text

    async def migrate() -> None:
        try:
            await _start_registry(registry, settings.database)
        finally:
            await registry.close()

    return RoleService(
        "platform",
        pool,
        [pool.shared(listener) for listener in listeners],
        drain_timeout=settings.shared.drain_timeout,
        cannot_start=cannot_start,
        before=[partial(check_audit_log, settings.shared.audit_log), migrate],
        serve=pool.serve,
        metrics=metrics_of_workers(
            "platform",
            settings.shared,
            FAMILIES,
            pool,
            metrics_listener,
            [settings.node_listen or ""],
        ),
    )
