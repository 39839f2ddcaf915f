"""
The upgrade that turns a connection round.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from chatfiles.http.message_head.request import read_head
from chatfiles.http.message_head.response import BadResponse, HeadScanner
from chatfiles.rules.channel_upgrade import (
    NODE,
    RELAY_PROTOCOL,
    UpgradeFault,
    node_of,
    request_fault,
    response_fault,
    upgrade_request,
    upgrade_response,
)
from chatfiles.rules.header_fields import HeaderValues

REQUEST = (
    b"GET /registry/channel HTTP/1.1\r\n"
    b"Host: files.example.com\r\n"
    b"Authorization: Bearer t0ken\r\n"
    b"Connection: upgrade\r\n"
    b"Upgrade: ptth\r\n"
    b"ALPN: http%2F1.1\r\n"
    b"\r\n"
)
RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Connection: upgrade\r\n"
    b"Upgrade: ptth\r\n"
    b"ALPN: http%2F1.1\r\n"
    b"\r\n"
)


def fields(*lines: bytes) -> HeaderValues:
    found = HeaderValues()
    for line in lines:
        name, _, value = line.partition(b": ")
        found.setdefault(name.lower(), []).append(value)
    return found


ASKED = (b"Connection: upgrade", b"Upgrade: ptth")


class RequestTests(SynchronousTestCase):
    """A request for the upgrade."""

    def test_the_request_is_as_written_in_the_contract(self) -> None:
        made = upgrade_request(b"/registry/channel", b"files.example.com", b"t0ken")
        self.assertEqual(made, REQUEST)

    def test_a_request_that_is_built_is_accepted(self) -> None:
        for protocol in (b"ptth", RELAY_PROTOCOL):
            made = upgrade_request(b"/x", b"a", b"b", protocol=protocol)
            head = read_head(made.removesuffix(b"\r\n\r\n"))
            headers = Headers()
            for name, value in head.fields:
                headers.addRawHeader(name, value)
            self.assertIsNone(request_fault(head.version, headers, head.length, protocol))

    def test_faults(self) -> None:
        one_zero, protocol = b"HTTP/1.0", UpgradeFault.PROTOCOL
        for length, lines, fault in (
            (0, ASKED, None),
            (0, (b"Connection: keep-alive, Upgrade", b"Upgrade: PTTH"), None),
            (0, (b"Connection: close", *ASKED), None),
            (0, (*ASKED, b"ALPN: h2, http%2F1.1"), None),
            (0, (b"Connection: upgrade",), protocol),
            (0, (b"Upgrade: ptth",), protocol),
            (0, (b"Connection: close", b"Upgrade: ptth"), protocol),
            (0, (), protocol),
            (0, (b"Connection: upgrade", b"Upgrade: ptth, websocket"), protocol),
            (0, (*ASKED, b"Upgrade: websocket"), protocol),
            (0, (b"Connection: upgrade", b"Upgrade: ptth-relay"), protocol),
            (0, (b"Connection: upgrade", b"Upgrade: ptth/2"), protocol),
            (5, (), protocol),
            (5, ASKED, UpgradeFault.BODY),
            (None, ASKED, UpgradeFault.BODY),
            (0, (*ASKED, b"ALPN: h2"), UpgradeFault.APPLICATION),
        ):
            with self.subTest(lines=lines, length=length):
                self.assertIs(request_fault(b"HTTP/1.1", fields(*lines), length), fault)
        self.assertIs(request_fault(one_zero, fields(*ASKED), 0), protocol)


class ResponseTests(SynchronousTestCase):
    """The response that accepts the upgrade."""

    def test_the_response_is_as_written_in_the_contract(self) -> None:
        self.assertEqual(upgrade_response(), RESPONSE)

    def test_a_response_that_is_built_is_accepted_and_what_follows_is_kept(self) -> None:
        made = upgrade_response([(NODE, b"n1")], RELAY_PROTOCOL)
        head = HeadScanner(b"GET", upgrade=True).feed(made + b"GET /health")
        assert head is not None
        found = HeaderValues()
        for name, value in head.fields:
            found.setdefault(name, []).append(value)
        self.assertEqual(response_fault(found, RELAY_PROTOCOL), "")
        self.assertEqual((head.status, node_of(found), head.rest), (101, "n1", b"GET /health"))

    def test_interim_responses_may_come_first(self) -> None:
        scanner = HeadScanner(b"GET", upgrade=True)
        self.assertIsNone(scanner.feed(b"HTTP/1.1 103 Early Hints\r\n\r\n"))
        head = scanner.feed(RESPONSE)
        assert head is not None
        self.assertEqual((head.status, head.rest), (101, b""))

    def test_a_bad_101_is_refused(self) -> None:
        for text in (
            RESPONSE.replace(b"HTTP/1.1", b"HTTP/1.0"),
            RESPONSE.replace(b"ALPN: ", b"Content-Length: 0\r\nALPN: "),
        ):
            with self.subTest(text=text):
                scanner = HeadScanner(b"GET", upgrade=True)
                self.assertRaises(BadResponse, scanner.feed, text)

    def test_faults(self) -> None:
        for lines, fault in (
            (ASKED, ""),
            ((*ASKED, b"ALPN: http%2f1.1"), ""),
            ((*ASKED, b"ALPN: h2"), "HTTP/1.1"),
            ((*ASKED, b"ALPN: h2, http%2F1.1"), "HTTP/1.1"),
            ((b"Connection: upgrade", b"Upgrade: websocket"), "ptth"),
            ((b"Connection: upgrade",), "ptth"),
            ((b"Upgrade: ptth",), "ptth"),
        ):
            with self.subTest(lines=lines):
                found = response_fault(fields(*lines))
                self.assertIn(fault, found)
                self.assertEqual(bool(fault), bool(found))

    def test_the_id_of_a_node_can_be_logged(self) -> None:
        for lines, node in (
            ((b"Chatfiles-Node: 5f0f1f0c-9b4e",), "5f0f1f0c-9b4e"),
            ((b"Chatfiles-Node: a b",), ""),
            ((b"Chatfiles-Node: a", b"Chatfiles-Node: b"), ""),
            ((b"Chatfiles-Node: " + b"a" * 65,), ""),
            ((), ""),
        ):
            with self.subTest(lines=lines):
                self.assertEqual(node_of(fields(*lines)), node)

    @given(st.lists(st.sampled_from([b"ptth", b"websocket", b"h2c", b" ", b"ptth-relay"])))
    def test_only_exactly_one_protocol_is_accepted(self, members: list[bytes]) -> None:
        found = fields(b"Connection: Upgrade", b"Upgrade: " + b", ".join(members))
        named = [member for member in members if member.strip()]
        self.assertEqual(response_fault(found) == "", named == [b"ptth"])
