"""Reads from the rollups what became of the predictions that an objective is about, over all of its windows at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from alerts.burn_rates import Outcomes, Spending, outcomes
from alerts.rules import Rule
from alerts.selection import matches
from storage import rollups
from storage.records import PredictionCounts
from storage.registry import LayoutLookup
from storage.resolution import WindowTooFine, floor_time


def read_spendings(
    c: Connection, rules: Sequence[Rule], *, rollup: timedelta, lag: timedelta, now: datetime
) -> dict[str, list[Spending]]:
    """By the names of rules with a budget, what became of the predictions of each series: a model, or one of its versions.

    All windows end at the last whole rollup that is as old as ``lag``. They are read as stretches that do not overlap, so
    that the windows of all rules together cost what the longest costs.
    """
    end = floor_time(now - lag, int(rollup.total_seconds()))
    lengths = sorted({length for rule in rules for length in _lengths(rule)})
    if not lengths:
        return {}
    layouts = LayoutLookup(c)
    found: dict[str, dict[tuple[str, str], Spending]] = {rule.name: {} for rule in rules}
    for model, version in rollups.active_versions(c, end - lengths[-1], end):
        wanted = [rule for rule in rules if _selects(rule, model, version)]
        stretches: Mapping[timedelta, PredictionCounts] | str = {}
        if wanted:
            stretches = _stretches(c, layouts, model, version, lengths, end)
        for rule in wanted:
            series = (model, version if "version" in rule.where else "")
            found[rule.name][series] = _added(found[rule.name].get(series), _spending(rule, series, stretches, end))
    return {name: list(by_series.values()) for name, by_series in found.items()}


def _lengths(rule: Rule) -> set[timedelta]:
    windows = rule.burn_rate.windows if rule.burn_rate else ()
    return {length for window in windows for length in (window.long, window.short)}


def _selects(rule: Rule, model: str, version: str) -> bool:
    return matches(rule.where.get("model", "*"), model) and matches(rule.where.get("version", "*"), version)


def _stretches(
    c: Connection, layouts: LayoutLookup, model: str, version: str, lengths: Sequence[timedelta], end: datetime
) -> Mapping[timedelta, PredictionCounts] | str:
    """What was counted between each length and the one before it; a sentence where the counts are not kept so finely."""
    found = {}
    newer = timedelta(0)
    for length in lengths:
        try:
            found[length] = rollups.read_predictions(c, layouts(model, version), version, end - length, end - newer)
        except WindowTooFine as error:
            return str(error)
        newer = length
    return found


def _spending(
    rule: Rule, series: tuple[str, str], stretches: Mapping[timedelta, PredictionCounts] | str, end: datetime
) -> Spending:
    assert rule.burn_rate is not None
    labels = {key: value for key, value in zip(("model", "version"), series, strict=True) if value}
    if isinstance(stretches, str):
        return Spending(series=labels, windows={}, at=end, error=stretches)
    parts = {length: outcomes(rule.burn_rate, counts) for length, counts in stretches.items()}
    windows = {
        length: sum((part for other, part in parts.items() if other <= length), start=Outcomes()) for length in _lengths(rule)
    }
    return Spending(series=labels, windows=windows, at=end)


def _added(first: Spending | None, second: Spending) -> Spending:
    """Two versions of one model together."""
    if first is None:
        return second
    total: dict[timedelta, Outcomes] = defaultdict(Outcomes)
    for windows in (first.windows, second.windows):
        for length, found in windows.items():
            total[length] += found
    return Spending(series=first.series, windows=dict(total), at=second.at, error=first.error or second.error)
