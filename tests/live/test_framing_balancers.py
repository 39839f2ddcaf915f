"""
nginx and HAProxy in front of the platform: balancer and platform agree on where each request ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from tests.live import framing_fronts
from tests.live.framing_fronts import ATTACKER, VICTIM, complaints
from tests.live.wiretap import Tapped


class NginxFramingTests(framing_fronts.Framings):
    """Ambiguous framings through nginx."""

    kind = "nginx"


class HAProxyFramingTests(framing_fronts.Framings):
    """Ambiguous framings through HAProxy."""

    kind = "haproxy"


class ComplaintTests(SynchronousTestCase):
    """The check that the tests above rely on."""

    HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: %b\r\n"
    ANSWER = b"HTTP/1.1 200 OK\r\nX-Request-Id: %b\r\nContent-Length: 0\r\n\r\n"

    def heard(self, asked: bytes, answers: Sequence[bytes], *delivered: tuple[str, str]) -> str:
        """:return: the complaints about one connection."""
        answered = b"".join(self.ANSWER % request_id for request_id in answers)
        tapped = Tapped(bytearray(asked), bytearray(answered))
        return "\n".join(complaints([tapped], delivered))

    def test_judged(self) -> None:
        """Smuggled requests, surplus responses and misdelivered responses are reported."""
        attack = self.HEAD % ATTACKER.encode() + b"\r\n"
        victim = self.HEAD % b"192.0.2.1, 127.0.0.3" + b"\r\n"
        fine = [("1", ATTACKER), ("2", VICTIM)]
        self.assertEqual(self.heard(attack + victim, [b"1", b"2"], *fine), "")
        self.assertEqual(self.heard(attack + victim, [b"1"], *fine[:1]), "")
        self.assertEqual(self.heard(attack + b"GET", [b"1", b"2"]), "")
        smuggled = attack + b"GET /ghost HTTP/1.1\r\nHost: x\r\n\r\n"
        self.assertIn("did not write", self.heard(smuggled, [b"1", b"2"]))
        self.assertIn("did not write", self.heard(smuggled + victim, [b"1"]))
        self.assertIn("2 answers", self.heard(attack, [b"1", b"2"]))
        crossed = [("2", ATTACKER), ("1", VICTIM)]
        self.assertIn("got 1", self.heard(attack + victim, [b"1", b"2"], *crossed))
        self.assertIn("Malformed", self.heard(attack, [b"\n"]))
