"""`modelwatch compare`: two versions of a model, held against each other on what they really answered."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import CommandError, UsageProblem
from cli.output import cell, print_json, print_table
from cli.session import now, read_database

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from collector.statistics.comparison import Comparison, Difference


def add_to(app: typer.Typer) -> None:
    """Hang the command into the application."""
    app.command("compare", epilog="Example: modelwatch compare churn 1 2 --since 7d --json")(compare)


def compare(
    model: Annotated[str, typer.Argument(metavar="NAME", help="The model.")],
    a: Annotated[str, typer.Argument(metavar="A", help="The version in force.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The version under trial.")],
    since: Annotated[str | None, typer.Option(help="From when, as 2026-11-21T10:00:00Z or as a duration such as 24h.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare two versions: health checks, metrics with intervals, verdict. From the start of their split, if not said otherwise."""
    from collector.statistics.comparison import to_json

    moment = None if since is None else parse_since(since, now())
    with read_database() as connection:
        comparison = compare_versions(connection, model, a, b, since=moment, end=now())
    print_json(to_json(comparison)) if json else _print(comparison)


def compare_versions(connection: Connection, model: str, a: str, b: str, *, since: datetime | None, end: datetime) -> Comparison:
    """The comparison of two versions over ``[since, end)``; without ``since``, from when both began to share the traffic.

    Raises CommandError for versions that do not exist or are one and the same.
    """
    from cli.models import require_version
    from collector.statistics.comparison import arm
    from collector.statistics.comparison import compare as judge
    from storage.deployments import current
    from storage.rollups import extent, load_layout, read_labels, read_predictions
    from storage.splits import share_of, since_split

    if a == b:
        raise CommandError(f"{a} and {b} are the same version; name two different ones.")
    split = current(connection, model)
    share = share_of(split, a, b)
    start = since
    if start is None and split is not None and share is not None:
        start = since_split(connection, split, (a, b))
    if start is None:
        known = extent(connection, model)
        start = known[0] if known else end
    elif since is not None and share is not None and split is not None and since < split.at:
        share = None  # the window holds traffic from before the split, which was shared otherwise
    arms = []
    for name in (a, b):
        layout = load_layout(connection, require_version(connection, model, name).layout_id)
        predictions = read_predictions(connection, layout, name, start, end)
        arms.append(arm(name, layout, predictions, read_labels(connection, layout, name, start, end)))
    return judge(arms[0], arms[1], expected_share_b=share)


def parse_since(text: str, at: datetime) -> datetime:
    """A moment, written as itself or as how long ago. Raises UsageProblem."""
    from storage.durations import parse_duration

    try:
        return at - parse_duration(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageProblem(f"--since {text} is neither a time such as 2026-11-21T10:00:00Z nor a duration such as 24h.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=at.tzinfo)


def _print(comparison: Comparison) -> None:
    a, b = comparison.arms
    print_table(
        ("version", "predictions", "labels", "failures"), [[x.version, x.rows, x.labelled, x.failures] for x in (a, b)], empty=""
    )
    if not a.rows and not b.rows:
        print("\nNothing is counted yet. Answers count after some seconds, and under a split from its first whole minute on")
        print("if the model had answered earlier in the minute it began in; --since 1h counts everything.")
    print()
    for problem in comparison.health.problems:
        print(f"Unhealthy: {problem}")
    rows = [_row(metric) for metric in comparison.metrics.values()]
    print_table(("metric", a.version, b.version, "difference", "95% interval", "p"), rows, empty="There is nothing to compare yet.")
    print()
    print(f"Verdict: {comparison.verdict.value}" + (f", version {comparison.winner} wins" if comparison.winner else ""))
    for reason in comparison.reasons:
        print(f"  {reason}")


def _row(metric: Difference) -> list[object]:
    interval = f"{cell(metric.interval[0])} to {cell(metric.interval[1])}" if metric.interval else None
    return [metric.name, metric.a, metric.b, metric.difference, interval, metric.p_value]
