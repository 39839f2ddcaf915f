"""
What the command line imports: none of the roles, and nothing of Twisted.
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
    """Each command is a process of its own, as users run it."""

    def modules(self, *words: str) -> set[str]:
        """:return: the modules that ``chatfiles`` with *words* has imported at its end."""
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
        """The overview imports no command, the help of a command only that one, and no client."""
        modules = self.modules("--help")
        self.assert_light(modules)
        self.assertIn("chatfiles.cli", modules)
        for name in ("ssl", "h11", "chatfiles.cli.commands.get"):
            self.assertNotIn(name, modules)
        modules = self.modules("token", "--help")
        self.assertIn("chatfiles.cli.commands.token", modules)
        self.assertNotIn("chatfiles.cli.commands.get", modules)

    def test_every_help(self) -> None:
        """No command needs more before it is run."""
        for name in COMMANDS:
            if name != "demo":  # it has urllib for the proxies that curl would use
                self.assert_light(self.modules(name, "--help"))

    def test_transfer(self) -> None:
        """A download needs none of it either."""
        self.play(counted(b"x"))
        self.assert_light(self.modules("get", "--token-file", "token", WORKSPACE, "/workspace/f"))
        self.assertEqual(self.read("f"), b"x")

    def test_summaries(self) -> None:
        """The overview says of each command what its own help begins with."""
        context = click.Context(cli)
        for name, (_, summary) in COMMANDS.items():
            command = cli.get_command(context, name)
            assert command is not None
            self.assertEqual(command.name, name)
            self.assertEqual(command.get_short_help_str(limit=200).rstrip(".") + ".", summary)
        self.assertIsNone(cli.get_command(context, "nonsense"))
