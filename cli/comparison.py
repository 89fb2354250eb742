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

    from collector.statistics.trial import Comparison, Difference, Terms


def add_to(app: typer.Typer) -> None:
    """Hang the command into the application."""
    app.command("compare", epilog="Example: modelwatch compare churn 1 2 --since 7d --json")(compare)


def compare(
    model: Annotated[str, typer.Argument(metavar="NAME", help="The model.")],
    a: Annotated[str, typer.Argument(metavar="A", help="The version in force.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The version under trial.")],
    since: Annotated[str | None, typer.Option(help="From when, as 2026-11-21T10:00:00Z or as a duration such as 24h.")] = None,
    min_runtime: Annotated[
        str | None, typer.Option(help="Ship only after so long, such as 7d; going back does not wait for it.")
    ] = None,
    no_worse: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Ship as soon as B is surely not worse by so much, in units of accuracy or mean absolute error."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare two versions: health checks, metrics with intervals, verdict. From the start of their split, if not said otherwise."""
    from collector.statistics.comparison_json import to_json

    moment = None if since is None else parse_since(since, now())
    terms = _terms(min_runtime, no_worse)
    with read_database() as connection:
        comparison = compare_versions(connection, model, a, b, since=moment, end=now(), terms=terms)
    print_json(to_json(comparison)) if json else _print(comparison)


def _terms(min_runtime: str | None, no_worse: float | None) -> Terms:
    from collector.statistics.trial import Terms
    from storage.durations import parse_duration

    try:
        least = 0.0 if min_runtime is None else parse_duration(min_runtime).total_seconds()
    except ValueError:
        raise UsageProblem(f"--min-runtime {min_runtime} is not a duration such as 7d.") from None
    return Terms(min_runtime_seconds=least, quality_margin=no_worse or None)


def compare_versions(
    connection: Connection, model: str, a: str, b: str, *, since: datetime | None, end: datetime, terms: Terms | None = None
) -> Comparison:
    """The comparison of two versions over ``[since, end)``; without ``since``, from when both began to share the traffic.

    Where counts are only kept by the hour or the day, the time that is compared begins and ends on whole ones: ``start`` and
    ``end`` of the result. A version that answered as a shadow is compared pair by pair with what it shadowed. Raises CommandError for versions
    that do not exist or are one and the same.
    """
    from cli.models import require_version
    from collector.statistics.comparison import compare_trial
    from storage.comparisons import read_trial
    from storage.rollups import load_layout

    if a == b:
        raise CommandError(f"{a} and {b} are the same version; name two different ones.")
    first, second = (load_layout(connection, require_version(connection, model, name).layout_id) for name in (a, b))
    return compare_trial(read_trial(connection, (first, second), (a, b), since=since, end=end), terms)


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


# ---------------------------------------------------------------------------------------------- text


def _print(comparison: Comparison) -> None:
    a, b = comparison.arms
    print(f"From {cell(comparison.start)} to {cell(comparison.end)} UTC, {comparison.design.value}.\n")
    print_table(
        ("version", "predictions", "subjects", "labels", "failures"),
        [[x.version, x.rows, x.subjects, x.labelled, x.failures] for x in (a, b)],
        empty="",
    )
    if not a.rows and not b.rows:
        print("\nNothing is counted yet. Answers count after some seconds, and under a split from its first whole minute on")
        print("if the model had answered earlier in the minute it began in; --since 1h counts everything.")
    print()
    _print_health(comparison)
    rows = [_row(metric) for metric in comparison.metrics.values()]
    headers = ("metric", a.version, b.version, "difference", "95% interval", "always-valid", "margin", "p", "adjusted p")
    print_table(headers, rows, empty="There is nothing to compare yet.")
    print()
    _print_beliefs(comparison)
    for note in comparison.notes:
        print(f"Note: {note}")
    print(f"Verdict: {comparison.verdict.value}" + (f", version {comparison.winner} wins" if comparison.winner else ""))
    for reason in comparison.reasons:
        print(f"  {reason}")


def _print_health(comparison: Comparison) -> None:
    health = comparison.health
    for problem in health.problems:
        print(f"Unhealthy: {problem}")
    checks = {
        "sample ratio p": health.sample_ratio_p,
        "at any number of looks": health.sequential,
        "label coverage p": health.coverage_p,
        "subjects in both arms": None if health.assignment is None else health.assignment.both,
    }
    print("Health: " + ", ".join(f"{name} {cell(value)}" for name, value in checks.items()) + "\n")


def _print_beliefs(comparison: Comparison) -> None:
    found, belief = comparison.disagreement, comparison.posterior
    if found is not None and found.rate is not None:
        print(
            f"Different answers to the same input: {cell(found.rate)} of {found.n} ({_between(found.sequential_interval)}); "
            f"without labels the quality differs by at most {cell(found.bound)}."
        )
    if belief is not None:
        b = comparison.arms[1].version
        print(
            f"Probability that {b} is better: {cell(belief.probability_b_better)}, expected loss of choosing it: "
            f"{cell(belief.expected_loss)} (Bayes, flat priors; decides nothing)."
        )


def _row(metric: Difference) -> list[object]:
    return [
        metric.name,
        metric.a,
        metric.b,
        metric.difference,
        _between(metric.interval),
        _between(metric.sequential_interval),
        metric.margin,
        metric.p_value,
        metric.adjusted_p_value,
    ]


def _between(bounds: tuple[float, float] | None) -> str | None:
    return None if bounds is None else f"{cell(bounds[0])} to {cell(bounds[1])}"
