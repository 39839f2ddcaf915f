"""
Tests for `chatfiles.workspace.registration.service`: what it sends, stores and tries again.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import succeed
from twisted.logger import capturedLogs, formatEvent

from chatfiles.rules.next_secret import acknowledgement
from chatfiles.workspace.registration.service import ACKNOWLEDGE_AFTER
from chatfiles.workspace.secret_file import SecretFile
from tests.workspace.registration.registration_case import (
    ADVERTISED,
    HEARTBEAT,
    REGISTER,
    SECRET,
    TOKEN,
    WORKSPACE,
    Platform,
    RegistrationCase,
    Reply,
)

NEXT = "next-" + "n" * 38


class RegisterTests(RegistrationCase):
    """Registration when the service starts."""

    def test_request(self) -> None:
        """The registration is a POST with the token and the JSON body that the platform expects."""
        self.token_file.write(TOKEN)
        enrolment = self.start()
        (asked,) = self.platform.asked
        method, url, headers, body = asked
        self.assertEqual((method, url), (b"POST", "https://platform.example/registry/register"))
        self.assertEqual(headers[b"authorization"], [b"Bearer " + TOKEN.encode()])
        self.assertEqual(headers[b"content-type"], [b"application/json"])
        self.assertEqual(
            body,
            {
                "id": WORKSPACE,
                "url": ADVERTISED,
                "agent_card": {"name": "chatfiles workspace"},
                "delivery_mode": "push",
                "accepts_next_secret": True,
            },
        )
        self.assertTrue(enrolment.registered)

    def test_without_a_url(self) -> None:
        """A workspace that connects to the platform registers in poll mode, without a URL."""
        self.start(advertise=None)
        body = self.platform.asked[0][3]
        self.assertEqual(body["delivery_mode"], "poll")
        self.assertNotIn("url", body)

    def test_without_token(self) -> None:
        """A workspace without a token sends no ``Authorization`` header."""
        self.start()
        self.assertNotIn(b"authorization", self.platform.asked[0][2])

    def test_base_path(self) -> None:
        """The path of the platform's base URL is kept, with or without a slash at its end."""
        for base in ("https://platform.example/a/b", "https://platform.example/a/b/"):
            self.platform = Platform("https://platform.example/a/b")
            self.start(base=base)
            self.assertEqual(
                self.platform.asked[0][1], "https://platform.example/a/b/registry/register"
            )

    def test_secrets_are_stored(self) -> None:
        """
        The secret and the token, which the platform sends once, are stored, accessible to the owner
        only, and the token is used.
        """
        reply = {"status": "registered", "platform_inbound_secret": SECRET, "auth_token": TOKEN}
        self.platform.replies[REGISTER] = [(200, {}, reply)]
        with capturedLogs() as events:
            self.start()
        stored = [event for event in events if "stored in" in event["log_format"]]
        ready = [formatEvent(event).endswith("; the workspace is ready") for event in stored]
        self.assertEqual(ready, [False, True])
        self.assertEqual((self.secret_file.read(), self.token_file.read()), (SECRET, TOKEN))
        for file in (self.secret_file, self.token_file):
            self.assertEqual(os.stat(file.path).st_mode & 0o777, 0o600)
        self.advance(30)
        self.assertEqual(
            self.platform.asked[-1][2][b"authorization"], [b"Bearer " + TOKEN.encode()]
        )

    def test_rubbish_is_not_stored(self) -> None:
        """A malformed secret or token in a response does not overwrite a valid one."""
        self.secret_file.write("good")
        self.token_file.write("good")
        for rubbish in ("", "a b", "a\r\nb", "é", "x" * 4097, 17, ["x"], {"a": 1}, True, None):
            self.platform = Platform()
            reply = {"platform_inbound_secret": rubbish, "auth_token": rubbish}
            self.platform.replies[REGISTER] = [(200, {}, reply)]
            self.start().stopService()
            self.assertEqual((self.secret_file.read(), self.token_file.read()), ("good", "good"))

    def test_not_json(self) -> None:
        """A response whose body is no JSON object does not count as a registration."""
        for body in (b"", b"<html>", b"[]", b'"x"', b"\xff", b"[" * 60000):
            self.platform = Platform()
            self.platform.replies[REGISTER] = [(200, {}, body)]
            enrolment = self.start()
            self.assertFalse(enrolment.registered)
            enrolment.stopService()


class RetryTests(RegistrationCase):
    """Retries when the platform does not accept the registration."""

    def test_backoff(self) -> None:
        """The delay between attempts doubles, from 1 second up to 60 seconds."""
        self.platform.replies[REGISTER] = [(503, {}, {"error": "no"})]
        self.start(interval=10_000.0)
        delays = [self.next_request() for _ in range(9)]
        self.assertEqual(delays, [1, 2, 4, 8, 16, 32, 60, 60, 60])
        self.assertEqual(set(self.platform.routes()), {"register"})

    def test_jitter(self) -> None:
        """
        Jitter shortens delays by up to half, so that workspaces do not all return to a platform at
        the same moment.
        """
        self.platform.replies[REGISTER] = [(503, {}, {"error": "no"})]
        self.jitter = 0.0
        self.start(interval=10_000.0)
        self.assertEqual([self.next_request() for _ in range(5)], [1, 1, 2, 4, 8])

    def test_retry_after(self) -> None:
        """
        ``Retry-After`` in seconds adds to the delay, up to 300 seconds; an invalid value or a date
        is ignored.
        """
        for value, expected in (
            (b"7", 8),
            (b"0", 1),
            (b"99999999999999999999", 301),
            (b"-5", 1),
            (b"1.5", 1),
            ("²".encode(), 1),
            (b"Wed, 21 Oct 2015 07:28:00 GMT", 1),
        ):
            self.platform = Platform()
            self.platform.replies[REGISTER] = [(503, {b"Retry-After": value}, {})]
            enrolment = self.start(interval=10_000.0)
            self.assertEqual(self.next_request(), expected, value)
            enrolment.stopService()

    def test_recovers(self) -> None:
        """A registration that succeeds ends the retries and resets the backoff."""
        no: Reply = (500, {}, b"")
        yes: Reply = (200, {}, {"platform_inbound_secret": SECRET})
        self.platform.replies[REGISTER] = [no, no, yes]
        enrolment = self.start()
        self.assertEqual([self.next_request(), self.next_request()], [1, 2])
        self.assertTrue(enrolment.registered)
        self.assertEqual(self.secret_file.read(), SECRET)
        self.platform.asked.clear()
        self.assertEqual([self.next_request() for _ in range(3)], [27, 30, 30])
        self.assertEqual(self.platform.routes(), ["heartbeat"] * 3)
        self.platform.replies = {REGISTER: [no], HEARTBEAT: [(404, {}, {})]}
        self.assertEqual([self.next_request() for _ in range(3)], [30, 1, 2])

    def test_heartbeats_go_on(self) -> None:
        """
        Heartbeats continue while the registration is refused, so that the platform does not take
        the workspace for dead.
        """
        self.platform.replies[REGISTER] = [(400, {}, {"error": "workspace URL not allowed"})]
        self.start()
        for _ in range(130):
            self.advance(1)
        self.assertEqual(self.platform.routes().count("heartbeat"), 4)

    def test_no_redirects(self) -> None:
        """A redirect is logged and not followed, as it may take the token to another host."""
        for status in (301, 302, 303, 307, 308):
            self.platform = Platform()
            self.token_file.write(TOKEN)
            elsewhere = {b"Location": b"https://platform.example/registry/heartbeat"}
            self.platform.replies[REGISTER] = [(status, elsewhere, b"")]
            with capturedLogs() as events:
                enrolment = self.start()
            self.assertEqual(self.platform.routes(), ["register"])
            self.assertIn("redirect", self.log(events))
            self.assertFalse(enrolment.registered)
            enrolment.stopService()

    def test_token_put_later(self) -> None:
        """
        A token that the operator stores later is used without a restart; the refusal is logged
        once, with the path of the token's file.
        """
        self.platform.replies[REGISTER] = [(401, {}, {"error": "missing workspace auth token"})]
        with capturedLogs() as events:
            self.start()
            self.next_request()
        text = self.log(events)
        self.assertEqual(text.count("refused, 401"), 1)
        self.assertIn("/.auth_token", text)
        self.assertNotIn("revoked", text)
        self.token_file.write(TOKEN)
        self.next_request()
        self.assertEqual(
            self.platform.asked[-1][2][b"authorization"], [b"Bearer " + TOKEN.encode()]
        )


class AgainTests(RegistrationCase):
    """Registration at the wish of another part of the workspace."""

    def test_at_once(self) -> None:
        """It registers now, and the heartbeats continue."""
        enrolment = self.start()
        self.advance(10)
        self.platform.asked.clear()
        enrolment.register_again()
        self.flush()
        self.assertEqual(self.platform.routes(), ["register"])
        self.assertEqual([self.next_request() for _ in range(2)], [20, 30])
        self.assertEqual(self.platform.routes(), ["heartbeat"] * 2)

    def test_while_it_is_refused(self) -> None:
        """While a registration is to be sent anyway, its delay holds."""
        self.platform.replies[REGISTER] = [(503, {}, {})]
        enrolment = self.start()
        for _ in range(5):
            enrolment.register_again()
        self.flush()
        self.assertEqual(self.platform.routes(), ["register"])
        self.assertEqual(self.next_request(), 1)

    def test_stopped(self) -> None:
        """After the end, and before the start, it has no effect."""
        enrolment = self.enrolment()
        enrolment.register_again()
        enrolment.startService()
        self.flush()
        self.successResultOf(enrolment.stopService())
        enrolment.register_again()
        self.platform.asked.clear()
        self.advance(100)
        self.assertEqual(self.platform.routes(), [])

    def test_accepted(self) -> None:
        """Each registration and heartbeat that succeeds is told, and no other."""
        told: list[float] = []
        self.platform.replies[REGISTER] = [(503, {}, {}), (200, {}, {})]
        self.platform.replies[HEARTBEAT] = [(200, {}, {}), (500, {}, {}), (200, {}, {})]
        enrolment = self.enrolment()
        enrolment.accepted = lambda: told.append(self.clock.seconds())
        enrolment.startService()
        self.flush()
        for _ in range(4):
            self.next_request()
        self.assertEqual(told, [1, 30, 90])


class HeartbeatTests(RegistrationCase):
    """Heartbeats of a registered workspace."""

    def test_request(self) -> None:
        """A heartbeat is sent every 30 seconds, with the ID of the workspace."""
        self.start()
        self.platform.asked.clear()
        self.assertEqual([self.next_request() for _ in range(3)], [30, 30, 30])
        method, url, _, body = self.platform.asked[0]
        self.assertEqual((method, url), (b"POST", "https://platform.example/registry/heartbeat"))
        self.assertEqual(body, {"workspace_id": WORKSPACE, "accepts_next_secret": True})
        self.assertEqual(self.platform.routes(), ["heartbeat"] * 3)

    def test_new_secret(self) -> None:
        """A new secret in the response to a heartbeat is stored."""
        self.start()
        self.platform.replies[HEARTBEAT] = [(200, {}, {"platform_inbound_secret": "fresh"})]
        self.advance(30)
        self.assertEqual(self.secret_file.read(), "fresh")

    def test_secret_restored(self) -> None:
        """
        A secret file that was removed is written again; one that is up to date is not rewritten.
        """
        self.start()
        inode = os.stat(self.secret_file.path).st_ino
        self.advance(30)
        self.assertEqual(os.stat(self.secret_file.path).st_ino, inode)
        os.unlink(self.secret_file.path)
        self.advance(30)
        self.assertEqual(self.secret_file.read(), SECRET)

    def test_forgotten(self) -> None:
        """
        A 404 to a heartbeat, as from a platform that has lost its registry, starts a new
        registration.
        """
        enrolment = self.start()
        self.platform.replies[HEARTBEAT] = [(404, {}, {"error": "workspace not found"})]
        self.platform.asked.clear()
        self.advance(30)
        self.assertEqual(self.platform.routes(), ["heartbeat", "register"])
        self.assertTrue(enrolment.registered)
        self.platform.replies[REGISTER] = [(503, {}, {})]
        self.advance(30)
        self.assertFalse(enrolment.registered)
        self.platform.asked.clear()
        for _ in range(30):
            self.advance(1)
        # Further 404 responses to heartbeats do not restart the backoff.
        self.assertEqual(self.platform.routes().count("register"), 4)

    def test_refused(self) -> None:
        """
        Heartbeats continue after a refusal; the refusal and the recovery are each logged once.
        """
        self.token_file.write(TOKEN)
        self.start()
        self.platform.replies[HEARTBEAT] = [(401, {}, {"error": "invalid"})]
        with capturedLogs() as events:
            self.assertEqual([self.next_request() for _ in range(4)], [30] * 4)
            self.platform.replies[HEARTBEAT] = [(200, {}, {})]
            self.next_request()
            self.next_request()
        self.assertEqual(self.log(events).count("refused, 401"), 1)
        self.assertIn("the workspace was removed, or its token revoked", self.log(events))
        self.assertEqual(self.log(events).count("accepted"), 1)

    def test_retry_after(self) -> None:
        """``Retry-After`` in the response to a heartbeat delays the next one."""
        self.start()
        self.platform.replies[HEARTBEAT] = [(503, {b"Retry-After": b"90"}, {}), (200, {}, {})]
        self.assertEqual([self.next_request() for _ in range(3)], [30, 90, 30])


class FileTests(RegistrationCase):
    """The files of the secret and of the token."""

    def test_token_is_kept(self) -> None:
        """
        A token that cannot be stored is kept in memory, used, and stored once that is possible; the
        failure is logged once, without the token.
        """
        os.rename(self.top, self.top + b".away")
        with open(self.top, "w"):  # no directory can be created in its place
            pass
        reply = {"platform_inbound_secret": SECRET, "auth_token": TOKEN}
        self.platform.replies[REGISTER] = [(200, {}, reply)]
        with capturedLogs() as events:
            self.start()
            self.advance(30)
            self.advance(30)
        bearer = [b"Bearer " + TOKEN.encode()]
        self.assertEqual(
            [asked[2].get(b"authorization") for asked in self.platform.asked],
            [None, bearer, bearer],
        )
        self.assertEqual(self.log(events).count("auth_token at"), 1)
        self.assertNotIn(TOKEN, self.log(events))
        os.unlink(self.top)
        os.rename(self.top + b".away", self.top)
        self.advance(30)
        self.assertEqual((self.token_file.read(), self.secret_file.read()), (TOKEN, SECRET))
        os.unlink(self.token_file.path)
        self.advance(30)
        self.assertIsNone(self.token_file.read())  # stored once; then it is the operator's

    def test_off_the_reactor(self) -> None:
        """The files are read and written in threads, not on the reactor's thread."""
        inside: list[bool] = []

        def in_thread(function: Callable[[], Any]) -> Awaitable[Any]:
            inside.append(True)
            try:
                return succeed(function())
            finally:
                inside.pop()

        for name in ("read", "write"):
            real = getattr(SecretFile, name)

            def watched(file: SecretFile, *arguments: Any, real: Any = real) -> Any:
                self.assertTrue(inside)
                return real(file, *arguments)

            self.patch(SecretFile, name, watched)
        self.start(in_thread=in_thread)
        self.advance(30)
        self.assertEqual(self.platform.routes(), ["register", "heartbeat"])


class RotationTests(RegistrationCase):
    """A platform that changes the inbound secret."""

    def setUp(self) -> None:
        super().setUp()
        self.offers = {"platform_inbound_secret": SECRET, "next_platform_inbound_secret": NEXT}

    def acknowledged(self) -> list[str | None]:
        """:return: the acknowledgement in each request since the last call."""
        asked, self.platform.asked[:] = list(self.platform.asked), []
        return [body.get("next_secret") for *_, body in asked]

    def pass_seconds(self, seconds: float) -> None:
        self.later_ns += int(seconds * 1e9)
        self.advance(seconds)

    def test_rotation(self) -> None:
        """
        The next secret is stored, and acknowledged by a heartbeat that follows soon; the promoted
        one is stored, and the heartbeats are as usual again.
        """
        self.start()
        self.platform.replies[HEARTBEAT] = [
            (200, {}, self.offers),
            (200, {}, {"platform_inbound_secret": NEXT}),
        ]
        self.acknowledged()
        with capturedLogs() as events:
            self.pass_seconds(30)
            self.assertEqual((self.secret_file.read(), self.secrets.next.read()), (SECRET, NEXT))
            self.pass_seconds(ACKNOWLEDGE_AFTER)
        self.assertEqual(self.acknowledged(), [None, acknowledgement(NEXT)])
        self.assertEqual((self.secret_file.read(), self.secrets.next.read()), (NEXT, None))
        self.assertTrue(self.secrets.matches(SECRET.encode()))
        self.pass_seconds(29)
        self.assertEqual(self.acknowledged(), [])
        self.pass_seconds(1)
        self.assertEqual(self.acknowledged(), [None])
        texts = [formatEvent(event) for event in events]
        self.assertEqual(sum("stored in" in text for text in texts), 2)
        self.assertNotIn(NEXT, repr(texts))

    def test_registration(self) -> None:
        """A registration offers and acknowledges as a heartbeat does."""
        self.platform.replies[REGISTER] = [(200, {}, self.offers)]
        self.platform.replies[HEARTBEAT] = [(200, {}, self.offers)]
        first = self.start()
        self.assertEqual(self.acknowledged(), [None])
        self.successResultOf(first.stopService())
        self.later_ns = 10**10
        self.start()
        self.assertEqual(self.acknowledged(), [acknowledgement(NEXT)])

    def test_not_promoted(self) -> None:
        """A platform that does not promote it hears of it with each heartbeat, every 30 seconds."""
        self.platform.replies[REGISTER] = [(200, {}, self.offers)]
        self.platform.replies[HEARTBEAT] = [(200, {}, self.offers)]
        self.start()
        self.pass_seconds(ACKNOWLEDGE_AFTER)
        self.assertEqual(self.acknowledged(), [None, acknowledgement(NEXT)])
        self.pass_seconds(29)
        self.assertEqual(self.acknowledged(), [])
        self.pass_seconds(1)
        self.assertEqual(self.acknowledged(), [acknowledgement(NEXT)])

    def test_not_usable(self) -> None:
        """A next secret that cannot be used is not stored; the current one is kept."""
        wrong: tuple[object, ...] = ("", "a b", 1, [], None)
        for given in wrong:
            self.platform.replies[REGISTER] = [
                (200, {}, self.offers | {"next_platform_inbound_secret": given})
            ]
            self.start()
            self.assertEqual((self.secret_file.read(), self.secrets.next.read()), (SECRET, None))

    def test_cannot_be_stored(self) -> None:
        """A next secret that cannot be stored is not acknowledged."""
        self.platform.replies[REGISTER] = [(200, {}, self.offers)]
        os.mkdir(self.secrets.next.path)
        with capturedLogs() as events:
            self.start()
            self.pass_seconds(30)
        self.assertEqual(self.acknowledged(), [None, None])
        text = "".join(formatEvent(event) for event in events)
        self.assertIn("could not be stored", text)
        self.assertNotIn(NEXT, text)
