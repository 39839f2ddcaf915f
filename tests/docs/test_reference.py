"""
The reference of the HTTP interface names what the code says.
"""

from __future__ import annotations

import os
import re

from twisted.trial.unittest import SynchronousTestCase

import chatfiles
from chatfiles import errors
from chatfiles.errors import ChatfilesError
from chatfiles.http.message_head import request as request_head
from chatfiles.http.message_head.response import MAX_INTERIM
from chatfiles.http.message_head.rules import MAX_HEADER_LINES
from chatfiles.http.server import request
from chatfiles.http.server.lingering_close import LINGER_BYTES, LINGER_SECONDS
from chatfiles.rules import file_headers

PACKAGE = os.path.dirname(os.path.abspath(chatfiles.__file__))
REFERENCE = os.path.join(os.path.dirname(PACKAGE), "docs", "reference", "http.rst")
#: What the console script calls errors of its own, and codes that are only a class's default.
NOT_SENT = {"bad_request", "not_found"}


def codes_in_source() -> set[str]:
    """:return: every machine code that an error is given, or has by itself."""
    found = {
        each.code
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, ChatfilesError)
    }
    for directory, _, names in os.walk(PACKAGE):
        for name in names:
            if name.endswith(".py") and "/cli" not in directory[len(PACKAGE) :]:
                with open(os.path.join(directory, name)) as file:
                    found |= set(re.findall(r'\bcode="([a-z_]+)"', file.read()))
    return found - NOT_SENT


class ReferenceTests(SynchronousTestCase):
    """``docs/reference/http.rst``."""

    def setUp(self) -> None:
        with open(REFERENCE) as file:
            self.text = file.read()

    def test_codes(self) -> None:
        """A code that a caller may get is not there, or one that nobody gets is."""
        section = self.text[self.text.index("\nStatuses\n") : self.text.index("\nFraming\n")]
        told = set(re.findall(r"``([a-z_]+)``", section))
        self.assertEqual(told, codes_in_source())

    def test_statuses(self) -> None:
        """A status of an error is missing."""
        told = set(map(int, re.findall(r"^(\d{3})  ", self.text, re.MULTILINE)))
        classes = [each for each in vars(errors).values() if isinstance(each, type)]
        statuses = {each.status for each in classes if issubclass(each, ChatfilesError)}
        self.assertEqual(told, statuses)

    def test_fields(self) -> None:
        """A field that crosses a hop is missing."""
        for name in (
            *file_headers.FORWARDED_REQUEST_HEADERS,
            *file_headers.RELAYED_RESPONSE_HEADERS,
        ):
            self.assertIn(f"``{name.decode()}``", self.text)

    def test_limits(self) -> None:
        """A limit is another one."""
        for text in (
            f"{request_head.MAX_HEAD_BYTES} octets up to the empty line",
            f"field lines of a head                   {MAX_HEADER_LINES} ",
            f"up to {request.KEEP_ALIVE_DRAIN >> 10} KiB of a declared length are read and dropped",
            f"for {LINGER_BYTES >> 10} KiB or {LINGER_SECONDS:.0f} seconds more",
            f"behind at most {MAX_INTERIM} interim answers",
        ):
            self.assertIn(text, self.text)
