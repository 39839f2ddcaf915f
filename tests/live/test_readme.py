"""
README.md, "Run it": its commands work as they are written, for a user with an empty home directory.
"""

from __future__ import annotations

import os
import re
import shutil

from twisted.trial.unittest import SkipTest

from tests.docs import ROOT, read
from tests.live.manual_case import ManualCase
from tests.live.rawhttp import fetch
from tests.support.ports import free_port

_BLOCK = re.compile(r"(?m)(?:^    .*\n)+")


def blocks() -> list[str]:
    """:return: the commands of the section, without those that install."""
    section = read("README.md").partition("## Run it\n")[2].partition("\n## ")[0]
    install, *rest = [block.strip("\n") for block in _BLOCK.findall(section)]
    assert "pip install ." in install
    return rest


class ReadmeTests(ManualCase):
    """Both roles and all commands on one machine, at ports that are free."""

    def setUp(self) -> None:
        if shutil.which("curl") is None:
            raise SkipTest("curl is not installed: apt install curl")
        super().setUp()
        shutil.copy(os.path.join(ROOT, "README.md"), self.home)
        ports = {"8080": free_port(), "8000": free_port()}
        self.places = {
            **{f"=tcp:{old}": f"=tcp:{new}:interface=127.0.0.1" for old, new in ports.items()},
            "10.0.0.1:8080": f"127.0.0.1:{ports['8080']}",
            "10.0.0.7:8000": f"127.0.0.1:{ports['8000']}",
            "10.0.0.0/8": "127.0.0.0/8",
        }
        self.told["CHATFILES_PLATFORM"] = f"http://127.0.0.1:{ports['8080']}"

    def test_run_it(self) -> None:
        """
        A platform and a workspace start, the file arrives with ``chatfiles`` and with ``curl``, and
        files are sent with both.  A link and the page open.
        """
        platform, create, workspace, get, curl, folder, put, post, share = self.here(blocks())
        first = self.start("platform", platform)
        assert first.url, "it listens"
        created = self.execute(create)
        identity = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", created)
        assert identity is not None, created
        self.told["ID"] = identity[0]

        setup, command = re.fullmatch(r"(?s)(.*?)\n( *twistd .*)", workspace).groups()  # type: ignore[union-attr]
        export, _, setup = setup.partition("\n")
        self.assertRegex(export, r"export ID=[0-9a-f-]{36} ")
        self.execute(setup)
        second = self.start("workspace", command)
        second.logged("platform_inbound_secret stored")
        for command in (get, curl):
            self.execute(command)
            self.assertEqual(self.read("copy.md"), read("README.md"))
            os.unlink(os.path.join(self.home, "copy.md"))
        self.assertEqual(self.execute(folder), "README.md\n")
        self.assertEqual(self.read("copy/README.md"), read("README.md"))
        shutil.copy(os.path.join(self.home, "README.md"), os.path.join(self.home, "copy.md"))
        self.assertEqual(self.execute(put).count("/workspace/.molecule/chat-uploads/"), 2)
        self.assertIn('"name":"copy.md"', self.execute(post))
        link = self.execute(share).strip()
        self.assertTrue(link.startswith(first.url), link)
        target = link.removeprefix(first.url)
        self.assertEqual(fetch(first.url, target).body.decode(), read("README.md"))
        self.assertEqual(fetch(first.url, "/ui/").status, 200)
        for role in (first, second):
            role.secrets |= {self.read("build-7.token").strip()}
            role.stop()
        for name in ("header.txt", "build-7.token", "workspace-configs/.auth_token"):
            self.assertEqual(os.stat(os.path.join(self.home, name)).st_mode & 0o077, 0, name)
