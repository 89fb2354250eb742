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
    from storage.records import Layout


PERIOD_NOTE = "older counts are kept by the hour or the day, so the time that is compared begins or ends on a whole one"


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
    from dataclasses import replace

    from cli.models import require_version
    from storage.rollups import extent, load_layout
    from storage.splits import comparable
    from storage.trials import is_shadowed

    if a == b:
        raise CommandError(f"{a} and {b} are the same version; name two different ones.")
    layouts = [load_layout(connection, require_version(connection, model, name).layout_id) for name in (a, b)]
    wanted = _window(connection, model, a, b, since, end)[0], end
    start, end = comparable(connection, layouts, (a, b), *wanted, not_before=since is None)
    share = _window(connection, model, a, b, None if since is None else start, end)[1]
    known = extent(connection, model)
    until = min(end, known[1]) if known else end
    seconds = max(0.0, (until - max(start, known[0] if known else start)).total_seconds()) or None
    shadows = [is_shadowed(connection, layout, name, start, end) for layout, name in zip(layouts, (a, b), strict=True)]
    if shadows[0] != shadows[1]:
        found = _compare_shadow(connection, layouts[0], (a, b), start, end, terms, seconds, b_is_shadow=shadows[1])
    else:
        found = _compare_split(connection, (layouts[0], layouts[1]), (a, b), start, end, terms, seconds, share)
    notes = found.notes if (start, end) == wanted else (*found.notes, PERIOD_NOTE)
    return replace(found, start=start, end=end, notes=notes)


def _window(
    connection: Connection, model: str, a: str, b: str, since: datetime | None, end: datetime
) -> tuple[datetime, float | None]:
    """From when on to compare, and the share of the traffic that b was meant to get in all of that time."""
    from storage.deployments import current
    from storage.rollups import extent
    from storage.splits import share_of, since_split

    split = current(connection, model)
    share = share_of(split, a, b)
    if since is not None:
        # A window that holds traffic from before the split, which was shared otherwise, has no one share.
        return since, share if split is not None and since >= split.at else None
    if split is not None and share is not None:
        return since_split(connection, split, (a, b)), share
    known = extent(connection, model)
    return (known[0] if known else end), share


def _compare_split(
    connection: Connection,
    layouts: tuple[Layout, Layout],
    versions: tuple[str, str],
    start: datetime,
    end: datetime,
    terms: Terms | None,
    seconds: float | None,
    share: float | None,
) -> Comparison:
    from collector.statistics.comparison import compare_split
    from storage.trials import read_split

    rows = read_split(connection, layouts, versions, start, end)
    return compare_split(rows, layouts, versions, expected_share_b=share, terms=terms, seconds=seconds)


def _compare_shadow(
    connection: Connection,
    layout: Layout,
    versions: tuple[str, str],
    start: datetime,
    end: datetime,
    terms: Terms | None,
    seconds: float | None,
    *,
    b_is_shadow: bool,
) -> Comparison:
    from collector.statistics.comparison import compare_pairs
    from storage.trials import shadow_pairs, turned

    if b_is_shadow:
        pairs = shadow_pairs(connection, layout.model, *versions, start, end)
    else:
        pairs = turned(shadow_pairs(connection, layout.model, versions[1], versions[0], start, end))
    return compare_pairs(pairs, layout, versions, terms=terms, seconds=seconds)


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
