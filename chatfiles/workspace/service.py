"""
Builds a workspace from its parts.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from chatfiles.errors import ChatfilesError, WriteFailed
from chatfiles.http.server.site import Site
from chatfiles.rules.virtual_paths import ROOTS, VirtualPath, check_form
from chatfiles.rules.writable_prefixes import WritablePrefixes
from chatfiles.runtime.role_service import Listener, ReadyReport, RoleService, wait_for_steps
from chatfiles.runtime.settings import WorkspaceSettings
from chatfiles.runtime.slots import Slots
from chatfiles.runtime.telemetry import Telemetry, check_audit_log, metrics_of_workers
from chatfiles.runtime.threads import Threads
from chatfiles.runtime.workers.pool import WorkerPool
from chatfiles.workspace.archive.archives import Archives
from chatfiles.workspace.archive.plan import Limits
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.files.write_targets import Targets
from chatfiles.workspace.inbound_secrets import InboundSecrets
from chatfiles.workspace.measurements import FAMILIES, count_digests
from chatfiles.workspace.platform_connection import TOKEN_FILE, PlatformLink
from chatfiles.workspace.publication.file_write import FileWrites
from chatfiles.workspace.publication.leftovers import sweep_below
from chatfiles.workspace.publication.publisher import Publisher
from chatfiles.workspace.resumable.locks import UploadLocks
from chatfiles.workspace.resumable.sweep import HourlySweep
from chatfiles.workspace.resumable.uploads import ResumableLimits, ResumableUploads
from chatfiles.workspace.routes.context import WorkspaceContext
from chatfiles.workspace.routes.fast_read import FastRead
from chatfiles.workspace.routes.ingest import IngestContext
from chatfiles.workspace.routes.resumable import ResumableContext
from chatfiles.workspace.routes.route_table import check_secret, workspace_tree
from chatfiles.workspace.routes.write import WriteContext
from chatfiles.workspace.secret_file import SECRET_OWNER
from chatfiles.workspace.uploads.ingestion import IngestLimits
from chatfiles.workspace.uploads.upload_directory import UPLOAD_OWNER, UPLOADS, UploadDirectory

__all__ = ["workspace_service", "workspace_supervisor"]

_log = Logger()

#: Threads of each owner: each root, the uploads, and the secrets.  The pool has enough for all
#: owners, so that a file system that hangs uses no thread of another owner.
THREADS_PER_OWNER = 16
#: Seconds to wait for file systems; after that the role listens without them.
START_TIMEOUT = 5.0
#: Minimum seconds for interrupted uploads to remove their files when the role stops.
RELEASE_TIMEOUT = 5.0
_SWEEP_OF = "sweep of "
_SWEEP = _SWEEP_OF + UPLOADS
SECRET_FILE = ".platform_inbound_secret"  # noqa: S105 — a file name


def workspace_service(
    reactor: Any,
    settings: WorkspaceSettings,
    listeners: Sequence[Listener],
    cannot_start: Callable[[], object],
    report: ReadyReport | None = None,
    metrics_listener: Listener | None = None,
) -> RoleService:
    """
    :param reactor: provides every reactor interface that a server needs.
    :param settings: the operator's options.
    :param listeners: where the workspace will listen.
    :param cannot_start: ends the process; called if the workspace cannot start.
    :param report: receives the news of a worker.
    :param metrics_listener: where the metrics are shown.
    :return: the workspace, as a service.
    :raise ValueError: a setting is wrong; the text names the option.
    """
    shared = settings.shared
    telemetry = Telemetry(
        reactor, "workspace", shared, FAMILIES, report, metrics_listener, listeners
    )
    clock: IReactorTime = reactor
    store, threads = _store(settings), _threads(reactor)
    secret = _secrets(settings)
    link = PlatformLink(reactor, settings, secret, threads, report)
    uploads = UploadDirectory(partial(store.open_root, b"/workspace"))
    if report is None:
        _warn_of_prefixes(settings)
    context = WorkspaceContext(
        store=store,
        secret=secret,
        threads=threads,
        clock=clock,
        idle_timeout=shared.idle_timeout,
        max_list_entries=settings.max_list_entries,
        digest_inline_bytes=settings.digest_inline_bytes,
        archives=_archives(settings, report),
        prefixes=_prefixes(settings),
    )
    writing = WriteContext(
        FileWrites(
            Targets(store, context.prefixes), _publisher(report), partial(_open_spool, uploads)
        ),
        shared.max_file_bytes,
        threads,
    )
    resumable = _resumable(settings, writing.writes, uploads)
    sweeping = HourlySweep(resumable, threads, clock)
    ingest = IngestContext(
        directory=uploads,
        limits=IngestLimits(shared.max_file_bytes, shared.max_request_bytes),
        secret=secret,
        threads=threads,
    )
    site = Site(
        workspace_tree(context, ingest, writing, _uploading(resumable, threads, clock, report)),
        clock,
        header_timeout=shared.header_timeout,
        idle_timeout=shared.idle_timeout,
        workspace=settings.workspace_id or "-",
        fast_routes=FastRead(context) if shared.fast_path else None,
        observers=telemetry.observers,
        refusal=telemetry.refusal,
    )
    link.serve(site)
    if telemetry.meter is not None:
        telemetry.meter.threads(lambda: threads.running)
        count_digests(telemetry.meter, context.digests)

    async def begin() -> None:
        telemetry.start(site)
        threads.start()
        await _prepare(clock, threads, settings, store, None if report else uploads)
        if report is None:
            sweeping.start()

    async def end() -> None:
        sweeping.stop()
        await link.stop()
        context.digests.stop()
        settled = threads.settled()  # interrupted uploads remove their files
        settled.addTimeout(max(site.time_to_drain, RELEASE_TIMEOUT), clock)
        try:
            await settled
        except defer.TimeoutError:
            # The next start removes the files of interrupted uploads.
            _log.warn("ending without file operations that do not return")
        threads.stop()
        threads.settled().addCallback(lambda _: store.close())  # no thread uses it any more
        await telemetry.stop()

    service = RoleService(
        "workspace",
        site,
        listeners,
        drain_timeout=shared.drain_timeout,
        cannot_start=cannot_start,
        before=[begin],
        check=partial(check_secret, context),
        report=report,
        ready=link.start,
        after=[end],
        metrics=telemetry.server,
        looks=link.looks,
    )
    service.reload.add(telemetry.reload)
    return service


def workspace_supervisor(
    settings: WorkspaceSettings,
    pool: WorkerPool,
    listeners: Sequence[Listener],
    cannot_start: Callable[[], object],
    metrics_listener: Listener | None = None,
) -> RoleService:
    """
    The first process of a workspace with workers.  It alone registers, sends heartbeats, and
    removes the files of interrupted uploads: when it starts, and when a worker has been killed.

    :param settings: the operator's options.
    :param pool: the workers.
    :param listeners: where the workspace will listen.
    :param cannot_start: ends the process; called if the workspace cannot start.
    :return: the workspace, as a service.
    :raise ValueError: a setting is wrong; the text names the option.
    """
    store, threads = _store(settings), _threads(pool.reactor)
    link = PlatformLink(pool.reactor, settings, _secrets(settings), threads)
    link.serve_in(pool)
    uploads = UploadDirectory(partial(store.open_root, b"/workspace"))
    writes = FileWrites(
        Targets(store, _prefixes(settings)), _publisher(None), partial(_open_spool, uploads)
    )
    sweeping = HourlySweep(_resumable(settings, writes, uploads), threads, pool.reactor)

    def sweep() -> Mapping[str, defer.Deferred[None]]:
        return _sweeps(threads, settings, store, uploads)

    async def begin() -> None:
        threads.start()
        await _wait(sweep(), pool.reactor)
        sweeping.start()

    async def end() -> None:
        sweeping.stop()
        await link.stop()
        threads.stop()

    pool.replacing = sweep
    _warn_of_prefixes(settings)
    return RoleService(
        "workspace",
        pool,
        [pool.shared(listener) for listener in listeners],
        drain_timeout=settings.shared.drain_timeout,
        cannot_start=cannot_start,
        before=[partial(check_audit_log, settings.shared.audit_log), begin],
        serve=pool.serve,
        ready=link.start,
        after=[end],
        metrics=metrics_of_workers("workspace", settings.shared, FAMILIES, pool, metrics_listener),
        looks=link.looks,
    )


def _prefixes(settings: WorkspaceSettings) -> WritablePrefixes:
    prefixes = WritablePrefixes(settings.writable, settings.write_in_place)
    for prefix in prefixes:
        if check_form([prefix]).root not in settings.roots:
            shown = os.fsdecode(prefix)
            raise ValueError(f"--writable takes a directory in a root that is served, not {shown}")
    return prefixes


def _publisher(report: ReadyReport | None) -> Publisher:
    return Publisher(time.time_ns, None if report is None else report.shared_fd)


def _resumable(
    settings: WorkspaceSettings, writes: FileWrites, uploads: UploadDirectory
) -> ResumableUploads:
    limits = ResumableLimits(
        settings.shared.max_resumable_bytes,
        settings.upload_expiry,
        settings.max_unfinished_uploads,
    )
    return ResumableUploads(uploads, writes.targets, writes.publisher, limits, time.time)


def _uploading(
    uploads: ResumableUploads, threads: Threads, clock: IReactorTime, report: ReadyReport | None
) -> ResumableContext | None:
    if not uploads.limits.file_bytes:
        return None
    # Never refused: an upload waits for only one call at a time, and must not stay half done.
    run = partial(threads.run, refusable=False)
    locks = UploadLocks(run, clock, None if report is None else report.shared_fd)
    return ResumableContext(uploads, locks, threads)


def _open_spool(uploads: UploadDirectory) -> int:
    """:return: the directory of uploads; that of temporary files if there is no ``/workspace``."""
    try:
        return uploads.open()
    except WriteFailed:
        return os.open(tempfile.gettempdir(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _warn_of_prefixes(settings: WorkspaceSettings) -> None:
    """The files below some roots decide what an agent does, so few clients should change them."""
    for prefix in _prefixes(settings):
        if prefix.startswith((b"/configs", b"/plugins")):
            _log.warn(
                "{path} is writable: clients may change what configures the agent",
                path=os.fsdecode(prefix),
            )


def _archives(settings: WorkspaceSettings, report: ReadyReport | None) -> Archives:
    return Archives(
        Limits(settings.archive_max_entries, settings.archive_max_bytes),
        Slots(settings.max_archives, None if report is None else report.shared_fd),
        settings.workspace_id,
    )


def _store(settings: WorkspaceSettings) -> FileStore:
    try:
        deny = DenyRules(settings.deny)
    except ValueError as error:
        raise ValueError(f"--deny takes globs of virtual paths: {error}") from None
    token = os.path.join(settings.configs_dir, TOKEN_FILE)
    credentials = [*_secrets(settings).paths, os.fsencode(token)]
    return FileStore(settings.roots, deny, credentials, find=False)


def _secrets(settings: WorkspaceSettings) -> InboundSecrets:
    return InboundSecrets(os.path.join(settings.configs_dir, SECRET_FILE))


def _threads(reactor: Any) -> Threads:
    # A request may name a root that is not configured.
    owners = (*ROOTS, SECRET_OWNER, UPLOAD_OWNER)
    return Threads(
        reactor,
        "chatfiles-file",
        THREADS_PER_OWNER * len(owners),
        per_owner=THREADS_PER_OWNER,
        abandon=True,
    )


async def _prepare(
    clock: IReactorTime,
    threads: Threads,
    settings: WorkspaceSettings,
    store: FileStore,
    uploads: UploadDirectory | None,
) -> None:
    """Examine roots, credentials and uploads, for at most `START_TIMEOUT` seconds."""

    def look(root: bytes) -> None:
        store.find_root(root)
        if reason := store.why_missing(root):
            _log.warn("{root} cannot be opened: {reason}", root=shown[root], reason=reason)

    shown = {
        root: f"--root={os.fsdecode(root)}={os.fsdecode(path)}"
        for root, path in settings.roots.items()
    }
    looks = {shown[root]: threads.run(look, root, owner=root) for root in settings.roots}
    configs = f"--configs-dir={settings.configs_dir}"
    looks[configs] = threads.run(store.find_credentials, owner=SECRET_OWNER)
    if uploads is not None:
        looks |= _sweeps(threads, settings, store, uploads)
    await _wait(looks, clock)


def _sweeps(
    threads: Threads, settings: WorkspaceSettings, store: FileStore, uploads: UploadDirectory
) -> dict[str, defer.Deferred[None]]:
    """:return: the sweeps of the uploads and of each writable prefix, which have begun."""
    sweeps = {_SWEEP: threads.run(_sweep, uploads, owner=UPLOAD_OWNER)}
    for prefix in _prefixes(settings):
        path = check_form([prefix])
        name = _SWEEP_OF + os.fsdecode(prefix)
        sweeps[name] = threads.run(_sweep_prefix, store, path, uploads, owner=path.root)
    return sweeps


async def _wait(steps: Mapping[str, defer.Deferred[None]], clock: IReactorTime) -> None:
    for name in await wait_for_steps(steps, START_TIMEOUT, clock):
        if name.startswith(_SWEEP_OF) and name != _SWEEP:
            _log.warn("{name}: not complete yet; starting meanwhile", name=name)
        else:
            _log.warn("{name}: the file system does not respond; starting without it", name=name)


def _sweep(uploads: UploadDirectory) -> None:
    if count := uploads.sweep():
        _log.info("removed {count} uploads that a killed process left", count=count)


def _sweep_prefix(store: FileStore, path: VirtualPath, uploads: UploadDirectory) -> None:
    try:
        root_fd = store.open_root(path.root)
    except ChatfilesError:
        return  # a request for it reports the reason
    records_fd = uploads.existing_or_none()
    try:
        count = sweep_below(root_fd, path.segments, records_fd)
    finally:
        os.close(root_fd)
        if records_fd is not None:
            os.close(records_fd)
    if count:
        _log.info(
            "removed {count} unpublished files that a killed process left below {path}",
            count=count,
            path=os.fsdecode(path.raw),
        )
