"""
How a workspace says that it has the next secret.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.rules.next_secret import acknowledgement, acknowledges


class AcknowledgementTests(SynchronousTestCase):
    """`acknowledgement` and `acknowledges`."""

    def test_digits(self) -> None:
        """It is the beginning of the secret's SHA-256 (of ``abc``, FIPS 180-4)."""
        self.assertEqual(acknowledgement("abc"), "ba7816bf8f01cfea")

    def test_acknowledges(self) -> None:
        """Only the digits of the pending secret acknowledge it, whatever a workspace sends."""
        self.assertTrue(acknowledges("ba7816bf8f01cfea", "abc"))
        wrong: tuple[object, ...] = (
            "ba7816bf8f01cfeb",
            "BA7816BF8F01CFEA",
            "ba78",
            "",
            "é",
            "\ud800",
            None,
            1,
            [],
        )
        for given in wrong:
            self.assertFalse(acknowledges(given, "abc"), given)
        for secret in (None, ""):
            self.assertFalse(acknowledges(acknowledgement(""), secret))
