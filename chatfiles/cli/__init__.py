"""
The ``chatfiles`` command: a client of the platform's HTTP API for people.

It imports neither a role nor Twisted.  It imports a command's module only when that command runs.
"""

from __future__ import annotations

import errno
import signal
import sys
from importlib import import_module
from typing import Any

import click

from chatfiles import __version__
from chatfiles.cli.errors import CliError, Interrupted
from chatfiles.cli.exit_status import EXIT_TABLE
from chatfiles.cli.options import Settings, connection_options
from chatfiles.cli.terminal.standard_streams import complete_streams, not_written

__all__ = ["cli", "main"]

#: The commands, in the order in which a new user needs them: module, and text in the overview.  The
#: text is the first sentence of the command's help.
COMMANDS = {
    "demo": (
        "chatfiles.cli.demo.command",
        "Run both roles here and say how to see, fetch and send files.",
    ),
    "ls": ("chatfiles.cli.commands.ls", "List a directory of a workspace."),
    "stat": (
        "chatfiles.cli.commands.stat",
        "Show what is known about a file or directory of a workspace.",
    ),
    "digest": ("chatfiles.cli.commands.digest", "Print the SHA-256 of files of a workspace."),
    "get": ("chatfiles.cli.commands.get", "Download files of a workspace."),
    "put": ("chatfiles.cli.commands.put", "Upload files to a workspace."),
    "rm": (
        "chatfiles.cli.commands.rm",
        "Delete a file, a symlink or an empty directory of a workspace.",
    ),
    "mkdir": ("chatfiles.cli.commands.mkdir", "Create a directory in a workspace."),
    "mv": ("chatfiles.cli.commands.mv", "Rename or move something in a workspace."),
    "link": ("chatfiles.cli.commands.link", "Make a link that opens without a token."),
    "workspace": (
        "chatfiles.cli.commands.workspace",
        "Create, list, show and remove workspaces, and revoke their links.",
    ),
    "token": (
        "chatfiles.cli.commands.token",
        "Create, list and revoke the tokens that open a workspace.",
    ),
    "secret": (
        "chatfiles.cli.commands.secret",
        "Replace the secret that the platform presents to a workspace.",
    ),
    "keys": ("chatfiles.cli.commands.keys", "List, rotate and revoke the keys that sign links."),
    "registry": (
        "chatfiles.cli.commands.registry",
        "Show or update the schema of a platform's database.",
    ),
}

#: Errors of standard output.  An error of any other file is reported by the code that opened it.
_NOT_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


class _Terminated(KeyboardInterrupt):
    """
    SIGTERM or SIGHUP has arrived.  Like Ctrl-C, it unwinds the stack, so that temporary files are
    removed.
    """

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum


class _Commands(click.Group):
    """Imports a command when it is used, and turns an interrupt into a `CliError`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except _Terminated as stop:
            raise Interrupted(stop.signum) from None
        except KeyboardInterrupt:
            raise Interrupted(signal.SIGINT) from None


@click.group(
    cls=_Commands,
    epilog=EXIT_TABLE,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@connection_options(top=True)
@click.version_option(__version__, prog_name="chatfiles")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """
    Move files between you and the workspaces of an agent platform.

    \b
    Examples:
      chatfiles demo
      chatfiles get --token-file ws.token WORKSPACE /workspace/report.pdf
      chatfiles put --token-file ws.token report.pdf WORKSPACE
      chatfiles workspace create --name build-7 --save-token build-7.token

    Tokens come from files or the environment (CHATFILES_TOKEN, CHATFILES_ADMIN_TOKEN), never from
    the command line, where other users of the machine could read them.
    """
    ctx.ensure_object(Settings)


def main() -> None:
    """The console script's entry point; ends the process."""

    def stop(signum: int, _frame: object) -> None:
        raise _Terminated(signum)

    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is signal.SIG_DFL:  # nohup ignores SIGHUP; keep it ignored
            signal.signal(signum, stop)
    try:
        complete_streams()
        cli.main(prog_name="chatfiles")
    except CliError as error:
        shown = error
    except OSError as error:
        if error.errno not in _NOT_WRITTEN:
            raise
        shown = not_written(error)
    shown.show()
    sys.exit(shown.exit_code)
