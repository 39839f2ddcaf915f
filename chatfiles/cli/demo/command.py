"""
``chatfiles demo``: runs both roles on this machine until Ctrl-C.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import click

from chatfiles.cli.demo.child_processes import Child, ChildProcesses, Stopped
from chatfiles.cli.demo.roles import DemoRoles, free_port, require_free
from chatfiles.cli.demo.state_directory import StateDirectory, remove_leftovers
from chatfiles.cli.errors import CliError, local_error, printable
from chatfiles.cli.options import WholeNumber

__all__ = ["demo"]


@click.command()
@click.option("--port", type=WholeNumber(1, 65535), metavar="N", help="The platform's port.")
@click.option(
    "--workspace-port", type=WholeNumber(1, 65535), metavar="N", help="The workspace's port."
)
@click.option(
    "--directory",
    # Not resolve_path: an empty value, from an unset variable, would become the current directory.
    type=click.Path(exists=True, file_okay=False, readable=True),
    metavar="DIR",
    help="Serve this directory as /workspace.  [default: a few sample files]",
)
@click.option(
    "--nat", is_flag=True, help="The workspace listens on nothing, as behind NAT, and connects."
)
@click.option("-v", "--verbose", is_flag=True, help="Show what both roles log.")
def demo(
    port: int | None, workspace_port: int | None, directory: str | None, nat: bool, verbose: bool
) -> None:
    """
    Run both roles here and say how to see, fetch and send files.

    Starts a platform and a workspace that only this machine can reach, with a few sample files.
    Prints the address of the web page, and lines to paste into another terminal.  They fetch, list
    and send files, and make a link.  Uploads are
    stored below the served directory, in .molecule/chat-uploads.  Ctrl-C stops both roles and
    removes everything the demo made.  What a demo that was killed has left, the next one removes.

    \b
    Examples:
      chatfiles demo
      chatfiles demo --directory ~/reports
      chatfiles demo --port 8080 -v
      chatfiles demo --nat
    """

    if nat and workspace_port is not None:
        raise click.UsageError("--workspace-port and --nat exclude each other")
    _check_ports(port, workspace_port)

    def on_line(role: str, line: str) -> None:
        if verbose:
            click.echo(f"{role:9} | {printable(line, None)}", err=True)

    try:
        _say_removed(remove_leftovers())
        click.echo("starting a platform and a workspace ...", err=True)
        with (
            ChildProcesses(_environment(os.environ), on_line) as processes,
            StateDirectory() as state,
        ):
            processes.keep_open(state.lock)
            served = None if directory is None else os.path.realpath(directory)
            running = DemoRoles(processes, state.path, served)
            try:
                running.start(port or 0, None if nat else workspace_port or free_port())
                click.echo(running.description(verbose=verbose))
                processes.watch()
            except CliError:
                if not verbose:  # otherwise the log has been shown already
                    _explain(running.children)
                raise
            finally:
                processes.stop()  # before their files are removed
    except Stopped:
        click.echo("\nStopped.", err=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise local_error(
            f"the demo cannot use {error.filename or 'this machine'}", error
        ) from error


def _check_ports(port: int | None, workspace_port: int | None) -> None:
    """
    :raise click.UsageError: both are the same.
    :raise CliError: one of them cannot be used.
    """
    if port is not None and port == workspace_port:
        raise click.UsageError("--port and --workspace-port must differ")
    for option, given in (("--port", port), ("--workspace-port", workspace_port)):
        if given is not None:
            require_free(given, option)


def _say_removed(count: int) -> None:
    if count:
        what = "a demo that was" if count == 1 else f"{count} demos that were"
        click.echo(f"removed the files of {what} killed", err=True)


def _explain(children: Sequence[Child]) -> None:
    ended = [child for child in children if child.status is not None]
    for child in ended or children:
        for line in child.tail:
            click.echo(f"{child.role:9} | {printable(line, None)}", err=True)


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """:return: *ours* without the variables that would configure the demo's roles."""
    return {
        name: value
        for name, value in ours.items()
        if not name.startswith("CHATFILES_") and name != "CONFIGS_DIR"
    }
