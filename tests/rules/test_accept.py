"""
``Accept``: which of two media types is sent.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.accept import wants_html, wants_ndjson, wants_openmetrics

LINES: tuple[bytes, ...] = (
    b"application/x-ndjson",
    b"Application/X-NDJSON",
    b" application/x-ndjson ",
    b"application/x-ndjson;charset=utf-8",
    b"application/x-ndjson; q=0.001",
    b"application/x-ndjson;Q=1.000",
    b"application/x-ndjson, application/json;q=0.9",
    b"application/json;q=0.2,application/x-ndjson;q=0.3",
    b"application/x-ndjson, */*;q=0.1",
    b"application/x-ndjson;q=0.5, application/json;q=0",
    b"application/x-ndjson;q=0.5, application/json;q=0.1, */*",
    b"application/x-ndjson;q=0.5, application/*;q=0.1, */*;q=0.9",
    b"text/html, application/x-ndjson",
    b"application/json;q=bad, application/x-ndjson",
    b";, application/x-ndjson, ;;q=1",
    b',,application/x-ndjson;a="x,;\\"y";q=1,',
)
JSON: tuple[bytes, ...] = (
    b"",
    b"*/*",
    b"application/*",
    b"application/json",
    b"text/html",
    b"application/ndjson",
    b";",
    b"x-application/x-ndjson",
    b"application/x-ndjson;q=0",
    b"application/x-ndjson;q=0.000",
    b"application/x-ndjson;q=2",
    b"application/x-ndjson;q=",
    b"application/x-ndjson, application/json",
    b"application/x-ndjson, */*",
    b"application/x-ndjson;q=0.5, application/json",
    b"application/x-ndjson;q=0.5, application/*",
    b"application/x-ndjson;q=0.5, */*;q=0.5",
    b'text/html;a=", application/x-ndjson"',
    b'text/html;a=", application/x-ndjson',
)


#: Browsers, as of 2026, when a person follows a link.
PEOPLE = (
    b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*"
    b";q=0.8,application/signed-exchange;v=b3;q=0.7",
    b"text/html",
    b"TEXT/HTML;level=1",
)
#: Programs, and what a browser loads for a page.
PROGRAMS = (
    b"*/*",
    b"",
    b"application/json",
    b"application/json, text/html;q=0.9",
    b"text/html, */*",
    b"text/*",
    b"text/html;q=0",
    b"image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
    b"application/json, text/plain, */*",
)


class HTMLTests(SynchronousTestCase):
    """`wants_html`."""

    def test_people(self) -> None:
        """A browser that opens a link names HTML, and prefers it."""
        for value in PEOPLE:
            self.assertTrue(wants_html([value]), value)

    def test_programs(self) -> None:
        """Others do not."""
        for value in PROGRAMS:
            self.assertFalse(wants_html([value]), value)
        self.assertFalse(wants_html([]))


class OpenMetricsTests(SynchronousTestCase):
    """`wants_openmetrics`."""

    def test_openmetrics(self) -> None:
        """OpenMetrics is sent if it is named, and weighs no less than text."""
        for value in (
            b"application/openmetrics-text",
            b"application/openmetrics-text;version=1.0.0, */*",
            b"application/openmetrics-text;version=1.0.0;q=0.5,"
            b"application/openmetrics-text;version=0.0.1;q=0.4,"
            b"text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        ):
            self.assertTrue(wants_openmetrics([value]), value)

    def test_text(self) -> None:
        """Anything else gets text."""
        for value in (
            b"",
            b"*/*",
            b"application/*",
            b"text/plain",
            b"application/openmetrics-text;q=0",
            b"application/openmetrics-text;q=0, text/plain",
            b"application/openmetrics-text;q=0.1, text/plain;q=0.9",
            b"application/openmetrics-text;q=0.1, text/*",
        ):
            self.assertFalse(wants_openmetrics([value]), value)


class AcceptTests(SynchronousTestCase):
    """`wants_ndjson`."""

    def test_lines(self) -> None:
        """JSON lines are sent if they are named, and weigh more than JSON."""
        for value in LINES:
            self.assertTrue(wants_ndjson([value]), value)

    def test_json(self) -> None:
        """Anything else gets JSON: wildcards do not name JSON lines, and equal weights."""
        for value in JSON:
            self.assertFalse(wants_ndjson([value]), value)

    def test_several_headers(self) -> None:
        """Several headers are one list (RFC 9110, 5.3)."""
        self.assertFalse(wants_ndjson([]))
        self.assertTrue(wants_ndjson([b"application/json;q=0.1", b"application/x-ndjson"]))
        self.assertFalse(wants_ndjson([b"application/x-ndjson;q=0.1", b"application/json"]))

    @given(
        st.lists(
            st.sampled_from([b"application/x-ndjson", b"*/*", b";q=", b"0.5", b",", b'"', b"\\"])
        )
    )
    def test_any_value(self, parts: list[bytes]) -> None:
        """Whatever is sent, there is a decision."""
        self.assertIsInstance(wants_ndjson([b"".join(parts)]), bool)
