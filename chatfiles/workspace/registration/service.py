"""
The workspace makes itself known to its platform: register, then heartbeats (CONTRACT 4).
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, cast

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatfiles.errors import ChatfilesError
from chatfiles.workspace.registration.client import (
    Answer,
    HTTPClient,
    RegistryClient,
    why_no_answer,
)
from chatfiles.workspace.secret_file import SecretFile, is_secret

__all__ = ["InThread", "RegistrationService"]

#: Seconds between heartbeats (CONTRACT 2).
INTERVAL: Final = 30.0
#: Seconds before registering is tried again: after the first failure, and at most.
FIRST_RETRY: Final = 1.0
LAST_RETRY: Final = 60.0

REGISTER: Final = "registry/register"
HEARTBEAT: Final = "registry/heartbeat"

#: Runs a function that blocks, and gives its result (`chatfiles.runtime.threads.Threads.run`).
InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


class RegistrationService(Service):
    """
    A service that registers this workspace with its platform and keeps it registered.

    What the platform gives is stored: the inbound secret whenever it is not the one in its file,
    the auth token when the platform mints one.  Neither is ever logged.  The token is read from its
    file for every request, so an operator may put one there at any time.

    Registering is tried again after 1 to 60 seconds, later if the platform says so; heartbeats go
    on meanwhile.  A heartbeat that is answered 404 makes it register again.

    :param clock: the reactor, or a clock.
    :param client: made over the agent to use, which verifies certificates; redirects are refused.
    :param platform_url: base URL, ``http`` or ``https``; may have a path, nothing after that.
    :param workspace_id: UUID, as text.
    :param advertise_url: where the platform reaches this workspace.
    :param secret_file: where the inbound secret goes.
    :param token_file: where the auth token is, or goes.
    :param interval: seconds between heartbeats.
    :param card_name: what the agent card calls this workspace; the platform in the field refuses
        a registration without a card.
    :param in_thread: runs reads and writes of the files off the reactor's thread.
    :param jitter: a new number from 0 up to 1 at each call.
    :raise ValueError: *platform_url* is not such a URL.
    """

    name = "enrolment"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: HTTPClient,
        platform_url: str,
        workspace_id: str,
        advertise_url: str,
        secret_file: SecretFile,
        token_file: SecretFile,
        interval: float = INTERVAL,
        *,
        card_name: str = "chatfiles workspace",
        in_thread: InThread,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._registry = RegistryClient(clock, client, platform_url)
        self._registration: Mapping[str, object] = {
            "id": workspace_id,
            "url": advertise_url,
            "agent_card": {"name": card_name},
            "delivery_mode": "push",
        }
        self._sign_of_life: Mapping[str, object] = {"workspace_id": workspace_id}
        self._secret_file = secret_file
        self._token_file = token_file
        self._interval = interval
        self._in_thread = in_thread
        self._jitter = jitter
        self._task: Deferred[None] | None = None
        self._unsaved_token: str | None = None
        self._said: dict[str, str] = {}
        self._failures = 0
        self._register_at: float | None = None
        self._beat_at = 0.0

    @property
    def registered(self) -> bool:
        """Whether the platform has taken this workspace and has not forgotten it since."""
        return self._task is not None and self._register_at is None

    def startService(self) -> None:
        """Register now; the first heartbeat comes one interval later."""
        service: Any = super()
        service.startService()
        self._register_at = self._clock.seconds()
        self._beat_at = self._register_at + self._interval
        self._task = Deferred.fromCoroutine(self._run())
        self._task.addErrback(self._ended)

    def stopService(self) -> Deferred[None]:
        """:return: fires once the request that was running is given up."""
        service: Any = super()
        service.stopService()
        task, self._task = self._task, None
        if task is None:
            return succeed(None)
        task.cancel()
        return task

    def _ended(self, failure: Failure) -> None:
        if not isinstance(failure.value, CancelledError):
            self._log.failure("enrolment has stopped", failure)

    async def _run(self) -> None:
        while self.running:
            register_at, beat_at = self._register_at, self._beat_at
            due = beat_at if register_at is None else min(register_at, beat_at)
            delay = due - self._clock.seconds()
            if delay > 0:
                await deferLater(self._clock, delay)
            if due == register_at:
                await self._register()
            else:
                await self._beat()

    async def _register(self) -> None:
        answer = await self._ask(REGISTER, self._registration)
        if answer is not None and answer.good:
            self._failures, self._register_at = 0, None
            return
        backoff = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(self._failures, 16))
        asked = answer.retry_after if answer is not None else 0
        self._failures += 1
        # Spread, so that a platform that comes back is not met by all its workspaces at once.
        spread = max(FIRST_RETRY, backoff * (1 + self._jitter()) / 2)
        self._register_at = self._clock.seconds() + asked + spread

    async def _beat(self) -> None:
        began = self._clock.seconds()
        answer = await self._ask(HEARTBEAT, self._sign_of_life)
        asked = answer.retry_after if answer is not None else 0
        self._beat_at = began + max(self._interval, asked)
        if answer is not None and answer.status == 404 and self._register_at is None:
            self._register_at = self._clock.seconds()

    async def _ask(self, route: str, body: Mapping[str, object]) -> Answer | None:
        """
        Make one request, keep what it gives, and tell the log when the outcome is a new one.

        :return: ``None`` when no whole answer came.
        """
        try:
            token = await self._token()
            answer = await self._registry.post(route, body, token)
        except Exception as error:
            if self.running:
                self._say(route, f"no answer ({why_no_answer(error)})")
            return None
        if answer.good and answer.fields is not None:
            self._say(route, "accepted", good=True)
            await self._keep("auth_token", self._token_file, answer.fields)
            await self._keep("platform_inbound_secret", self._secret_file, answer.fields)
            return answer
        complaint = answer.complaint()
        if answer.status == 401:
            complaint = f"refused, 401: put this workspace's token into {self._token_file.shown}"
        self._say(route, complaint.replace(token, "…") if token else complaint)
        return answer

    async def _token(self) -> str | None:
        token = cast("str | None", await self._in_thread(self._token_file.read))
        if token is None and self._unsaved_token is not None:
            token = self._unsaved_token
            await self._store("auth_token", self._token_file, token)
        return token

    async def _keep(self, key: str, file: SecretFile, fields: Mapping[str, object]) -> None:
        value = fields.get(key)
        if value is None:
            return
        if not is_secret(value):
            self._say(key, "is not a secret that can be used; it was not stored")
            return
        if file is self._token_file:
            self._unsaved_token = value
        await self._store(key, file, value)

    async def _store(self, key: str, file: SecretFile, value: str) -> None:
        try:
            written = await self._in_thread(partial(file.write, value))
        except (OSError, ChatfilesError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            self._say(key, f"could not be stored in {file.shown}: {why}")
            return
        if file is self._token_file:
            self._unsaved_token = None
        self._said.pop(key, None)
        if written:
            self._log.info("{key} stored in {path}", key=key, path=file.shown)

    def _say(self, about: str, text: str, *, good: bool = False) -> None:
        """Log what has become of something, unless that is what was said of it last."""
        if self._said.get(about) != text:
            self._said[about] = text
            log = self._log.info if good else self._log.warn
            log("{about} at {base}: {text}", about=about, base=self._registry.base, text=text)
