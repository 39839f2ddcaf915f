"""
The address of a workspace that is known already.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from chatfiles.errors import ChatfilesError
from chatfiles.model import Workspace
from chatfiles.platform.forwarding.resolver import Resolver
from chatfiles.rules.address_policy import AddressPolicy
from chatfiles.testing import MemoryRegistry
from tests.contract.registry_case import FIRST, add_workspace, begun

URL = "http://8.8.8.8:8000/base"


class AddressTests(SynchronousTestCase):
    """`Resolver.address_of` and `Resolver.resolve` agree."""

    def setUp(self) -> None:
        self.registry = MemoryRegistry()
        self.successResultOf(self.registry.start())
        self.resolver = Resolver(self.registry, AddressPolicy())

    def workspace(self, **given: Any) -> Workspace:
        adding = begun(add_workspace(self.registry, **given))
        return self.successResultOf(adding)

    def test_address(self) -> None:
        """A workspace with an allowed URL and a secret has the address that `resolve` returns."""
        workspace = self.workspace(url=URL, secret="secret")
        address = self.resolver.address_of(workspace)
        assert address is not None
        self.assertEqual((address.workspace_id, address.secret), (FIRST, "secret"))
        resolved = self.successResultOf(begun(self.resolver.resolve(FIRST, "download")))
        self.assertEqual(address, resolved)

    def test_none(self) -> None:
        """Without one, `resolve` has to report the reason."""
        for url, secret in (
            (None, "secret"),
            ("", "secret"),
            (URL, ""),
            ("http://127.0.0.1:8000", "secret"),
            ("http://169.254.169.254/", "secret"),
            ("ftp://8.8.8.8", "secret"),
            ("http://8.8.8.8/?query", "secret"),
            ("nonsense", "secret"),
        ):
            self.setUp()
            workspace = self.workspace(url=url, secret=secret)
            for _ in range(2):
                self.assertIsNone(self.resolver.address_of(workspace), url)
            self.failureResultOf(begun(self.resolver.resolve(FIRST, "download")), ChatfilesError)

    def test_secret_is_not_shown(self) -> None:
        """The secret does not appear in a traceback or log."""
        address = self.resolver.address_of(self.workspace(url=URL, secret="hush"))
        self.assertNotIn("hush", repr(address))
