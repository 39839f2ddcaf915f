"""
The command: which scenarios and systems are measured, and where the results go.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import click

from bench import load, report
from bench.certificate import make_certificate
from bench.environment import describe
from bench.files import make_files
from bench.results import Result, as_json
from bench.runner import Plan, run
from bench.scenarios import small
from bench.scenarios.base import Scenario
from bench.systems.base import Place, Start, System, Unavailable
from bench.systems.chatfiles import CHECKOUT, chatfiles
from bench.systems.nginx import nginx, sendfile

__all__ = ["choose", "main"]

SCENARIOS: tuple[Scenario, ...] = (*small.SCENARIOS,)
OTHERS: dict[str, Start] = {"nginx": nginx(), "sendfile": sendfile()}


def choose(
    scenarios: Sequence[Scenario], groups: Sequence[str], only: Sequence[str]
) -> list[Scenario]:
    """
    :param groups: if there are any, scenarios of other groups are left out.
    :param only: names of groups, names of scenarios, or ``group/name``; if there are any, other
        scenarios are left out.
    :raise ValueError: a word names no scenario.
    """
    for word in (*groups, *only):
        if not any(word in (each.group, each.name, each.key) for each in scenarios):
            raise ValueError(word)
    return [
        each
        for each in scenarios
        if (not groups or each.group in groups)
        and (not only or {each.group, each.name, each.key} & set(only))
    ]


def _words(_context: click.Context, _parameter: click.Parameter, value: str) -> list[str]:
    return [word for word in value.split(",") if word]


@click.command(
    epilog="""\b
Examples:
  python -m bench                                    everything
  python -m bench small --only 1k --quick            one scenario, in half a minute
  python -m bench --only small,large --json out.json
  python -m bench small --role-options '' --role-options '--option=1'
      compares the roles without and with an option
  python -m bench small --against ../other-checkout
      compares two checkouts
"""
)
@click.argument("groups", nargs=-1)
@click.option("--only", default="", callback=_words, help="Groups or scenarios, with commas.")
@click.option(
    "--systems", default="", callback=_words, help="Systems to compare with, with commas."
)
@click.option("--quick", is_flag=True, help="Short measurements, and only nginx to compare with.")
@click.option("--seconds", type=float, help="Of each measurement; 5, or 1 with --quick.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--role-options",
    multiple=True,
    help="Options for both roles; 'platform:--option' or 'workspace:--option' is for one. Given"
    " several times, each set is measured.",
)
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False),
    help="Another checkout, whose roles are measured too.",
)
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False),
    default=tempfile.gettempdir(),
    help="Where the files of the servers are.",
)
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Write results here.")
@click.option("--list", "listing", is_flag=True, help="List the scenarios, and measure nothing.")
def main(
    groups: tuple[str, ...],
    only: list[str],
    systems: list[str],
    quick: bool,
    seconds: float | None,
    rounds: int,
    role_options: tuple[str, ...],
    against: str | None,
    directory: str,
    json_path: str | None,
    listing: bool,
) -> None:
    """
    Measure both roles beside other servers, in turn, on this machine.

    GROUPS are groups of scenarios; without them all are measured. Only ratios can be compared
    between machines. Small files need wrk.
    """
    try:
        scenarios = choose(SCENARIOS, groups, only)
    except ValueError as error:
        raise click.UsageError(f"no scenario has the name {error}; --list lists them") from error
    if listing:
        for scenario in scenarios:
            click.echo(f"{scenario.key:<16} {scenario.title}")
        return
    plan = Plan(seconds or (1 if quick else 5), rounds, 0.3 if quick else 1)
    names = systems or (["nginx"] if quick else list(OTHERS))
    unknown = set(names) - set(OTHERS)
    if unknown:
        raise click.UsageError(f"--systems: {', '.join(unknown)}: known are {', '.join(OTHERS)}")
    ours = variants(role_options, against)
    about = describe(CHECKOUT)
    click.echo(", ".join(f"{name} {value}" for name, value in about.items()))
    results = []
    with ExitStack() as stack:
        place = prepare(directory, stack)
        running = start_all({**ours, **{name: OTHERS[name] for name in names}}, place, stack)
        for scenario in scenarios:
            result = measure(scenario, running, plan)
            if result is not None:
                results.append(result)
                click.echo("\n".join(report.lines(result, list(ours))))
    if json_path:
        write_json(json_path, about, results, list(ours))


def variants(role_options: Sequence[str], against: str | None) -> dict[str, Start]:
    """:return: what starts each variant of chatfiles, by the name that results call it."""
    found = {}
    for options in role_options or ("",):
        name = f"chatfiles {options}".strip()
        found[name] = chatfiles(name, options)
    if against:
        found["against"] = chatfiles("against", checkout=against)
    return found


def prepare(directory: str, stack: ExitStack) -> Place:
    """:return: a new directory below *directory* with the files, removed with *stack*."""
    base = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=directory))
    os.chmod(base, 0o755)
    files, scratch = os.path.join(base, "files"), os.path.join(base, "scratch")
    os.mkdir(files)
    os.mkdir(scratch)
    make_files(files)
    return Place(files, scratch, make_certificate(scratch))


def start_all(starts: dict[str, Start], place: Place, stack: ExitStack) -> list[System]:
    """:return: the systems that run now; the reasons of others are printed."""
    running = []
    for name, begin in starts.items():
        try:
            running.append(begin(place, stack))
        except Unavailable as reason:
            click.echo(f"{name} is skipped: {reason}")
    return running


def measure(scenario: Scenario, systems: Sequence[System], plan: Plan) -> Result | None:
    """:return: the result; `None` if this machine lacks something, which is printed."""
    problem = load.wrk_problem() if scenario.needs_wrk else None
    if problem:
        click.echo(f"{scenario.key} is skipped: {problem}")
        return None
    return run(scenario, systems, plan)


def write_json(
    path: str, about: dict[str, Any], results: Sequence[Result], ours: Sequence[str]
) -> None:
    """Write all results to a file."""
    content = {**about, "results": [as_json(result, ours) for result in results]}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")
