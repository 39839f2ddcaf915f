"""
A workspace, put together.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from treq.client import HTTPClient
from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.client import Agent

from chatfiles.http.server.site import Site
from chatfiles.runtime.options import WorkspaceSettings
from chatfiles.runtime.role_service import Listener, RoleService
from chatfiles.runtime.threads import Threads
from chatfiles.workspace.files.deny_rules import DenyRules
from chatfiles.workspace.files.store import FileStore
from chatfiles.workspace.registration.service import RegistrationService
from chatfiles.workspace.routes.ingest import IngestContext
from chatfiles.workspace.routes.read import WorkspaceContext
from chatfiles.workspace.routes.tree import workspace_tree
from chatfiles.workspace.secret_file import SecretFile
from chatfiles.workspace.uploads.directory import UploadDirectory
from chatfiles.workspace.uploads.ingestion import IngestLimits

__all__ = ["workspace_service"]

_log = Logger()

#: Threads for file operations that may block.
FILE_THREADS = 16
#: Seconds that uploads have, at least, to take back what they have made when the role stops.
LETTING_GO = 5.0
SECRET_FILE = ".platform_inbound_secret"  # noqa: S105 — a file name
TOKEN_FILE = ".auth_token"  # noqa: S105


def workspace_service(
    reactor: Any,
    settings: WorkspaceSettings,
    listeners: Sequence[Listener],
    cannot_start: Callable[[], object],
) -> RoleService:
    """
    :param reactor: provides every reactor interface that a server needs.
    :param settings: what the operator said.
    :param listeners: where it will listen.
    :param cannot_start: ends the process.
    :return: the workspace, as a service.
    :raise ValueError: a setting is wrong; the text names the option.
    """
    shared = settings.shared
    clock: IReactorTime = reactor
    secret_path = os.path.join(settings.configs_dir, SECRET_FILE)
    token_path = os.path.join(settings.configs_dir, TOKEN_FILE)
    try:
        deny = DenyRules(settings.deny)
    except ValueError as error:
        raise ValueError(f"--deny takes globs of virtual paths: {error}") from None
    store = FileStore(settings.roots, deny, (secret_path, token_path))
    threads = Threads(reactor, "chatfiles-file", FILE_THREADS, abandon=True)
    secret = SecretFile(secret_path)
    enrolment = _enrolment(reactor, settings, secret, SecretFile(token_path), threads)
    uploads = UploadDirectory(partial(store.open_root, b"/workspace"))
    site = Site(
        workspace_tree(
            WorkspaceContext(
                store=store,
                secret=secret,
                threads=threads,
                clock=clock,
                idle_timeout=shared.idle_timeout,
            ),
            IngestContext(
                directory=uploads,
                limits=IngestLimits(shared.max_file_bytes, shared.max_request_bytes),
                secret=secret,
                threads=threads,
            ),
        ),
        clock,
        header_timeout=shared.header_timeout,
        idle_timeout=shared.idle_timeout,
        workspace=settings.workspace_id or "-",
    )

    async def begin() -> None:
        threads.start()
        for root, path in await threads.run(store.missing):
            _log.warn(
                "--root={root}={path}: there is no such directory",
                root=os.fsdecode(root),
                path=os.fsdecode(path),
            )
        swept = await threads.run(uploads.sweep)
        if swept:
            _log.info("removed {count} uploads that a killed process left", count=swept)

    async def end() -> None:
        if enrolment is not None and enrolment.running:
            await enrolment.stopService()
        settled = threads.settled()  # uploads that were cut take back what they have made
        settled.addTimeout(max(site.time_to_drain, LETTING_GO), clock)
        try:
            await settled
        except defer.TimeoutError:
            # What a note names goes at the next start; a thread may hold the store.
            _log.warn("ending without file operations that do not return")
            return
        threads.stop()
        store.close()

    return RoleService(
        "workspace",
        site,
        listeners,
        drain_timeout=shared.drain_timeout,
        cannot_start=cannot_start,
        before=[begin],
        ready=enrolment.startService if enrolment is not None else lambda: None,
        after=[end],
    )


def _enrolment(
    reactor: Any,
    settings: WorkspaceSettings,
    secret: SecretFile,
    token: SecretFile,
    threads: Threads,
) -> RegistrationService | None:
    if settings.platform is None or settings.workspace_id is None or settings.advertise is None:
        return None
    agent = Agent(reactor, connectTimeout=settings.shared.connect_timeout)
    return RegistrationService(
        reactor,
        HTTPClient(agent),
        settings.platform,
        settings.workspace_id,
        settings.advertise,
        secret,
        token,
        in_thread=threads.run,
    )
