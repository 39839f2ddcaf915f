"""
What connects a workspace to its platform: the registration, and the channel if it has one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from treq.client import HTTPClient
from twisted.logger import Logger

from chatfiles.http.server.site import Site
from chatfiles.runtime.role_service import ReadyReport
from chatfiles.runtime.settings import WorkspaceSettings
from chatfiles.runtime.threads import Threads
from chatfiles.runtime.tls.peers import peer_verification
from chatfiles.runtime.workers.pool import WorkerPool
from chatfiles.workspace.channel.service import ChannelService
from chatfiles.workspace.channel.setup import channel_service
from chatfiles.workspace.inbound_secrets import InboundSecrets
from chatfiles.workspace.registration.platform_client import platform_agent
from chatfiles.workspace.registration.service import RegistrationService
from chatfiles.workspace.secret_file import SECRET_OWNER, SecretFile

__all__ = ["TOKEN_FILE", "PlatformLink"]

_log = Logger()

TOKEN_FILE = ".auth_token"  # noqa: S105 — a file name


class PlatformLink:
    """
    The side of one process.  Of several processes, the first one registers, and each worker makes
    connections of its own.

    :param reactor: makes the connections.
    :param settings: the operator's options.
    :param secrets: store the inbound secrets.
    :param threads: read and write files.
    :param report: of a worker.
    :raise ValueError: a setting is wrong; the text names the option.
    """

    def __init__(
        self,
        reactor: Any,
        settings: WorkspaceSettings,
        secrets: InboundSecrets,
        threads: Threads,
        report: ReadyReport | None = None,
    ) -> None:
        self._reactor, self._settings, self._report = reactor, settings, report
        self._in_thread = partial(threads.run, owner=SECRET_OWNER)
        self._peers = peer_verification(settings.peers, "--platform-ca", _log)
        self._token_file = SecretFile(os.path.join(settings.configs_dir, TOKEN_FILE))
        self._registration = None if report else self._new_registration(secrets)
        self._channel: ChannelService | None = None

    def _new_registration(self, secrets: InboundSecrets) -> RegistrationService | None:
        settings = self._settings
        if settings.platform is None or settings.workspace_id is None:
            return None
        return RegistrationService(
            self._reactor,
            HTTPClient(platform_agent(self._reactor, settings.shared.connect_timeout, self._peers)),
            settings.platform,
            settings.workspace_id,
            settings.advertise,
            secrets,
            self._token_file,
            in_thread=self._in_thread,
        )

    @property
    def looks(self) -> Sequence[Callable[[], None]]:
        """What looks at the files of certificates; nothing if this process makes no connections."""
        return self._peers.looks if self._registration or self._channel else ()

    def serve(self, site: Site) -> None:
        """:param site: serves the requests that arrive over the channel, if there is one."""
        source, report = self._registration, self._report
        token = source.token if source else partial(self._in_thread, self._token_file.read)
        register = report.register if report else source.register_again if source else _nothing
        self._channel = channel_service(
            self._reactor, self._settings, site, self._peers, token, register
        )

    def serve_in(self, pool: WorkerPool) -> None:
        """:param pool: the workers, whose channels depend on the registration."""
        if self._registration is not None and self._settings.channel is not None:
            self._registration.accepted = pool.registered
            pool.register = self._registration.register_again

    def start(self) -> None:
        """Register, and then connect."""
        registration, channel = self._registration, self._channel
        if channel is not None and self._report is not None:
            self._report.when_registered(channel.registered)
        if registration is not None:
            if channel is not None:
                registration.accepted = channel.registered
            registration.startService()

    async def stop(self) -> None:
        """Neither register nor connect any more."""
        if self._channel is not None and self._channel.running:
            self._channel.stopService()
        if self._registration is not None and self._registration.running:
            await self._registration.stopService()


def _nothing() -> None:
    pass
