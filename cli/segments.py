"""`modelwatch models segments`: where a version does worse than elsewhere, from the counts of declared segments."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.comparison import parse_since
from cli.errors import CommandError
from cli.models import Json, ModelName, VersionName, require_version
from cli.output import cell, print_json, print_table
from cli.session import now, read_database

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from collector.settings import CollectorSettings
    from collector.statistics.segments import SegmentGap
    from storage.records import Layout

HEADERS = ("segment", "labels", "value", "rest", "difference", "95 % interval", "p adjusted", "verdict")


def add_to(app: typer.Typer) -> None:
    """Hang the command into those of the registry."""
    app.command("segments", epilog="Example: modelwatch models segments churn 2 --since 7d")(segments)


def segments(
    name: ModelName,
    version: VersionName,
    since: Annotated[str, typer.Option(help="From when, as 2026-11-21T10:00:00Z or as a duration such as 24h.")] = "1d",
    json: Json = False,
) -> None:
    """Hold every declared segment of a version against the rest of its labels, the one with most at stake first."""
    from collector.settings import CollectorSettings
    from storage.layouts import is_regression
    from storage.rollups import load_layout, widened

    settings = CollectorSettings.load()
    if not settings.segment_fields.names:
        raise CommandError("No field is declared as a segment; set MODELWATCH_SEGMENTS, for example to country,plan.")
    with read_database() as connection:
        known = require_version(connection, name, version)
        layout = load_layout(connection, known.layout_id)
        start, end = widened(connection, layout, version, parse_since(since, now()), now())
        gaps = find_gaps(connection, layout, version, start, end, settings)
    metric = "mae" if is_regression(layout) else "accuracy"
    if json:
        found = [asdict(gap) for gap in gaps]
        print_json({"model": name, "version": version, "metric": metric, "start": start, "end": end, "segments": found})
        return
    print(f"{metric} of version {version} of {name} from {cell(start)} to {cell(end)} UTC, each segment against the rest")
    print()
    print_table(HEADERS, [_cells(gap) for gap in gaps], empty="No segment has labels in this time.")


def find_gaps(
    connection: Connection, layout: Layout, version: str, start: datetime, end: datetime, settings: CollectorSettings
) -> list[SegmentGap]:
    """The segments of a version's live traffic that have labels, judged once: at 5 % for all of them together."""
    from collector.statistics.segments import weak_segments
    from storage.layouts import is_regression
    from storage.rollups import read_labels
    from storage.segments import counted_segments

    names = counted_segments(connection, layout.model, settings.segment_fields.names)
    parts = {name: read_labels(connection, layout, version, start, end, segment=name) for name in names}
    tolerances = settings.tolerances
    return weak_segments(
        read_labels(connection, layout, version, start, end),
        parts,
        tolerance=tolerances.error_share if is_regression(layout) else tolerances.score,
        min_labels=settings.min_labels,
    )


def _cells(gap: SegmentGap) -> list[object]:
    low, high = gap.interval
    return [gap.segment, gap.n, gap.value, gap.rest, gap.difference, f"{low:.4g} to {high:.4g}", gap.adjusted_p, gap.verdict]
