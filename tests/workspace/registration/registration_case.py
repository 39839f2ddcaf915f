"""
What the tests of registration share: a platform that is a script.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from treq.testing import StringStubbingResource, StubTreq
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.workspace.inbound_secrets import InboundSecrets
from chatfiles.workspace.registration.service import RegistrationService
from chatfiles.workspace.secret_file import SecretFile
from tests.contract.file_store import scratch

WORKSPACE = "0b6c2c4e-7d4f-4b0e-9a36-1f0b9f5a2d11"
ADVERTISED = "http://ws.example:8000"
REGISTER = "/registry/register"
HEARTBEAT = "/registry/heartbeat"
SECRET, TOKEN = "inbound-" + "s" * 35, "token-" + "t" * 37

#: Status, headers, JSON body (or the body itself, bytes).
Reply = tuple[int, dict[bytes, bytes], object]


def at_once(function: Callable[[], Any]) -> Awaitable[Any]:
    return maybeDeferred(function)


class Platform:
    """
    A platform that sends scripted responses, beneath the real treq.

    :ivar asked: method, URL, headers and JSON body of every request.
    :ivar replies: route → its responses, in order; the last one stays.
    """

    def __init__(self, base: str = "https://platform.example") -> None:
        self.asked: list[tuple[bytes, str, dict[bytes, list[bytes]], Any]] = []
        self.replies: dict[str, list[Reply]] = {
            REGISTER: [(200, {}, {"status": "registered", "platform_inbound_secret": SECRET})],
            HEARTBEAT: [(200, {}, {"status": "ok", "platform_inbound_secret": SECRET})],
        }
        self.base = base
        self.client: Any = StubTreq(StringStubbingResource(self._answer))

    def _answer(
        self, method: bytes, url: str, params: object, headers: Any, data: bytes
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        self.asked.append(
            (method, url, {k.lower(): v for k, v in headers.items()}, json.loads(data))
        )
        replies = self.replies[url.removeprefix(self.base)]
        status, fields, body = replies.pop(0) if len(replies) > 1 else replies[0]
        return status, fields, body if isinstance(body, bytes) else json.dumps(body).encode()

    def routes(self) -> list[str]:
        """:return: the requested routes, in order; the record is then cleared."""
        routes = [url.removeprefix(self.base).rsplit("/", 1)[1] for _, url, _, _ in self.asked]
        self.asked.clear()
        return routes


class RegistrationCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.top = scratch(self)
        self.later_ns = 0
        self.secrets = InboundSecrets(
            self.top + b"/.platform_inbound_secret", lambda: time.time_ns() + self.later_ns
        )
        self.secret_file = self.secrets.current
        self.token_file = SecretFile(self.top + b"/.auth_token")
        self.platform = Platform()
        self.jitter = 1.0

    def enrolment(
        self, client: Any = None, base: str | None = None, **more: Any
    ) -> RegistrationService:
        enrolment = RegistrationService(
            self.clock,
            client or self.platform.client,
            self.platform.base if base is None else base,
            WORKSPACE,
            more.pop("advertise", ADVERTISED),
            self.secrets,
            self.token_file,
            in_thread=more.pop("in_thread", at_once),
            jitter=lambda: self.jitter,
            **more,
        )
        self.addCleanup(enrolment.stopService)
        return enrolment

    def start(self, client: Any = None, **more: Any) -> RegistrationService:
        enrolment = self.enrolment(client, **more)
        enrolment.startService()
        self.flush()
        return enrolment

    def flush(self) -> None:
        for _ in range(3):
            self.platform.client.flush()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.flush()

    def next_request(self) -> float:
        """:return: seconds until the next request, which is then made."""
        before = self.clock.seconds()
        due = min(call.getTime() for call in self.clock.getDelayedCalls())
        self.advance(due - before)
        return due - before

    def log(self, events: Any) -> str:
        return "\n".join(formatEvent(event) for event in events)
