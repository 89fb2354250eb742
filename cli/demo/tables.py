"""From any table to what the demo needs: which columns a model can use, which half it learns, which half is replayed.

Pure: a frame in, a plan out; every decision that a person might wonder about becomes a note.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from cli.errors import CommandError
from storage.layouts import category_text
from storage.records import Task

LEAST_ROWS = 200
MOST_CATEGORIES = 100
MOST_CLASSES = 50
FEW_NUMBERS = 20
"""Whole numbers with at most this many different values are classes; with more, the target is a quantity."""
TRAINING_SHARE = 0.5
DATE_SAMPLE = 200
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,2}:\d{2}")


class TableProblem(CommandError):
    """The table cannot be used for a demo; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A table ready to train on and to replay. Both frames hold the features and, last, the target."""

    task: Task
    target: str
    reference: pd.DataFrame
    live: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    @property
    def features(self) -> list[str]:
        return [str(name) for name in self.reference.columns if name != self.target]

    @property
    def categories(self) -> list[str]:
        """The features that hold text."""
        return [name for name in self.features if not is_numeric(self.reference[name])]


def is_numeric(column: pd.Series[Any]) -> bool:
    return bool(types.is_numeric_dtype(column.dtype) or types.is_bool_dtype(column.dtype))


def prepare(frame: pd.DataFrame, target: str, time: str | None = None) -> Prepared:
    """Split a table by time (or by its order) into a half to learn from and a half to replay.

    Raises TableProblem where a column does not exist, rows or classes are too few, or nothing is left to learn from.
    """
    notes: list[str] = []
    frame = frame.rename(columns=str)
    _require_columns(frame, target, time)
    frame = _with_target(frame, target, notes)
    if time is not None:
        frame = _in_order(frame, time, notes)
    task = _task(frame, target, notes)
    if len(frame) < LEAST_ROWS:
        raise TableProblem(
            f"The table has {len(frame)} rows with a {target}; the demo needs at least {LEAST_ROWS} to show anything."
        )
    features = {name: column for name in frame.columns if name != target if (column := _feature(frame[name], notes)) is not None}
    if not features:
        raise TableProblem(f"No column besides {target} can be used as a feature: {' '.join(notes)}")
    usable = pd.DataFrame(features).assign(**{target: _target_values(frame[target], task)})
    reference, live = _split(usable, target, task, time, notes)
    return Prepared(task=task, target=target, reference=_allowing_missing(reference, live, notes), live=live, notes=notes)


# ---------------------------------------------------------------------------------------------- rows


def _require_columns(frame: pd.DataFrame, target: str, time: str | None) -> None:
    columns = ", ".join(frame.columns)
    for option, name in (("--target", target), ("--time", time)):
        if name is not None and name not in frame.columns:
            raise TableProblem(f"{option} {name}: the table has no such column; its columns are {columns}.")
    if target == time:
        raise TableProblem(f"{target} cannot be both the target and the time.")
    twice = sorted(set(frame.columns[frame.columns.duplicated()]))
    if twice:
        raise TableProblem(f"The table has more than one column called {', '.join(twice)}; give every column its own name.")


def _with_target(frame: pd.DataFrame, target: str, notes: list[str]) -> pd.DataFrame:
    missing = int(frame[target].isna().sum())
    if missing:
        notes.append(f"{missing} rows without a {target} are left out.")
        frame = frame[frame[target].notna()]
    return frame.reset_index(drop=True)


def _in_order(frame: pd.DataFrame, time: str, notes: list[str]) -> pd.DataFrame:
    moments = frame[time] if types.is_numeric_dtype(frame[time].dtype) else as_dates(frame[time])
    if moments is None:
        example = next(iter(frame[time].dropna().astype(str)), "nothing")
        raise TableProblem(f"--time {time} holds neither numbers nor dates (for example {example!r}); name another column.")
    unknown = int(moments.isna().sum())
    if unknown:
        notes.append(f"{unknown} rows without a readable {time} are left out.")
    order = moments[moments.notna()].sort_values(kind="stable").index
    notes.append(f"Rows are replayed in the order of {time}, which is not a feature.")
    return frame.loc[order].drop(columns=[time]).reset_index(drop=True)


def _split(frame: pd.DataFrame, target: str, task: Task, time: str | None, notes: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = int(len(frame) * TRAINING_SHARE)
    reference, live = frame.iloc[:rows], frame.iloc[rows:]
    if task is Task.CLASSIFICATION:
        unseen = sorted(set(live[target]) - set(reference[target]))
        if (unseen or reference[target].nunique() < 2) and time is None:
            notes.append(f"The rows look sorted by {target}, so they are shuffled; name a --time column to keep their order.")
            frame = frame.sample(frac=1.0, random_state=0)
            reference, live = frame.iloc[:rows], frame.iloc[rows:]
            unseen = sorted(set(live[target]) - set(reference[target]))
        if reference[target].nunique() < 2:
            only = reference[target].iloc[0]
            raise TableProblem(
                f"The first half of the rows holds a single {target} ({only}); a model needs two to learn a difference."
            )
        if unseen:
            notes.append(f"{target} takes values later on that no model has learned: {', '.join(unseen[:5])}.")
    notes.append(f"{len(reference)} rows are the training and reference data, {len(live)} are replayed once each.")
    return reference.reset_index(drop=True), live.reset_index(drop=True)


def _allowing_missing(reference: pd.DataFrame, live: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """A model allows missing values in the columns where its reference has some, and live rows must be accepted."""
    only_live = [name for name in reference.columns if live[name].isna().any() and not reference[name].isna().any()]
    if not only_live:
        return reference
    notes.append(
        f"{_listed(only_live)} miss values only among the replayed rows; one reference value of each is left empty, so that this is allowed."
    )
    reference = reference.copy()
    for name in only_live:
        reference.loc[0, name] = np.nan
    return reference


# ---------------------------------------------------------------------------------------------- the target


def _task(frame: pd.DataFrame, target: str, notes: list[str]) -> Task:
    column = frame[target]
    distinct = int(column.nunique())
    if len(frame) == 0:
        raise TableProblem(f"No row has a {target}.")
    if distinct < 2:
        raise TableProblem(f"Every row has the same {target} ({column.iloc[0]}); there is nothing to predict.")
    if types.is_numeric_dtype(column.dtype) and not types.is_bool_dtype(column.dtype):
        whole = bool((column == column.round()).all())
        if distinct > FEW_NUMBERS or not whole:
            notes.append(f"{target} is a quantity ({distinct} different numbers), so the models are regressions.")
            return Task.REGRESSION
    if distinct > MOST_CLASSES:
        raise TableProblem(
            f"{target} has {distinct} different values, too many for classes; name a target with at most {MOST_CLASSES}, or one of numbers."
        )
    notes.append(f"{target} has {distinct} classes, so the models are classifiers.")
    return Task.CLASSIFICATION


def _target_values(column: pd.Series[Any], task: Task) -> pd.Series[Any]:
    if task is Task.REGRESSION:
        return column.astype(float)
    return pd.Series([category_text(value) for value in column.tolist()], index=column.index, dtype="str")


# ---------------------------------------------------------------------------------------------- features


def _feature(column: pd.Series[Any], notes: list[str]) -> pd.Series[Any] | None:
    """The column as a model can use it, or None where it cannot; says so in the notes."""
    name, known = str(column.name), column.dropna()
    if known.empty:
        notes.append(f"{name} is empty and left out.")
        return None
    if known.nunique() == 1 and len(known) == len(column):
        notes.append(f"{name} is always {known.iloc[0]} and left out.")
        return None
    if types.is_bool_dtype(column.dtype) and not column.isna().any():
        return column.astype(bool)
    if types.is_datetime64_any_dtype(column.dtype):
        return _days(column, notes)
    if types.is_numeric_dtype(column.dtype) and not types.is_bool_dtype(column.dtype):
        return _number(column, notes)
    return _text(column, notes)


def _number(column: pd.Series[Any], notes: list[str]) -> pd.Series[Any] | None:
    if types.is_integer_dtype(column.dtype) and not column.isna().any():
        if looks_like_id(column):
            notes.append(f"{column.name} numbers the rows and is left out.")
            return None
        return column.astype(np.int64)
    numbers = column.astype(float)
    infinite = int(np.isinf(numbers).sum())
    if infinite:
        notes.append(f"{infinite} infinite values of {column.name} count as missing.")
    return numbers.where(np.isfinite(numbers))


def looks_like_id(column: pd.Series[Any]) -> bool:
    """Whether whole numbers are all different and in steps of one, or all different under a name that ends in id."""
    if not column.is_unique:
        return False
    values = np.sort(column.to_numpy())
    in_steps = bool((np.diff(values) == 1).all())
    return in_steps or re.search(r"(^|[^a-z])(id|nr|no|number|index|key)$", str(column.name).lower()) is not None


def _text(column: pd.Series[Any], notes: list[str]) -> pd.Series[Any] | None:
    dates = as_dates(column)
    if dates is not None:
        return _days(dates, notes)
    distinct = int(column.nunique())
    if distinct > MOST_CATEGORIES:
        notes.append(f"{column.name} has {distinct} different texts, more than {MOST_CATEGORIES}, and is left out.")
        return None
    missing = column.isna()
    texts = [None if absent else category_text(value) for value, absent in zip(column.tolist(), missing, strict=True)]
    return pd.Series(texts, index=column.index, name=column.name, dtype="str")


def as_dates(column: pd.Series[Any]) -> pd.Series[Any] | None:
    """The column as UTC moments where its texts look like dates, else None."""
    if types.is_datetime64_any_dtype(column.dtype):
        return pd.to_datetime(column, utc=True)
    if not (types.is_string_dtype(column.dtype) or types.is_object_dtype(column.dtype)):
        return None
    sample = column.dropna().astype(str).head(DATE_SAMPLE)
    if sample.empty or not sample.map(lambda text: _DATE.search(text) is not None).all():
        return None
    dates: pd.Series[Any] = pd.to_datetime(column, utc=True, errors="coerce", format="mixed")
    return dates if dates.notna().sum() >= 0.95 * column.notna().sum() else None


def _days(column: pd.Series[Any], notes: list[str]) -> pd.Series[Any]:
    notes.append(f"The dates in {column.name} become days since the first of them.")
    days: pd.Series[Any] = (column - column.min()).dt.total_seconds() / 86400.0
    days.name = column.name
    return days


def _listed(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
