"""
tutorial/certificates: its commands work as they are written.
"""

from __future__ import annotations

import re
import shutil
import signal

from twisted.trial.unittest import SkipTest

from tests.docs import read
from tests.live.manual_case import ManualCase
from tests.live.processes import Role
from tests.support.ports import free_port

_BLOCK = re.compile(r"(?m)::\n\n((?:    .*\n|\n(?=    ))+)")


def blocks() -> list[str]:
    """:return: the commands of the page."""
    page = read("docs", "tutorial", "certificates.rst")
    return [re.sub("(?m)^    ", "", each) for each in _BLOCK.findall(page)]


class TutorialTests(ManualCase):
    """Both roles with TLS, on one machine, at ports that are free."""

    def setUp(self) -> None:
        if shutil.which("openssl") is None:
            raise SkipTest("openssl is not installed: apt install openssl")
        super().setUp()
        self.places = {"8443": str(free_port()), "8000": str(free_port())}

    def test_run_it(self) -> None:
        """
        The certificates are made, both roles start, the file arrives, a renewed certificate is
        served, and a wrong one is refused.
        """
        make, issue, platform, create, workspace, get, refused, renew, look, wrong = self.here(
            blocks()
        )
        self.execute(make)
        self.home += "/chatfiles-tls"
        self.execute(issue)
        first = self.start("platform", platform)
        assert first.url, "it listens"
        variables, create = create.split("\n", 1)
        for name, value in re.findall(r"(\w+)=(\S+)", variables):
            self.told[name] = value
        identity = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", self.execute(create))
        assert identity is not None
        self.told["ID"] = identity[0]
        setup, command = re.fullmatch(r"(?s)(.*?)\n(twistd .*)", workspace).groups()  # type: ignore[union-attr]
        self.execute(setup.partition("\n")[2])
        second = self.start("workspace", command)
        second.logged("platform_inbound_secret stored")
        self.assertEqual(self.execute(get), "hello\n")
        self.assertEqual(self.read("copy.txt"), "hello\n")
        self.assertIn("refused, as it should be", self.execute(refused))
        self.execute(renew)
        first.signal(signal.SIGHUP)
        first.logged("platform.pem: read again")
        served, file = re.findall("serial=.*", self.execute(look))
        self.assertEqual(served, file)
        self.execute(wrong)
        second.signal(signal.SIGHUP)
        second.logged("workspace.pem: read again")
        first.stop()
        self.check_refused(platform, get)
        second.stop()

    def check_refused(self, platform: str, get: str) -> None:
        """A platform without old connections refuses the wrong certificate."""
        role: Role = self.start("platform", platform)
        assert role.url, "it listens"
        self.execute(f"rm copy.txt; {get.splitlines()[0]} || true")
        role.logged("certificate is not for 127.0.0.1")
        role.stop()
