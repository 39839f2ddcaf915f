"""
Tests for `chatfiles.platform.routes.placement` (reference/registration, "Register").
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import BadRequest
from chatfiles.model import Workspace
from chatfiles.platform.routes.placement import placement
from chatfiles.rules.urls import MAX_URL_LENGTH
from tests.contract.registry_case import FIRST

A, B = "http://a.test:8000", "http://b.test:8000"
LOCAL, OTHER_LOCAL = "http://127.0.0.1:40001", "http://127.0.0.1:40002"
CARD_B = {"agent_card": {"url": B}}


def stored(url: str | None = None, mode: str | None = None) -> Workspace:
    return Workspace(FIRST, "name", url, "online", mode, "secret")


#: Body, stored workspace → URL to store, mode.
PLACEMENTS: list[tuple[dict[str, Any], Workspace | None, str | None, str]] = [
    # the mode: given, stored, push
    ({"url": A}, None, A, "push"),
    ({"url": A, "delivery_mode": "push"}, stored(None, "poll"), A, "push"),
    ({"url": A, "delivery_mode": None}, stored(None, None), A, "push"),
    ({"url": A, "delivery_mode": ""}, stored(None, ""), A, "push"),
    ({"delivery_mode": "poll"}, None, None, "poll"),
    ({"url": A}, stored(B, "poll"), None, "poll"),
    ({"url": A, "delivery_mode": "poll"}, stored(B, "push"), None, "poll"),
    ({"url": A}, stored(B, "theirs"), A, "theirs"),
    ({}, stored(None, "theirs"), None, "theirs"),
    # the URL: given, of the card, stored
    ({"url": A, **CARD_B}, None, A, "push"),
    ({**CARD_B}, None, B, "push"),
    ({"url": "", **CARD_B}, stored(A), B, "push"),
    ({}, stored(A), None, "push"),
    ({"agent_card": {"url": 7}}, stored(A), None, "push"),
    ({"agent_card": {"url": "x" * (MAX_URL_LENGTH + 1)}}, stored(A), None, "push"),
    ({"agent_card": {"url": "http://x\n"}}, stored(A), None, "push"),
    ({"agent_card": [B]}, stored(A), None, "push"),
    # what a provisioner has stored
    ({"url": A}, stored(LOCAL, "push"), None, "push"),
    ({**CARD_B}, stored(LOCAL, "push"), None, "push"),
    ({"url": OTHER_LOCAL}, stored(LOCAL, "push"), OTHER_LOCAL, "push"),
    ({"url": A}, stored("http://127.0.0.1.evil.test", "push"), A, "push"),
    ({"url": A}, stored("http://[", "push"), A, "push"),
]


class PlacementTests(SynchronousTestCase):
    """Where a registration puts a workspace."""

    def test_placements(self) -> None:
        """The request decides, then what is stored."""
        for body, before, url, mode in PLACEMENTS:
            found = placement(body, before)
            self.assertEqual((found.url, found.delivery_mode), (url, mode), (body, before))

    def test_checked(self) -> None:
        """
        What is stored is checked. Beside a provisioner's URL the form and the address of the given
        one are checked too, but no name is looked up.
        """
        for url in (A, "http://10.0.0.1", "nonsense"):
            self.assertEqual(placement({"url": url}, stored(B)).check, url)
        self.assertIsNone(placement({}, stored(B)).check)
        for url in ("http://169.254.169.254/", "http://10.0.0.1", "http://127.1", "nonsense"):
            found = placement({"url": url}, stored(LOCAL))
            self.assertEqual((found.url, found.check), (None, url))
        self.assertIsNone(placement({"url": A}, stored(LOCAL)).check)

    def test_unknown_mode(self) -> None:
        """Another mode is refused with the text that existing workspaces know."""
        wrong: tuple[object, ...] = ("pull", "PUSH", 7, [], {"a": 1}, True)
        for mode in wrong:
            refusal = self.assertRaises(BadRequest, placement, {"delivery_mode": mode}, stored(A))
            self.assertEqual(refusal.text, "delivery_mode must be 'push' or 'poll'", mode)
            self.assertEqual(refusal.code, "invalid_field")

    def test_no_url(self) -> None:
        """A workspace in push mode needs a URL."""
        for before in (None, stored(None, "push"), stored("", None)):
            refusal = self.assertRaises(BadRequest, placement, {"url": None}, before)
            self.assertEqual(refusal.text, "url is required for push-mode workspaces")
            self.assertEqual(refusal.code, "invalid_field")

    def test_malformed_url(self) -> None:
        """A URL that is not text is refused."""
        self.assertRaises(BadRequest, placement, {"url": 7}, stored(A))
