"""
Completion by a shell, as reference/cli, "Completion" describes it.
"""

from __future__ import annotations

import re

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from chatfiles.cli import COMMANDS, cli
from tests.docs import read


class CompletionTests(SynchronousTestCase):
    """What ``chatfiles`` prints if a shell asks it."""

    def ask(self, instruction: str, *words: str) -> str:
        """:return: the output for *instruction*, after *words* and the beginning of another one."""
        told = {
            "_CHATFILES_COMPLETE": instruction,
            "COMP_WORDS": " ".join(["chatfiles", *words]),
            "COMP_CWORD": str(len(words)),
        }
        return CliRunner().invoke(cli, [], env=told, prog_name="chatfiles").stdout

    def offered(self, *words: str) -> list[str]:
        """:return: what bash offers instead of the last of *words*."""
        lines = self.ask("bash_complete", *words).splitlines()
        return [line.removeprefix("plain,") for line in lines]

    def test_words(self) -> None:
        """Commands, options and their values are offered."""
        self.assertEqual(self.offered("")[: len(COMMANDS)], list(COMMANDS))
        self.assertEqual(self.offered("di"), ["digest"])
        self.assertEqual(self.offered("get", "--arc"), ["--archive"])
        self.assertEqual(self.offered("get", "--archive", "ta"), ["tar", "tar.gz"])
        self.assertEqual(self.offered("workspace", "l"), ["list"])

    def test_files(self) -> None:
        """Where a file or directory of this machine belongs, the shell offers its own."""
        for words in (
            ("put", "wr"),
            ("put", "a", "wr"),
            ("put", "--token-file", "wr"),
            ("get", "-o", "wr"),
            ("workspace", "list", "--admin-token-file", "wr"),
            ("token", "create", "--save-token", "wr"),
        ):
            self.assertEqual(self.ask("bash_complete", *words), "file,wr\n")
        self.assertEqual(self.ask("bash_complete", "demo", "--directory", "wr"), "dir,wr\n")

    def test_manual(self) -> None:
        """Each line of the manual asks for the script of its shell."""
        lines = re.findall(r"_CHATFILES_COMPLETE=(\w+) chatfiles", read("docs/reference/cli.rst"))
        self.assertEqual(lines, ["bash_source", "zsh_source", "fish_source"])
        for line in lines:
            self.assertIn(line.replace("source", "complete"), self.ask(line))
