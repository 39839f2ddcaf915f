"""
docs/systemd: the unit files say what the roles and systemd understand.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from configparser import RawConfigParser

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from chatfiles.runtime.options import Options
from tests.docs import ROOT, read

UNITS = os.path.join(ROOT, "docs", "systemd")
ROLES = ("platform", "workspace")


def unit(name: str, directory: str = "systemd") -> RawConfigParser:
    """:return: a unit file; of a line that is repeated, the last one."""
    parser = RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(read("docs", directory, name).replace("\\\n", ""))
    return parser


class UnitTests(SynchronousTestCase):
    """A service and a socket for each role."""

    def test_options(self) -> None:
        """The role accepts its options, and takes the socket of systemd."""
        for role in ROLES:
            command = unit(f"chatfiles-{role}.service")["Service"]["ExecStart"]
            words = shlex.split(command.replace("${STATE_DIRECTORY}", "/var/lib/x"))
            options = Options({})
            options.parseOptions(words[words.index("chatfiles") + 1 :])
            listen = options.settings.shared.listen
            self.assertEqual(listen, ("systemd:domain=INET:index=0",), role)

    def test_notify(self) -> None:
        """systemd waits for the role, watches it, and opens its port."""
        for role in ROLES:
            service = unit(f"chatfiles-{role}.service")
            self.assertEqual(service["Service"]["Type"], "notify")
            self.assertGreater(int(service["Service"]["WatchdogSec"]), 0)
            self.assertIn("-HUP $MAINPID", service["Service"]["ExecReload"])
            name = f"chatfiles-{role}.socket"
            self.assertEqual(service["Unit"]["Requires"], name)
            text = read("docs", "systemd", name)
            [stream] = re.findall("(?m)^ListenStream=(.*)$", text)
            self.assertRegex(stream, r"\A\d+(\.\d+){3}:\d+\Z", "INET is an IPv4 address")

    def test_verified(self) -> None:
        """systemd understands the files; that the program is not installed is no mistake."""
        if shutil.which("systemd-analyze") is None:
            raise SkipTest("systemd-analyze is not installed: apt install systemd")
        names = [os.path.join(UNITS, name) for name in sorted(os.listdir(UNITS))]
        self.assertEqual(len(names), 2 * len(ROLES))
        done = subprocess.run(
            ["systemd-analyze", "verify", *names], capture_output=True, text=True, check=False
        )
        wrong = [line for line in done.stderr.splitlines() if "is not executable" not in line]
        self.assertEqual(wrong, [])
