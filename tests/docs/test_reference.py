"""The reference of the HTTP interface agrees with the code."""

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
from chatfiles.platform.routes.route_table import ROUTES
from chatfiles.rules import file_headers
from chatfiles.rules.error_codes import ERROR_CODES
from chatfiles.rules.operations import TRANSFERS
from chatfiles.runtime import option_values
from chatfiles.runtime.options import OPTIONS

PACKAGE = os.path.dirname(os.path.abspath(chatfiles.__file__))
REFERENCE = os.path.join(os.path.dirname(PACKAGE), "docs", "reference")
#: Codes of the console script's own errors, and codes that are only a class's default.
NOT_SENT = {"bad_request", "not_found"}
#: A call of `chatfiles.rules.parameters` or `write_request` that names a parameter.
_PARAMETER = re.compile(r'\b(?:invalid\(|(?:number|flag)\(\w+, )"([a-z]+)"')


def codes_in_source() -> set[str]:
    """:return: every machine code that an error is given, or has by default."""
    found = {
        each.code
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, ChatfilesError)
    }
    for directory, _, names in os.walk(PACKAGE):
        for name in names:
            if name.endswith(".py") and "/cli" not in directory[len(PACKAGE) :]:
                with open(os.path.join(directory, name)) as file:
                    text = file.read()
                found |= set(re.findall(r'\bcode="([a-z_]+)"', text))
                found |= {f"invalid_{each}" for each in _PARAMETER.findall(text)}
    return found - NOT_SENT


def page(name: str) -> str:
    """:return: a page of the reference, with the lines of each paragraph joined."""
    with open(os.path.join(REFERENCE, name + ".rst"), encoding="utf-8") as file:
        return re.sub(r"(?<=\S)\n +(?=[^\s*-])", " ", file.read())


class ReferenceTests(SynchronousTestCase):
    """``docs/reference/``."""

    def test_codes(self) -> None:
        """The listed codes are exactly those that a client may receive."""
        text = page("errors")
        section = text[text.index("\nStatuses\n") : text.index("\nTexts\n")]
        listed = set(re.findall(r"``([a-z_]+)``", section))
        self.assertEqual(listed, codes_in_source())

    def test_counted_codes(self) -> None:
        """The metrics know all of them."""
        self.assertEqual(set(ERROR_CODES), codes_in_source())
        self.assertEqual(list(ERROR_CODES), sorted(ERROR_CODES))

    def test_audited(self) -> None:
        """Every operation that has a line in the audit log is documented, and no other one."""
        text = page("audit")
        section = text[text.index("\nOperations\n") : text.index("\nRotation\n")]
        rows = re.findall(r"^   \* - (.*)$", section, re.MULTILINE)
        listed = {name for row in rows for name in re.findall(r"``([a-z.]+)``", row)}
        rights = {route.rights for route in ROUTES} - {""}
        files = set(TRANSFERS) - {"link"}  # of which the rights have a line
        self.assertEqual(listed, rights | files | {"login.refused"})

    def test_statuses(self) -> None:
        """The listed statuses are exactly those of the errors."""
        listed = set(map(int, re.findall(r"^   \* - (\d{3})$", page("errors"), re.MULTILINE)))
        classes = [each for each in vars(errors).values() if isinstance(each, type)]
        statuses = {each.status for each in classes if issubclass(each, ChatfilesError)}
        self.assertEqual(listed, statuses)

    def test_fields(self) -> None:
        """Every header that is forwarded or relayed is documented."""
        text = page("downloads")
        for name in (
            *file_headers.FORWARDED_REQUEST_HEADERS,
            *file_headers.RELAYED_RESPONSE_HEADERS,
        ):
            self.assertIn(f"``{name.decode()}``", text)

    def test_options(self) -> None:
        """The documented options are exactly those that exist, with their defaults."""
        text = page("options")
        listed = dict(re.findall(r"^   \* - ``--([a-z-]+)``\n     - (.*)$", text, re.MULTILINE))
        self.assertEqual(set(listed), {each.name for each in OPTIONS})
        for each in OPTIONS:
            if each.default is not None and each.parse is not option_values.switch:
                self.assertEqual(listed[each.name].strip("`"), each.default, each.name)

    def test_limits(self) -> None:
        """The documented limits are those of the code."""
        limits, http, resolution = page("limits-and-shutdown"), page("http"), page("resolution")
        drained, lingering = request.KEEP_ALIVE_DRAIN >> 10, LINGER_BYTES >> 10
        for text, where in (
            (f"{request_head.MAX_HEAD_BYTES} bytes up to the empty line", limits),
            (f"   * - header lines of a request\n     - {MAX_HEADER_LINES}\n", limits),
            (f"up to {drained} KiB of a declared length are read and dropped", http),
            (f"read for {lingering} KiB or {LINGER_SECONDS:.0f} seconds more", http),
            (f"after at most {MAX_INTERIM} interim responses", resolution),
        ):
            self.assertIn(text, where)
