"""
The connections of a channel: how many there are, when they are made, and what follows a failure.
"""

from __future__ import annotations

from chatfiles.workspace.channel import pool
from chatfiles.workspace.channel.pool import MAX_AGE, MOST_WAITING, SILENCE
from chatfiles.workspace.registration.client import REQUEST_TIMEOUT
from tests.workspace.channel.channel_case import TOKEN, UPGRADED, Attempt, ChannelCase

HEALTH = b"GET /health HTTP/1.1\r\nHost: workspace.invalid\r\n\r\n"


class StartTests(ChannelCase):
    """The first connections."""

    def test_not_before_the_registration(self) -> None:
        """Nothing is connected before the platform has accepted the workspace."""
        self.clock.advance(100)
        self.assertEqual(self.counts, (0, 0, 0))
        self.channel.registered()
        self.assertEqual(self.counts, (0, 0, 4))

    def test_request(self) -> None:
        """The request is that of the contract, below the path of the platform's URL."""
        self.channel.registered()
        attempt = self.new()[0]
        attempt.connect()
        self.assertEqual(
            attempt.sent().split(b"\r\n"),
            [
                b"GET /x/registry/channel HTTP/1.1",
                b"Host: p:8443",
                b"Authorization: Bearer " + TOKEN.encode(),
                b"Connection: upgrade",
                b"Upgrade: ptth",
                b"ALPN: http%2F1.1",
                b"",
                b"",
            ],
        )

    def test_waiting(self) -> None:
        """As many as configured wait; the log says so once."""
        self.open()
        self.channel.registered()
        self.assertEqual((self.counts, self.new()), ((4, 0, 0), []))
        self.assertEqual(self.log(), ["open"])

    def test_served(self) -> None:
        """A request on such a connection is served by the ordinary server."""
        (attempt, *_) = self.open()
        response = attempt.ask(b"/echo?a")
        self.assertEqual((response.status, response.json["path"]), (200, "/echo"))
        self.assertNotIn("connection", response.fields)

    def test_bytes_behind_the_response(self) -> None:
        """What follows the empty line of the 101 is the first request."""
        self.channel.registered()
        (attempt, *_) = self.new()
        attempt.connect()
        attempt.sent()
        attempt.send(UPGRADED + HEALTH[:10])
        attempt.send(HEALTH[10:])
        self.assertIn(b"200 OK", attempt.sent())


class PoolTests(ChannelCase):
    """How many connections there are."""

    def test_replacement_before_serving(self) -> None:
        """When a request arrives, another connection is made before it is served."""
        (attempt, *_) = self.open()
        attempt.send(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(self.counts, (3, 1, 1))
        self.accept(*self.new())
        self.assertEqual(self.counts, (4, 1, 0))
        self.held.answer()
        self.assertEqual(self.counts, (5, 0, 0))

    def test_enough_others(self) -> None:
        """If enough others wait, none is made."""
        connections = self.open()
        connections[0].ask(b"/echo")
        self.accept(*self.new())
        self.assertEqual(self.counts, (5, 0, 0))
        for connection in connections:
            connection.ask(b"/echo")
        self.assertEqual((self.counts, self.new()), ((5, 0, 0), []))

    def test_burst(self) -> None:
        """Each request of a burst has its replacement, up to the maximum."""
        connections = self.open()
        for _ in range(4):
            for connection in connections:
                connection.send(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
            connections = self.new()
            self.accept(*connections)
        self.assertEqual(self.counts, (4, 16, 0))

    def test_probes(self) -> None:
        """A request for ``/health`` is no transfer: nothing is made in place of it."""
        (attempt, *_) = self.open()
        self.assertEqual(attempt.ask(b"/health").status, 200)
        self.assertEqual((self.counts, self.new()), ((4, 0, 0), []))

    def surplus(self) -> list[Attempt]:
        """:return: the connections, of which nine wait, where eight may."""
        connections = self.open()
        for at in range(5):
            connections[at].send(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
            new = self.new()
            self.accept(*new)
            connections += new
        self.assertEqual(self.counts, (4, 5, 0))
        for answer in self.held.answers:
            answer.callback(None)
        for request in self.held.requests:
            request.finish()
        return connections

    def test_surplus(self) -> None:
        """Of more than twice the number, one is closed with its next response, not before."""
        connections = self.surplus()
        self.assertEqual(self.counts, (9, 0, 0))
        self.clock.advance(20)
        self.assertEqual(self.counts, (9, 0, 0))
        for target in (b"/health", b"/echo"):
            response = connections.pop().ask(target)
            closed = response.fields.get("connection") == "close"
            self.assertIs(closed, target == b"/health")
        self.assertEqual((self.counts, self.new()), ((8, 0, 0), []))

    def rotate(self) -> list[Attempt]:
        """:return: all connections, which have served one request after the other for a while."""
        connections = self.open()
        for _ in range(100):
            for connection in connections:
                self.assertNotIn("connection", connection.ask(b"/echo").fields)
            new = self.new()
            self.accept(*new)
            connections += new
        return connections

    def test_steady_use(self) -> None:
        """
        Connections that are used all the time do not count as waiting, however quickly they serve.
        So there are more of them, but no more than the platform lets wait.
        """
        connections = self.rotate()
        self.assertEqual(len(connections), MOST_WAITING)
        self.assertEqual(len(self.channel.pool.steady), MOST_WAITING)

    def test_one_client(self) -> None:
        """For one request after the other on the same connection, none is added."""
        (first, *_) = self.open()
        for _ in range(100):
            first.ask(b"/echo")
            self.accept(*self.new())
        self.assertEqual((self.counts, len(self.channel.pool.steady)), ((4, 0, 0), 1))

    def test_end_of_steady_use(self) -> None:
        """What is not used for a while waits again, and is closed if it is superfluous."""
        first, *others = self.rotate()
        while not self.channel.pool.waiting:
            self.assertNotIn("connection", first.ask(b"/echo").fields)
        while "connection" not in first.ask(b"/echo").fields:
            self.assertNotEqual(self.channel.pool.steady, {})
        closed = ["connection" in connection.ask(b"/echo").fields for connection in others]
        self.assertEqual(closed, [True] * 7 + [False] * 8)
        self.assertEqual(self.new(), [])

    def test_probe_of_steady_use(self) -> None:
        """If the platform asks whether they are alive, they have not been used for long."""
        connections = self.rotate()
        closed = [
            connection.ask(b"/health").fields.get("connection") == "close"
            for connection in connections
        ]
        self.assertEqual(closed, [False] * 8 + [True] * 8)

    def test_age(self) -> None:
        """After a day, a connection is closed with its next response, and replaced."""
        self.assertEqual(MAX_AGE, 24 * 60 * 60)
        self.patch(pool, "MAX_AGE", 500)
        connections = self.open()
        for _ in range(9):
            self.clock.advance(50)
            for connection in connections:
                if connection.wire.protocol is not None:
                    self.assertNotIn("connection", connection.ask(b"/health").fields)
        self.assertEqual(self.counts, (4, 0, 0))
        self.clock.advance(50)
        self.assertEqual(connections[0].ask(b"/health").fields["connection"], "close")
        self.assertEqual(self.counts, (3, 0, 1))
        self.assertEqual(len(self.new()), 1)

    def test_silence(self) -> None:
        """A connection on which nothing comes is closed and replaced."""
        self.open()
        self.clock.advance(SILENCE - 1)
        self.assertEqual(self.counts, (4, 0, 0))
        self.clock.advance(1)
        self.clock.advance(0)
        for attempt in list(self.endpoint.attempts):
            self.assertTrue(attempt.wire.disconnecting)
            attempt.lose()
        self.assertEqual(self.counts, (0, 0, 4))

    def test_lost(self) -> None:
        """A connection that is lost is replaced at once."""
        (attempt, *_) = self.open()
        self.clock.advance(6)
        attempt.lose()
        self.assertEqual((self.counts, len(self.new())), ((3, 0, 1), 1))

    def test_after_an_upload(self) -> None:
        """A connection that has served a request may be closed by the platform at any time."""
        (attempt, *_) = self.open()
        attempt.ask(b"/echo")
        self.accept(*self.new())
        for connection in self.endpoint.attempts[:2]:
            connection.ask(b"/echo")
            connection.lose()
        self.assertEqual(self.counts, (3, 0, 1))
        self.assertEqual(self.log(), ["open"])


class SmallPoolTests(ChannelCase):
    """A maximum."""

    idle, most = 2, 3

    def test_maximum(self) -> None:
        """There are never more connections than the maximum."""
        first, second = self.open()
        request = b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n"
        first.send(request)
        self.accept(*self.new())
        second.send(request)
        self.assertEqual(self.counts, (1, 2, 0))
        self.endpoint.attempts[2].send(request)
        self.assertEqual((self.counts, self.new()), ((0, 3, 0), []))
        first.lose()
        self.assertEqual(self.counts, (0, 2, 1))


class FailureTests(ChannelCase):
    """Failures that pass: the delay grows, and all connections share it."""

    def test_refused_connections(self) -> None:
        """Several failures at a time count as one, and then one connection is tried at a time."""
        self.channel.registered()
        for attempt in self.new():
            attempt.fail()
        waits = []
        for _ in range(8):
            seconds, count = self.next_attempts()
            self.assertEqual(count, 1)
            waits.append(seconds)
            self.new()[0].fail()
        self.assertEqual(waits, [0.5, 1, 2, 4, 8, 16, 30, 30])
        self.assertEqual(self.log(), ["no response (the connection was refused)"])

    def test_recovery(self) -> None:
        """One success brings the other connections, and the next failure waits as the first."""
        self.channel.registered()
        for attempt in self.new():
            attempt.fail()
        self.next_attempts()
        self.accept(*self.new())
        self.assertEqual(self.counts, (1, 0, 3))
        self.accept(*self.new())
        self.assertEqual(self.log()[1:], ["open"])
        self.clock.advance(10)
        self.endpoint.attempts[-1].lose()
        self.new()[0].fail()
        self.assertEqual(self.next_attempts(), (0.5, 1))

    def test_registration(self) -> None:
        """A registration or heartbeat that succeeds ends the wait, and resets the delay."""
        self.channel.registered()
        for attempt in self.new():
            attempt.fail()
        for _ in range(5):
            self.next_attempts()
            self.new()[0].fail()
        self.channel.registered()
        self.assertEqual(self.counts, (0, 0, 4))
        for attempt in self.new():
            attempt.fail()
        self.assertEqual(self.next_attempts(), (0.5, 1))

    def test_draining_node(self) -> None:
        """A node that stops, or one without its database, is tried again after the delay."""
        self.channel.registered()
        first, *rest = self.new()
        self.refuse(first, 503, "draining", **{"Retry-After": "1"})
        self.accept(*rest)
        self.assertEqual(self.counts, (3, 0, 1))
        self.assertEqual(self.log(), ["responded 503: why", "open"])
        self.assertEqual(self.registrations, 0)

    def test_silent_platform(self) -> None:
        """A platform that does not respond, or not to an end, is a failure."""
        self.channel.registered()
        attempts = self.new()
        attempts[0].connect()
        attempts[1].connect()
        attempts[1].send(b"HTTP/1.1 101 Swi")
        self.clock.advance(REQUEST_TIMEOUT)
        self.assertEqual(self.counts, (0, 0, 0))
        self.assertEqual([a.wire.aborted for a in attempts[:2]], [True, True])
        self.assertEqual([a.cancelled for a in attempts], [False, False, True, True])
        self.assertEqual(self.log(), ["no response (none within 10 seconds)"])

    def test_garbage(self) -> None:
        """What is no response is a failure, which the log describes."""
        self.channel.registered()
        attempt = self.new()[0]
        attempt.connect()
        attempt.send(b"SSH-2.0-OpenSSH_9.2\r\n")
        self.assertEqual(self.log(), ["responded badly: not HTTP/1"])

    def test_closed_at_once(self) -> None:
        """A platform that accepts and closes is not asked again and again without a delay."""
        for attempt in self.open():
            attempt.send(HEALTH)
            attempt.lose()
        self.assertEqual(self.counts, (0, 0, 0))
        for expected in (0.5, 1, 2):
            self.assertEqual(self.next_attempts(), (expected, 1))
            (attempt,) = self.new()
            self.accept(attempt)
            attempt.lose()
            for others in self.new():
                others.fail()
        self.assertIn("closed a connection that it had accepted", self.log()[-1])
        self.channel.registered()
        self.assertEqual(self.counts, (0, 0, 4))

    def test_each_closed_at_once(self) -> None:
        """Nor if it accepts others while it closes one: an accepted one ends no delay."""
        self.channel.registered()
        attempts = self.new()
        for attempt in attempts:
            self.accept(attempt)
            attempt.lose()
        self.assertEqual((self.counts, self.new()), ((0, 0, 0), []))
        self.assertEqual(self.next_attempts(), (0.5, 1))
        (first,) = self.new()
        self.accept(first)
        (second,) = self.new()  # the first one has not been closed
        first.lose()
        self.accept(second)
        second.lose()
        self.assertEqual((self.counts, self.new()), ((0, 0, 0), []))
        self.assertEqual(self.next_attempts(), (1, 1))
        self.assertEqual(len(self.log()), 2)

    def test_used_again(self) -> None:
        """When one is used, as many are made at once as are missing, and the log says so."""
        for attempt in self.open():
            attempt.lose()
        self.next_attempts()
        (attempt,) = self.new()
        self.accept(attempt)
        self.assertEqual(self.counts, (1, 0, 1))
        attempt.send(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(self.counts, (0, 1, 4))
        self.assertEqual(self.log()[-1], "open")


class RefusalTests(ChannelCase):
    """Refusals that do not pass by themselves."""

    def refuse_first(self, status: int, code: str) -> tuple[float, int]:
        """:return: seconds until the next attempts, and their number."""
        self.channel.registered()
        first, *rest = self.new()
        self.refuse(first, status, code)
        for attempt in rest:
            self.refuse(attempt, status, code)
        self.channel.registered()  # a heartbeat
        self.assertEqual(self.new(), [])
        return self.next_attempts()

    def test_credentials(self) -> None:
        """401 and 403: registers, and waits a minute; the log says so once."""
        self.assertEqual(self.refuse_first(401, "unauthorized"), (60, 1))
        self.assertEqual((self.log(), self.registrations), (["refused, responded 401: why"], 1))
        self.refuse(self.new()[0], 401, "unauthorized")
        self.assertEqual(self.next_attempts(), (60, 1))
        self.assertEqual((len(self.log()), self.registrations), (1, 2))

    def test_no_channel(self) -> None:
        """404 without that route: five minutes."""
        self.assertEqual(self.refuse_first(404, "no_route"), (300, 1))
        self.assertIn("the platform has no channel", self.log()[0])
        self.assertEqual(self.registrations, 0)

    def test_unknown_workspace(self) -> None:
        """404 for the workspace, and 409: registers, and tries again after the delay."""
        self.assertEqual(self.refuse_first(404, "workspace_not_found"), (0.5, 1))
        self.assertEqual(self.registrations, 1)
        self.refuse(self.new()[0], 409, "not_in_poll_mode")
        self.assertEqual(self.next_attempts(), (1, 1))
        self.assertEqual(self.registrations, 2)

    def test_proxy(self) -> None:
        """426: a minute, and the log names a proxy."""
        self.assertEqual(self.refuse_first(426, "upgrade_required"), (60, 1))
        self.assertIn("a proxy has removed Upgrade", self.log()[0])

    def test_fault(self) -> None:
        """400 is a fault, which is logged."""
        self.assertEqual(self.refuse_first(400, "bad_request"), (60, 1))
        self.assertEqual(self.log(), ["responded 400: why"])

    def test_full(self) -> None:
        """429: keeps what it has; another is tried when one of them has begun to serve."""
        self.channel.registered()
        *accepted, last = self.new()
        self.accept(*accepted)
        self.refuse(last, 429, "too_many_channels")
        self.assertEqual(self.counts, (3, 0, 0))
        accepted[0].send(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(self.counts, (2, 1, 1))
        self.refuse(self.new()[0], 429, "too_many_channels")
        for _ in range(5):
            self.clock.advance(10)
            for attempt in accepted[1:]:
                attempt.ask(b"/health")
        self.assertEqual(self.new(), [])
        self.clock.advance(10)
        self.assertEqual(len(self.new()), 1)

    def test_without_a_token(self) -> None:
        """Without a token nothing is connected; the workspace registers."""
        self.token = None
        self.channel.registered()
        self.assertEqual((self.new(), self.registrations), ([], 1))
        self.assertEqual(self.log(), ["there is no auth token"])
        self.token = TOKEN
        self.assertEqual(self.next_attempts(), (60, 1))

    def test_no_secrets_in_the_log(self) -> None:
        """A platform that repeats the token does not bring it into the log."""
        self.channel.registered()
        attempt = self.new()[0]
        attempt.connect()
        body = b'{"error":"bad %b"}' % TOKEN.encode()
        attempt.send(b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        self.assertEqual(self.log(), ["responded 400: bad …"])


class EndTests(ChannelCase):
    """The end of the role."""

    def test_drain(self) -> None:
        """Waiting connections are closed, running transfers complete, and no more are made."""
        connections = self.open()
        connections[0].send(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
        (opening,) = self.new()
        self.site.drain(30)
        for attempt in connections:
            if attempt.wire.disconnecting:
                attempt.lose()
        self.assertEqual(self.counts, (0, 1, 1))
        self.accept(opening)
        self.assertTrue(opening.wire.aborted)
        connections[0].sent()
        self.held.answer()
        self.assertIn(b"Connection: close", connections[0].sent())
        connections[0].lose()
        self.clock.advance(1)
        self.assertEqual((self.counts, self.new()), ((0, 0, 0), []))

    def test_stop(self) -> None:
        """What is being made is cancelled, and a wait ends."""
        self.channel.registered()
        first, second, *rest = self.new()
        first.connect()
        second.fail()
        self.channel.stopService()
        self.assertTrue(first.wire.aborted)
        self.assertEqual([attempt.cancelled for attempt in rest], [True, True])
        self.assertEqual((self.counts, self.clock.getDelayedCalls()), ((0, 0, 0), []))
