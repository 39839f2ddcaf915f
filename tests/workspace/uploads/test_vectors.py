"""
Forms with the files that must come of them: ``tests/vectors/multipart.json``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import ChatfilesError
from chatfiles.workspace.uploads.ingestion import Ingestion, IngestLimits
from chatfiles.workspace.uploads.upload_directory import UploadDirectory

_PATH = os.path.join(os.path.dirname(__file__), "..", "..", "vectors", "multipart.json")


class VectorTests(SynchronousTestCase):
    """What is stored, or that nothing is."""

    def setUp(self) -> None:
        self.root = os.path.realpath(self.mktemp())
        os.makedirs(self.root)
        self.directory = UploadDirectory(lambda: os.open(self.root, os.O_PATH | os.O_DIRECTORY))

    def stored(self, row: dict[str, Any], size: int) -> list[dict[str, Any]] | int:
        """:return: the files of a body that arrives in pieces of *size* bytes, or the status."""
        encoded = row.get("body_base64")
        body = row["body"].encode() if encoded is None else base64.b64decode(encoded)
        ingestion = Ingestion(self.directory, IngestLimits(1 << 20, 1 << 20), row["boundary"])
        try:
            for start in range(0, len(body), size):
                ingestion.feed(body[start : start + size])
            ingestion.prepare()
            files = [file.view() for file in ingestion.finish()]
            ingestion.keep()
        except ChatfilesError as error:
            return error.status
        finally:
            ingestion.close()
        return files

    def test_vectors(self) -> None:
        """Each form gives its files or its refusal, also if it arrives byte by byte."""
        with open(_PATH) as file:
            rows = json.load(file)["rows"]
        self.assertGreater(len(rows), 10)
        for row in rows:
            for size in (1 << 20, 1):
                self.check(row["expected"], self.stored(row, size), row["id"])

    def check(self, expected: dict[str, Any], found: list[dict[str, Any]] | int, name: str) -> None:
        """Compare what was stored, and its content on the disk, with the vector."""
        if isinstance(found, int):
            self.assertIn(found, (expected.get("status"), expected.get("or")), name)
            return
        self.assertEqual(len(found), len(expected["files"]), name)
        for entry, wanted in zip(found, expected["files"], strict=True):
            path = entry["uri"].removeprefix("workspace:/workspace/")
            with open(os.path.join(self.root, path), "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()
            self.assertEqual(digest, wanted["sha256"], name)
            self.assertTrue(entry["uri"].endswith("-" + wanted["name"]), name)
            for member, key in (("size", "size"), ("originalName", "originalName")):
                self.assertEqual(entry[member], wanted.get(key, entry[member]), name)
