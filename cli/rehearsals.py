"""`modelwatch alerts test-rules`, `replay` and `import`: rules tried on a virtual clock, and rules of Prometheus taken over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import UsageProblem
from cli.output import print_json, print_table, say
from cli.session import engine_of, load_settings, now

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from alerts.replay import Pages, Replay
    from alerts.rules import RuleSet
    from alerts.settings import AlertsSettings
    from storage.records import MetricPoint

POINTS_AT_ONCE = 20_000

app = typer.Typer()
"""Its commands are those of ``modelwatch alerts``."""


@app.command("test-rules", epilog="Example: modelwatch alerts test-rules rules_test.yml")
def run_tests(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Files of tests; each names its rules file.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run tests of rules on a virtual clock, without a database; exit 1 if one fails."""
    from alerts.ruletests import run_file

    reports = [run_file(path) for path in files]
    ok = all(report.ok for report in reports)
    if json:
        print_json({"ok": ok, "files": [report.to_json() for report in reports]})
    else:
        for report in reports:
            print(report.text())
    if not ok:
        raise typer.Exit(1)


# ---------------------------------------------------------------------------------------------- replay


@app.command(epilog="Example: modelwatch alerts replay rules.yml --since 7d --compare")
def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The rules file.")],
    since: Annotated[str, typer.Option(help="From when, as 2026-11-21T10:00:00Z or as a duration such as 24h.")] = "7d",
    until: Annotated[str, typer.Option(help="Until when, likewise (the default: now).")] = "0s",
    compare: Annotated[bool, typer.Option("--compare", help="Replay the rules in force as well.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what rules would have told over the stored metrics: when, whom, of what, and how much a week."""
    from alerts.rule_files import DEFAULT_RULES, read_rules
    from alerts.settings import AlertsSettings

    settings = load_settings(AlertsSettings)
    start, end = _moment("--since", since), _moment("--until", until)
    if start >= end:
        raise UsageProblem("--since is not before --until.")
    chosen = [read_rules(file)]
    if compare:
        chosen.append(read_rules(settings.rules if settings.rules.is_file() else DEFAULT_RULES))
    with engine_of(settings) as engine:
        found = [_replayed(rules, engine, settings, start, end) for rules in chosen]
    if json:
        print_json(found[0].to_json() | ({"in_force": found[1].to_json()} if compare else {}))
        return
    _print_replay(found[0], found[1] if compare else None)


def _moment(option: str, text: str) -> datetime:
    from storage.durations import parse_duration

    try:
        return now() - parse_duration(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageProblem(f"{option} {text} is neither a time such as 2026-11-21T10:00:00Z nor a duration such as 24h.") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def _replayed(rules: RuleSet, engine: Engine, settings: AlertsSettings, start: datetime, end: datetime) -> Replay:
    from alerts.replay import looks_back
    from alerts.replay import replay as replay_rules
    from alerts.settings import default_receiver
    from storage.engine import reading
    from storage.metrics import newest_by_window

    with reading(engine) as c:
        back = looks_back(rules, lambda metric: newest_by_window(c, metric), settings.freshness)
    with _progress(rules.source, start, end) as passed:
        return replay_rules(
            rules,
            _pages(engine),
            start=start,
            end=end,
            freshness=settings.freshness,
            fallback=default_receiver(settings),
            warm_up=back,
            passed=passed,
        )


def _pages(engine: Engine) -> Pages:
    """Each piece is read in a transaction of its own: a long replay holds up nobody who writes."""
    from storage.engine import reading
    from storage.metrics import page_of_points

    def pages(names: frozenset[str], start: datetime, end: datetime) -> Iterator[Sequence[MetricPoint]]:
        at: datetime | None = start
        while at is not None and names:
            with reading(engine) as c:
                points, at = page_of_points(c, names=names, start=at, end=end, limit=POINTS_AT_ONCE)
            yield points

    return pages


@contextmanager
def _progress(source: str, start: datetime, end: datetime) -> Iterator[Callable[[datetime], None]]:
    """A bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(source, total=(end - start).total_seconds())
        shown = start

        def passed(at: datetime) -> None:
            nonlocal shown
            if at - shown > timedelta(minutes=30):
                shown = at
                bar.update(task, completed=(at - start).total_seconds())

        yield passed


def _print_replay(found: Replay, in_force: Replay | None) -> None:
    from alerts.replay import ASSUMED

    print(f"{found.source} from {found.start:%Y-%m-%d %H:%M} to {found.end:%Y-%m-%d %H:%M} UTC, over {found.points:,} points:")
    if found.first is None:
        print("There are no points of its metrics in this time.")
    print_table(
        ("when", "to", "what", "incident", "about", "new", "still", "over", "page"),
        [(o.at, o.receiver, o.kind, o.incident, o.title, o.new, o.still, o.ended, "page" if o.is_page else "") for o in found.told],
        empty="It would have told nobody of anything.",
    )
    print()
    _print_loads(found, in_force)
    if found.first is not None and found.first > found.start:
        print(f"The first point is of {found.first:%Y-%m-%d %H:%M} UTC: a week is reckoned from there.")
    for one in found.left_out:
        say(f"Not replayed: {one}.")
    for one in ASSUMED:
        say(f"Supposed: {one}.")


def _print_loads(found: Replay, in_force: Replay | None) -> None:
    others = {load.receiver: load for load in in_force.receivers} if in_force else {}
    names = list(dict.fromkeys([*(load.receiver for load in found.receivers), *others]))
    mine = {load.receiver: load for load in found.receivers}
    rows = []
    for name in names:
        row: list[object] = [name]
        for loads in (mine, others) if in_force else (mine,):
            load = loads.get(name)
            row += [load.messages_per_week, load.pages_per_week] if load else [None, None]
        rows.append(row)
    headers = ["receiver", "messages a week", "pages a week"]
    headers += ["in force: messages a week", "in force: pages a week"] if in_force else []
    print_table(headers, rows, empty="There is no receiver.")


# ---------------------------------------------------------------------------------------------- import


@app.command("import", epilog="Example: modelwatch alerts import prometheus_rules.yml --alertmanager alertmanager.yml -o rules.yml")
def import_(
    files: Annotated[list[Path], typer.Argument(metavar="PROMETHEUS_RULES…", help="Files of alerting rules of Prometheus.")],
    alertmanager: Annotated[Path | None, typer.Option(help="The configuration of Alertmanager, for routes and receivers.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this new file instead of standard output.")
    ] = None,
) -> None:
    """Make a rules file of rules of Prometheus and routes of Alertmanager; standard error says what does not carry over."""
    from alerts.imports.files import import_files

    made = import_files(files, alertmanager)
    if output is None:
        print(made.text, end="")
    else:
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(made.text)
        except OSError as error:
            raise UsageProblem(f"{output} cannot be written ({error.strerror}).") from error
    for note in made.notes:
        say(note)
    if output is not None:
        say(f"{made.rules} rules are in {output}; `modelwatch alerts check {output}` shows them.")
