"""
Tests for `chatfiles.rules.cross_origin`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.cross_origin import cross_origin_fields, origin

HERE = b"https://app.example:8443"


class CrossOriginTests(SynchronousTestCase):
    """The headers for the pages of other origins."""

    def test_options(self) -> None:
        """An origin has no path, and is written as browsers write it."""
        self.assertEqual(origin("http://localhost:3000"), b"http://localhost:3000")
        for value in ("", "*", "null", "https://", "https://a/", "https://A", "https://ä", "a.b"):
            self.assertRaises(ValueError, origin, value)

    def test_fields(self) -> None:
        """Only an allowed origin gets headers; permission is told to ``OPTIONS`` only."""
        for values in ([], [b"null"], [b"https://app.example"], [HERE, HERE], [HERE.upper()]):
            self.assertEqual(cross_origin_fields(values, {HERE}, is_options=True), [])
        for is_options in (False, True):
            fields = dict(cross_origin_fields([HERE], {HERE}, is_options=is_options))
            self.assertEqual(fields[b"Access-Control-Allow-Origin"], HERE)
            self.assertEqual(fields[b"Vary"], b"Origin")
            self.assertIn(b"Location", fields[b"Access-Control-Expose-Headers"])
            self.assertEqual(b"Access-Control-Allow-Methods" in fields, is_options)
            self.assertEqual(b"Access-Control-Allow-Headers" in fields, is_options)
            self.assertNotIn(b"Access-Control-Allow-Credentials", fields)
