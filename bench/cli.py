"""
The command line.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import click

from bench import report
from bench.catalog import OTHERS, SCENARIOS, choose, variants
from bench.environment import describe
from bench.results import Result, as_json
from bench.runner import Plan
from bench.scenarios.base import Scenario
from bench.session import Session, prepare
from bench.systems.chatfiles import CHECKOUT

__all__ = ["main"]


def _words(_context: click.Context, _parameter: click.Parameter, value: str) -> list[str]:
    return [word for word in value.split(",") if word]


def _systems(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    names = _words(context, parameter, value)
    for name in names:
        if name not in OTHERS:
            raise click.BadParameter(f"{name} is not one of {', '.join(OTHERS)}")
    return names


@click.command(
    epilog="""\b
Examples:
  python -m bench
      measures everything
  python -m bench small --only 1k --quick
      measures one scenario beside nginx, in half a minute
  python -m bench --only small,large --json results.json --plot results.svg
      measures two groups, and keeps the results
  python -m bench small --role-options '' --role-options '--option=1'
      compares the roles without and with an option
  python -m bench small --against ../other-checkout
      compares two checkouts
"""
)
@click.argument("groups", nargs=-1)
@click.option("--only", default="", callback=_words, help="Groups or scenarios, with commas.")
@click.option(
    "--systems",
    default="",
    callback=_systems,
    help=f"Systems to compare with, with commas; all are {','.join(OTHERS)}.",
)
@click.option("--quick", is_flag=True, help="Short measurements, and only nginx to compare with.")
@click.option("--seconds", type=float, help="Of each measurement; 3, or 1 with --quick.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--role-options",
    multiple=True,
    metavar="OPTIONS",
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
    show_default=True,
    help="Where the files of the servers are; uploads go there too.",
)
@click.option("--json", "json_path", type=click.Path(dir_okay=False), help="Write results here.")
@click.option(
    "--plot",
    "plot_path",
    type=click.Path(dir_okay=False),
    help="Draw results here; the name decides the format. Needs matplotlib.",
)
@click.option("--list", "listing", is_flag=True, help="List the scenarios, and measure nothing.")
def main(
    groups: Sequence[str],
    only: Sequence[str],
    systems: Sequence[str],
    quick: bool,
    seconds: float | None,
    rounds: int,
    role_options: Sequence[str],
    against: str | None,
    directory: str,
    json_path: str | None,
    plot_path: str | None,
    listing: bool,
) -> None:
    """
    Measure both roles beside other servers, in turn, on this machine.

    GROUPS are groups of scenarios or scenarios; without them all are measured. The roles are those
    of the checkout that this runs from. Only ratios can be compared between machines. Small files
    need wrk.
    """
    try:
        scenarios = choose(SCENARIOS, groups, only)
    except ValueError as error:
        raise click.UsageError(f"no scenario has the name {error}; --list lists them") from error
    if listing:
        _list(scenarios)
        return
    about = describe(CHECKOUT)
    click.echo(", ".join(f"{name} {value}" for name, value in about.items()))
    names = systems or (["nginx"] if quick else list(OTHERS))
    results: list[Result] = []
    with ExitStack() as stack:
        session = Session(
            prepare(directory, stack),
            variants(role_options, against),
            {name: OTHERS[name] for name in names},
            role_options[0] if role_options else "",
            Plan(seconds or (1 if quick else 3), rounds, 0.3 if quick else 1),
            stack,
            click.echo,
        )
        # Also what was measured before an interruption.
        stack.callback(_write, json_path, plot_path, about, results)
        _measure(session, scenarios, results)


def _list(scenarios: Sequence[Scenario]) -> None:
    for scenario in scenarios:
        click.echo(f"{scenario.key:<16} {scenario.title}")


def _measure(session: Session, scenarios: Sequence[Scenario], results: list[Result]) -> None:
    for scenario in scenarios:
        result = session.measure(scenario)
        if result is not None:
            results.append(result)
            click.echo("\n".join(report.lines(result)))


def _write(
    json_path: str | None,
    plot_path: str | None,
    about: Mapping[str, Any],
    results: Sequence[Result],
) -> None:
    if json_path:
        content = {**about, "results": [as_json(result) for result in results]}
        with open(json_path, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, ensure_ascii=False)
            file.write("\n")
    if plot_path and results:
        _draw(plot_path, about, results)


def _draw(path: str, about: Mapping[str, Any], results: Sequence[Result]) -> None:
    try:
        from bench.plot import draw  # noqa: PLC0415 - matplotlib is optional
    except ImportError as error:
        click.echo(f"no plot: {error}; pip install -r bench/requirements.txt")
    else:
        draw(path, f"{about['commit']}, {about['date']}", results)
