"""`modelwatch labels`: what really happened, from a file, for predictions that are in the database or still to come."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.errors import CommandError
from cli.output import print_json
from cli.session import engine_of, now, plain_settings, read_database

if TYPE_CHECKING:
    import pandas as pd

    from storage.records import Label, Task

AT_ONCE = 5000
"""Labels per transaction: other writers get their turn in between."""


def add_to(app: typer.Typer) -> None:
    """Hang the command into the application."""
    app.command("labels", epilog="Example: modelwatch labels churn outcomes.csv")(labels)


def labels(
    model: Annotated[str, typer.Argument(metavar="NAME", help="The model.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or Parquet with the columns id, label and, if known, at.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object with the counts.")] = False,
) -> None:
    """Store labels for predictions; sending the same file twice changes nothing."""
    from cli.models import require_model
    from storage.tables import read_table

    with read_database() as connection:
        task = require_model(connection, model).task
    found, skipped = table_labels(read_table(file), str(file), now(), task)
    counts = store(model, found)
    counts["skipped"] = skipped
    if json:
        print_json(counts)
        return
    print(
        f"{counts['accepted']} labels stored ({counts['unknown']} of them for predictions that are not known yet), "
        f"{counts['duplicates']} were there before, {skipped} rows without an id or a label were skipped."
    )


def table_labels(frame: pd.DataFrame, source: str, at: datetime, task: Task) -> tuple[list[Label], int]:
    """The labels of a table, and how many rows lack an id or a label. ``at`` stands in where the table has no time.

    Raises CommandError where the columns are wrong, a time cannot be read, or the model predicts numbers and a label is none.
    """
    from storage.layouts import category_text
    from storage.records import Label

    missing = [name for name in ("id", "label") if name not in frame.columns]
    if missing:
        there = ", ".join(map(str, frame.columns))
        raise CommandError(
            f"{source} has no column {' and no column '.join(missing)}; it has {there}. Labels need the columns id and label."
        )
    usable = frame.dropna(subset=["id", "label"])
    times = _times(usable, source, at)
    if task == "regression":
        _require_numbers(usable, source)
    rows = zip(usable["id"].tolist(), usable["label"].tolist(), times, strict=True)
    found = [Label(prediction_id=category_text(id_), label=category_text(label), at=time) for id_, label, time in rows]
    return found, len(frame) - len(usable)


def _require_numbers(frame: pd.DataFrame, source: str) -> None:
    import numpy as np
    import pandas as pd

    values = pd.to_numeric(frame["label"], errors="coerce").astype(float)
    wrong = frame["label"][~np.isfinite(values)]
    if len(wrong):
        raise CommandError(
            f"The column label of {source} holds {wrong.iloc[0]!r}, but the model predicts numbers; no label was stored."
        )


def _times(frame: pd.DataFrame, source: str, at: datetime) -> list[datetime]:
    import pandas as pd

    if "at" not in frame.columns:
        return [at] * len(frame)
    try:
        times: Any = pd.to_datetime(frame["at"], utc=True, format="ISO8601" if frame["at"].dtype.kind not in "iufM" else None)
    except (ValueError, TypeError) as error:
        raise CommandError(
            f"The column at of {source} holds something that is not a time ({error}); write 2026-11-21T10:00:00Z."
        ) from error
    return [at if pd.isna(time) else time.to_pydatetime().astimezone(UTC) for time in times]


def store(model: str, found: list[Label]) -> dict[str, int]:
    """Store the labels in several transactions; returns how many were accepted, duplicates and unknown."""
    from storage.engine import writing
    from storage.labels import record_labels
    from storage.registry import LayoutLookup

    settings = plain_settings()
    counts = {"accepted": 0, "duplicates": 0, "unknown": 0}
    with engine_of(settings) as engine:
        for start in range(0, len(found), AT_ONCE):
            with writing(engine) as connection:
                receipt = record_labels(
                    connection,
                    model,
                    found[start : start + AT_ONCE],
                    LayoutLookup(connection),
                    writer=f"cli:{socket.gethostname()}",
                    bucket_seconds=settings.rollup_seconds,
                    now=now(),
                    segments=settings.segment_fields,
                )
            for name in counts:
                counts[name] += getattr(receipt, name)
    return counts
