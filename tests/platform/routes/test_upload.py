"""
Tests for `chatfiles.platform.routes.upload`: the form of a client, which cannot be sent twice.
"""

from __future__ import annotations

from dataclasses import replace

from chatfiles.platform.routes.context import UploadLimits
from tests.contract.registry_case import FIRST
from tests.platform.routes.operation_case import AUTH, OperationCase, response
from tests.support.memory_client import post

FORM = b"Content-Type: multipart/form-data; boundary=b"
BODY = b'--b\r\nContent-Disposition: form-data; name="files"; filename="f"\r\n\r\nx\r\n--b--\r\n'


class UploadTests(OperationCase):
    """``POST /workspaces/{id}/chat/uploads``."""

    def test_secret(self) -> None:
        """A secret that the workspace refuses is no 401 for the client; the next one is used."""
        self.context = replace(self.context, limits=UploadLimits(1000, 1000))
        path = f"/workspaces/{FIRST}/chat/uploads".encode()
        request = post(BODY, AUTH, FORM, path=path)
        row = self.registry._rows[FIRST]
        caller, wire = self.begin(request)
        self.assertIn(b"Authorization: Bearer secret", wire.sent())
        row.workspace = replace(row.workspace, inbound_secret="new")
        wire.send(response(b"401 Unauthorized", b"Connection: close"))
        self.assertEqual(caller.answer().status, 502)
        self.assertEqual(caller.answer().json["code"], "workspace_refused_credentials")
        _, wire = self.begin(request)
        self.assertIn(b"Authorization: Bearer new", wire.sent())
