"""
Both roles over a channel (reference/channel): what works with a URL works without one.

Here is a selection.  ``CHATFILES_LIVE_VIA=channel`` runs all live tests so.
"""

from __future__ import annotations

from tests.live import (
    test_archive,
    test_links,
    test_listing,
    test_operations,
    test_platform_download,
    test_uploads,
)
from tests.live.processes import DENIED_GLOBS, LiveCase, Pair
from tests.live.rawhttp import fetch
from tests.live.upload_client import FORM, file, form


class ChannelCase(LiveCase):
    """All classes share one pair."""

    @classmethod
    def make_pair(cls) -> Pair:
        deny = [f"--deny={glob}" for glob in DENIED_GLOBS]
        return Pair(both=["--drain-timeout=5"], workspace=deny, via="channel")


class RangeTests(ChannelCase, test_platform_download.RangeTests):
    """Downloads and their parts."""


class ListingTests(ChannelCase, test_listing.ListingTests):
    """Listings."""


class OperationTests(ChannelCase, test_operations.OperationTests):
    """Operations."""


class LinkTests(ChannelCase, test_links.OperationTests):
    """Signed links."""


class ArchiveTests(ChannelCase, test_archive.ContentThroughTests):
    """Archives."""


class UploadTests(ChannelCase, test_uploads.StoreTests):
    """Uploads."""


class NATTests(LiveCase):
    """A workspace that listens on nothing, in a network that nothing can connect to."""

    @classmethod
    def make_pair(cls) -> Pair:
        return Pair(via="nat")

    def test_all(self) -> None:
        """Download, listing, upload and archive: all the same."""
        pair = self.pair
        self.assertFalse(pair.is_dialled)
        pair.write("workspace/a.txt", b"hello a\n")
        url, root = pair.platform.url, f"/workspaces/{pair.id}"
        query = "path=/workspace/a.txt"
        answer = fetch(url, f"{root}/chat/download?{query}", pair.bearer)
        self.assertEqual((answer.status, answer.body), (200, b"hello a\n"))
        part = {**pair.bearer, "Range": "bytes=6-"}
        self.assertEqual(fetch(url, f"{root}/chat/download?{query}", part).body, b"a\n")
        sent = {**pair.bearer, **FORM}
        upload = fetch(url, f"{root}/chat/uploads", sent, method="POST", body=form(file(b"new")))
        self.assertEqual(upload.json["files"][0]["size"], 3)
        names = fetch(url, f"{root}/fs/entries?path=/workspace", pair.bearer).json["entries"]
        self.assertIn("a.txt", [entry["name"] for entry in names])
        archive = fetch(url, f"{root}/fs/archive?path=/workspace&format=zip", pair.bearer)
        self.assertEqual((archive.status, archive.body[:2]), (200, b"PK"))
