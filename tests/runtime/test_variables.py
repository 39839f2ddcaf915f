"""
The names of environment variables.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import chatfiles
from chatfiles.runtime.options import OPTIONS
from chatfiles.runtime.variables import misspelt, variable

NAMES = [option.name for option in OPTIONS]


class VariableTests(SynchronousTestCase):
    """`misspelt`."""

    def test_misspelt(self) -> None:
        """A name that is like a known one leads to it."""
        for given, meant in (
            ("CHATFILES_AUDITLOG", "CHATFILES_AUDIT_LOG"),
            ("CHATFILES_LISTENS", "CHATFILES_LISTEN"),
            ("CHATFILES_IDLE_TIMOUT", "CHATFILES_IDLE_TIMEOUT"),
            ("CHATFILES_ADMIN_TOKN", "CHATFILES_ADMIN_TOKEN"),
            ("CHATFILES_audit_log", ""),
        ):
            found = misspelt(["PATH", given], NAMES)
            self.assertEqual(found, {given: meant} if meant else {})

    def test_known(self) -> None:
        """No variable of an option, of a role, the command or the client is misspelt."""
        found = {
            name
            for path in Path(chatfiles.__file__).parent.rglob("*.py")
            for name in re.findall(r"\bCHATFILES_[A-Z_]+\b", path.read_text())
        }
        self.assertIn("CHATFILES_WORKSPACE", found)
        self.assertEqual(misspelt([*map(variable, NAMES), *found], NAMES), {})

    def test_kubernetes(self) -> None:
        """Variables that Kubernetes makes of the names of services are not like ours."""
        names = [
            f"{service}_{end}"
            for service in ("CHATFILES", "CHATFILES_PLATFORM", "CHATFILES_WORKSPACE")
            for end in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT")
        ]
        tcp = [
            f"{each}_8080_TCP{end}" for each in names for end in ("", "_ADDR", "_PORT", "_PROTO")
        ]
        self.assertEqual(misspelt([*names, *tcp], NAMES), {})
