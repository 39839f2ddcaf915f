"""
The modules that the command line imports: none of the roles', and nothing of Twisted.
"""

from __future__ import annotations

import subprocess
import sys

import click

from chatfiles.cli import COMMANDS, cli
from tests.cli.cli_stub import WORKSPACE, StubCase, counted

_CHECK = """
import sys
from chatfiles.cli import main
try:
    main()
finally:
    print("\\n".join(sorted(sys.modules)), file=sys.stderr)
"""


class ImportTests(StubCase):
    """The imports of each command, which runs as a process of its own."""

    def modules(self, *words: str) -> set[str]:
        """:return: the modules that ``chatfiles`` with *words* has imported when it ends."""
        environment = {"CHATFILES_PLATFORM": self.url, "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", _CHECK, *words],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return set(done.stderr.split())

    def assert_light(self, modules: set[str]) -> None:
        for name in ("twisted", "zope", "treq", "chatfiles.platform", "chatfiles.workspace"):
            self.assertNotIn(name, modules)
        for name in ("chatfiles.http", "chatfiles.streams", "http.client", "tqdm"):
            self.assertNotIn(name, modules)

    def test_help(self) -> None:
        """
        The overview imports no command; the help of a command imports only that one, and no client.
        """
        modules = self.modules("--help")
        self.assert_light(modules)
        self.assertIn("chatfiles.cli", modules)
        for name in ("ssl", "h11", "chatfiles.cli.commands.get"):
            self.assertNotIn(name, modules)
        modules = self.modules("token", "--help")
        self.assertIn("chatfiles.cli.commands.token", modules)
        self.assertNotIn("chatfiles.cli.commands.get", modules)

    def test_every_help(self) -> None:
        """The help of every command imports none of the heavy modules."""
        for name in COMMANDS:
            if name != "demo":  # it needs urllib to find the proxies that curl uses
                self.assert_light(self.modules(name, "--help"))

    def test_ranges(self) -> None:
        """A range of numbers is in words."""
        for command in ("get", "demo"):
            self.assertNotIn("<=", self.invoke(command, "--help").stdout)
        shown = self.invoke("get", "--help").stdout
        self.assertIn("[1 to 64]", " ".join(shown.split()))

    def test_transfer(self) -> None:
        """A download imports none of the heavy modules either."""
        self.play(counted(b"x"))
        modules = self.modules("get", "--token-file", "token", WORKSPACE, "/workspace/f")
        self.assert_light(modules)
        self.assertFalse({"tarfile", "zipfile", "tempfile"} & modules)
        self.assertEqual(self.read("f"), b"x")

    def test_summaries(self) -> None:
        """The overview describes each command with the first sentence of the command's own help."""
        context = click.Context(cli)
        for name, (_, summary) in COMMANDS.items():
            command = cli.get_command(context, name)
            assert command is not None
            self.assertEqual(command.name, name)
            self.assertEqual(command.get_short_help_str(limit=200).rstrip(".") + ".", summary)
        self.assertIsNone(cli.get_command(context, "nonsense"))
