"""
The ``chatfiles`` console script: for people, a client of the platform's HTTP API.
"""

from __future__ import annotations

import errno
import signal
import sys
from typing import Any

import click

from chatfiles import __version__
from chatfiles.cli.commands.get import get as get_command
from chatfiles.cli.commands.put import put as put_command
from chatfiles.cli.commands.registry import registry
from chatfiles.cli.commands.token import token
from chatfiles.cli.commands.workspace import workspace
from chatfiles.cli.demo.command import demo as demo_command
from chatfiles.cli.errors import EXIT_TABLE, CliError, Interrupted
from chatfiles.cli.options import Settings, connection_options
from chatfiles.cli.terminal.standard_streams import complete_streams, not_written

__all__ = ["cli", "main"]

#: What standard output may fail with; all other files are opened, and their failures told, by name.
_NOT_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


class _Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, made to unwind like Ctrl-C so that temporary files go."""

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum


class _Commands(click.Group):
    """The commands in the order in which a newcomer meets them; an interrupt is an error too."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

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
    Files between people and the workspaces of an agent platform.

    \b
    Examples:
      chatfiles demo
      chatfiles get --token-file ws.token WORKSPACE /workspace/report.pdf
      chatfiles put --token-file ws.token report.pdf WORKSPACE
      chatfiles workspace create --name build-7 --save-token build-7.token

    Tokens come from files or the environment (CHATFILES_TOKEN, CHATFILES_ADMIN_TOKEN), never from
    the command line, where others could read them.
    """
    ctx.ensure_object(Settings)


for _command in (demo_command, get_command, put_command, workspace, token, registry):
    cli.add_command(_command)


def main() -> None:
    """The console script's entry point; ends the process."""

    def stop(signum: int, _frame: object) -> None:
        raise _Terminated(signum)

    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is signal.SIG_DFL:  # nohup ignores SIGHUP, and so it stays
            signal.signal(signum, stop)
    try:
        complete_streams()
        cli.main(prog_name="chatfiles")
    except CliError as error:
        told = error
    except OSError as error:
        if error.errno not in _NOT_WRITTEN:
            raise
        told = not_written(error)
    told.show()
    sys.exit(told.exit_code)
