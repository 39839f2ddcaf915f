"""
Registers the workspace with its platform, then sends heartbeats.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, cast

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from chatfiles.errors import ChatfilesError
from chatfiles.workspace.inbound_secrets import InboundSecrets
from chatfiles.workspace.registration.client import (
    HTTPClient,
    RegistryClient,
    RegistryResponse,
    why_no_response,
)
from chatfiles.workspace.secret_file import SecretFile, is_secret

__all__ = ["InThread", "RegistrationService"]

#: Seconds between heartbeats.
INTERVAL: Final = 30.0
#: Seconds after which a next secret is acknowledged: all processes have seen it then.
ACKNOWLEDGE_AFTER: Final = 2.0
#: Seconds before registration is retried: after the first failure, and at most.
FIRST_RETRY: Final = 1.0
LAST_RETRY: Final = 60.0

REGISTER: Final = "registry/register"
HEARTBEAT: Final = "registry/heartbeat"

#: Runs a blocking function in a thread and returns its result (`Threads.run`).
InThread = Callable[[Callable[[], Any]], Awaitable[Any]]


class RegistrationService(Service):
    """
    Registers this workspace with its platform and keeps it registered.

    It stores the secrets that the platform sends: the inbound secret whenever it differs from the
    file, the next one when the platform offers it, and the auth token when the platform creates
    one.  Neither is ever logged.  The token is
    read from its file for every request, so an operator can provide one at any time.

    A failed registration is retried after 1 to 60 seconds, or later if the platform demands it.
    Heartbeats continue during that time.  A heartbeat with a 404 response starts a new
    registration.

    :param clock: the reactor, or a clock.
    :param client: an HTTP client that verifies certificates; redirects are not followed.
    :param platform_url: base URL, ``http`` or ``https``; it may have a path, but no query.
    :param workspace_id: UUID, as text.
    :param advertise_url: the URL at which the platform reaches this workspace; ``None`` if the
        workspace connects to the platform (reference/channel-workspace, "Registration").
    :param secrets: store the inbound secrets.
    :param token_file: holds or stores the auth token.
    :param interval: seconds between heartbeats.
    :param card_name: the name on the agent card; the Go platform refuses a registration without a
        card.
    :param in_thread: runs file reads and writes in a thread.
    :param jitter: returns a random number from 0 up to 1.
    :raise ValueError: *platform_url* is not such a URL.
    :ivar accepted: called when the platform has accepted a registration or a heartbeat.
    """

    name = "enrolment"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        client: HTTPClient,
        platform_url: str,
        workspace_id: str,
        advertise_url: str | None,
        secrets: InboundSecrets,
        token_file: SecretFile,
        interval: float = INTERVAL,
        *,
        card_name: str = "chatfiles workspace",
        in_thread: InThread,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._registry = RegistryClient(clock, client, platform_url)
        place = {"delivery_mode": "poll"}
        if advertise_url is not None:
            place = {"url": advertise_url, "delivery_mode": "push"}
        self._registration: Mapping[str, object] = {
            "id": workspace_id,
            "agent_card": {"name": card_name},
            "accepts_next_secret": True,
            **place,
        }
        self._heartbeat: Mapping[str, object] = {
            "workspace_id": workspace_id,
            "accepts_next_secret": True,
        }
        self._secrets = secrets
        self._must_acknowledge = False
        self._token_file = token_file
        self._interval = interval
        self._in_thread = in_thread
        self._jitter = jitter
        self.accepted: Callable[[], object] = lambda: None
        self._task: Deferred[None] | None = None
        self._wait_over: Deferred[None] | None = None
        self._unsaved_token: str | None = None
        self._reported: dict[str, str] = {}
        self._failures = 0
        self._register_at: float | None = None
        self._heartbeat_at = 0.0

    @property
    def registered(self) -> bool:
        """Whether the platform has accepted the registration and still knows this workspace."""
        return self._task is not None and self._register_at is None

    def startService(self) -> None:
        """Register now; the first heartbeat follows one interval later."""
        service: Any = super()
        service.startService()
        self._register_at = self._clock.seconds()
        self._heartbeat_at = self._register_at + self._interval
        self._task = Deferred.fromCoroutine(self._run())
        self._task.addErrback(self._ended)

    def stopService(self) -> Deferred[None]:
        """
        Cancel the running request.

        :return: fires when it is cancelled.
        """
        service: Any = super()
        service.stopService()
        task, self._task = self._task, None
        if task is None:
            return succeed(None)
        task.cancel()
        return task

    def _ended(self, failure: Failure) -> None:
        if not isinstance(failure.value, CancelledError):
            self._log.failure("registration has stopped", failure)

    async def _run(self) -> None:
        while self.running:
            register_at, heartbeat_at = self._register_at, self._heartbeat_at
            due = heartbeat_at if register_at is None else min(register_at, heartbeat_at)
            delay = due - self._clock.seconds()
            if delay > 0 and await self._is_interrupted(delay):
                continue
            if due == register_at:
                await self._register()
            else:
                await self._send_heartbeat()

    async def _is_interrupted(self, delay: float) -> bool:
        """Wait. :return: whether `register_again` has ended the wait."""
        self._wait_over = Deferred()
        over, timer = self._wait_over, self._clock.callLater(delay, self._wait_over.callback, None)
        try:
            await over
        finally:
            self._wait_over = None
            is_early = timer.active()
            if is_early:
                timer.cancel()
        return is_early

    def register_again(self) -> None:
        """Register now: the platform knows this workspace otherwise than it should."""
        if self._task is None or self._register_at is not None:
            return  # it will, at the time that its delays allow
        self._register_at = self._clock.seconds()
        if self._wait_over is not None:
            self._wait_over.callback(None)

    async def _register(self) -> None:
        response = await self._ask(REGISTER, self._registration)
        if response is not None and response.good:
            self._failures, self._register_at = 0, None
            self._heartbeat_at = min(self._heartbeat_at, self._clock.seconds() + self._wait)
            return
        backoff = min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(self._failures, 16))
        asked = response.retry_after if response is not None else 0
        self._failures += 1
        # A random delay, so that not all workspaces register at once when a platform is available
        # again.
        spread = max(FIRST_RETRY, backoff * (1 + self._jitter()) / 2)
        self._register_at = self._clock.seconds() + asked + spread

    async def _send_heartbeat(self) -> None:
        began = self._clock.seconds()
        response = await self._ask(HEARTBEAT, self._heartbeat)
        asked = response.retry_after if response is not None else 0
        self._heartbeat_at = began + max(self._wait, asked)
        if response is not None and response.status == 404 and self._register_at is None:
            self._register_at = self._clock.seconds()

    @property
    def _wait(self) -> float:
        """Seconds until the next heartbeat."""
        return ACKNOWLEDGE_AFTER if self._must_acknowledge else self._interval

    async def _ask(self, route: str, body: Mapping[str, object]) -> RegistryResponse | None:
        """
        Send one request, store the secrets in the response, and log a result that is new.

        :return: the response; ``None`` if no complete response arrived.
        """
        self._must_acknowledge = False
        try:
            token = await self.token()
            given = await self._in_thread(self._secrets.acknowledgement)
            if given is not None:
                body = {**body, "next_secret": given}
            response = await self._registry.post(route, body, token)
        except Exception as error:
            if self.running:
                self._say(route, f"no response ({why_no_response(error)})")
            return None
        if response.good and response.fields is not None:
            self._say(route, "accepted", good=True)
            await self._keep_token(response.fields)
            await self._keep_secrets(response.fields, given)
            self.accepted()
            return response
        problem = response.complaint()
        if response.status == 401:
            problem = f"refused, 401: {self._why_refused(token)}"
        self._say(route, problem.replace(token, "…") if token else problem)
        return response

    def _why_refused(self, token: str | None) -> str:
        advice = f"put this workspace's token into {self._token_file.shown}"
        if token is None:
            return advice
        return f"the workspace was removed, or its token revoked, on the platform; or {advice}"

    async def token(self) -> str | None:
        """:return: the auth token of the workspace; ``None`` if it has none."""
        token = cast("str | None", await self._in_thread(self._token_file.read))
        if token is None and self._unsaved_token is not None:
            token = self._unsaved_token
            await self._save_token(token)
        return token

    async def _keep_token(self, fields: Mapping[str, object]) -> None:
        value = self._valid(fields, "auth_token")
        if value is not None:
            self._unsaved_token = value
            await self._save_token(value)

    async def _save_token(self, value: str) -> None:
        file = self._token_file
        written = await self._store("auth_token", file, partial(file.write, value))
        if written is not None:
            self._unsaved_token = None
        if written:
            self._log.info("auth_token stored in {path}", path=file.shown)

    async def _keep_secrets(self, fields: Mapping[str, object], given: str | None) -> None:
        """:param given: the acknowledgement in the request."""
        value = self._valid(fields, "platform_inbound_secret")
        if value is None:
            return
        following = self._valid(fields, "next_platform_inbound_secret")
        learn = partial(self._secrets.learn, value, following)
        file = self._secrets.current
        learned = await self._store("platform_inbound_secret", file, learn)
        if learned is None:
            return
        if learned.current:
            what = "platform_inbound_secret stored in {path}; the workspace is ready"
            self._log.info(what, path=file.shown)
        if learned.following:
            what = "next_platform_inbound_secret stored in {path}"
            self._log.info(what, path=self._secrets.next.shown)
        self._must_acknowledge = following is not None and (learned.following or given is None)

    def _valid(self, fields: Mapping[str, object], key: str) -> str | None:
        value = fields.get(key)
        if value is None or is_secret(value):
            return value
        self._say(key, "is not a secret that can be used; it was not stored")
        return None

    async def _store(self, key: str, file: SecretFile, work: Callable[[], Any]) -> Any:
        """:return: the result of *work*; ``None`` if it failed, which is logged."""
        try:
            result = await self._in_thread(work)
        except (OSError, ChatfilesError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            self._say(key, f"could not be stored in {file.shown}: {why}")
            return None
        self._reported.pop(key, None)
        return result

    def _say(self, about: str, text: str, *, good: bool = False) -> None:
        """Log a result, unless it equals the last one about *about*."""
        if self._reported.get(about) != text:
            self._reported[about] = text
            log = self._log.info if good else self._log.warn
            log("{about} at {base}: {text}", about=about, base=self._registry.base, text=text)
