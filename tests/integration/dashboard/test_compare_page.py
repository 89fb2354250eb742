"""The Compare page on stored rows: splits by subject and shadows pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from cli.comparison import compare_versions
from collector.comparison_job import compare_deployed
from collector.statistics.comparison_json import to_json
from dashboard import links
from dashboard.texts import Texts, catalogue
from storage import comparisons, deployments
from storage.engine import reading, writing
from storage.labels import record_labels
from storage.records import Label, Mode, PredictionRow, StoredComparison
from storage.registry import LayoutLookup
from tests.factories import make_prediction_row, record, register_model
from tests.integration.dashboard.conftest import OpenPage
from tests.integration.dashboard.test_pages import LOCALES, seen

PAIRS = 600


def rows(version: str, role: str, *, each: int = 1, subject: str = "s", now: datetime) -> list[PredictionRow]:
    """Predictions of the last ten minutes; a shadow's of what version 1 answered."""
    return [
        make_prediction_row(
            number,
            id=f"{version}-{number}",
            at=now - timedelta(seconds=PAIRS - number),
            version=version,
            role=role,
            subject=f"{subject}{number // each}",
            prediction="no" if version == "1" else ("no", "yes")[number % 2],
            shadow_of=f"1-{number}" if role == "shadow" else None,
        )
        for number in range(PAIRS)
    ]


def store(engine: Engine, found: Sequence[PredictionRow], now: datetime, *, mode: Mode) -> None:
    """The predictions, and the label that version 2 always meets."""
    with writing(engine) as c:
        register_model(c, versions=("1", "2"))
        challenger, weight = ("2", 0.5) if mode is Mode.AB else (None, 0.0)
        began = now - timedelta(hours=1)
        deployments.deploy(
            c, "churn", mode=mode, champion="1", challenger=challenger, weight=weight, actor="ana", reason="", now=began
        )
        record(c, found)
        new = [Label(prediction_id=row.id, label=("no", "yes")[int(row.id.split("-")[1]) % 2], at=now) for row in found]
        record_labels(c, "churn", new, LayoutLookup(c), writer="w1", bucket_seconds=60, now=now)


@pytest.mark.parametrize("language", LOCALES)
def test_a_shadow_is_shown_pair_by_pair(sqlite_engine: Engine, home: Path, open_page: OpenPage, language: str) -> None:
    now, words = datetime.now(UTC), catalogue(language)
    store(sqlite_engine, [*rows("1", "champion", now=now), *rows("2", "shadow", now=now)], now, mode=Mode.SINGLE)

    app = open_page(home, "compare", a="1", b="2", locale=LOCALES[language])
    told = seen(app).replace("\\", "")

    assert not app.exception
    assert words["outcome.ship_text"].format(a=1, b=2) in told
    assert words["compare.shadow"] in told
    tables = " ".join(str(table.value.to_dict()) for table in app.table).replace("\\", "")
    assert words["compare.disagreement"] in tables
    assert "50.00%" in tables


def test_subjects_in_both_arms_are_not_comparable(sqlite_engine: Engine, home: Path, open_page: OpenPage) -> None:
    now, words = datetime.now(UTC), catalogue("en")
    store(sqlite_engine, [*rows("1", "champion", each=6, now=now), *rows("2", "challenger", each=6, now=now)], now, mode=Mode.AB)

    app = open_page(home, "compare", a="1", b="2")
    told = seen(app).replace("\\", "")

    assert not app.exception
    assert words["outcome.unhealthy_text"].format(a=1, b=2) in told
    assert "100 of 100 subjects (100.0%) met both versions" in told
    assert "Intervals are by subject, of which there were 100 and 100" in told
    tables = " ".join(str(table.value.to_dict()) for table in app.table).replace("\\", "")
    assert f"▲ {words['compare.suspicious']}" in tables


# ---------------------------------------------------------------------------------------------- what the collector keeps


def split(engine: Engine, now: datetime) -> None:
    store(engine, [*rows("1", "champion", now=now), *rows("2", "challenger", subject="t", now=now)], now, mode=Mode.AB)


def keep(engine: Engine, end: datetime) -> StoredComparison:
    """What the collector's job writes at ``end``."""
    with writing(engine) as c:
        deployed = deployments.current(c, "churn")
        assert deployed is not None
        (found,) = compare_deployed(c, deployed, (), end)
        comparisons.save_comparison(c, found)
    return found


def period(app: AppTest) -> str:
    """The sentence that says which predictions were compared."""
    return next(caption.value for caption in app.caption if caption.value.startswith("Predictions from"))


def test_the_collector_keeps_what_the_command_prints(engine: Engine) -> None:
    now = datetime.now(UTC)
    split(engine, now)

    kept = keep(engine, now)

    with reading(engine) as c:
        assert comparisons.load_comparison(c, "churn", "1", "2") == kept
        assert comparisons.load_comparison(c, "churn", "2", "1") is None
        assert kept.document == to_json(compare_versions(c, "churn", "1", "2", since=None, end=now))
    assert list(kept.document["arms"]) == ["1", "2"]


def test_without_a_chosen_time_the_kept_comparison_is_shown(sqlite_engine: Engine, home: Path, open_page: OpenPage) -> None:
    now = datetime.now(UTC)
    split(sqlite_engine, now)
    kept = keep(sqlite_engine, now - timedelta(minutes=5))

    app = open_page(home, "compare", a="1", b="2")

    assert not app.exception
    assert period(app).startswith(f"Predictions from {kept.start:%Y-%m-%d %H:%M:%S} to {kept.end:%Y-%m-%d %H:%M:%S}")
    arms = app.table[0].value.to_dict("list")
    assert arms["A · 1"][0] == str(kept.document["arms"]["1"]["n"])
    assert 0 < kept.document["arms"]["1"]["n"] < PAIRS
    assert set(kept.document["metrics"]) >= {"accuracy", "error_rate"}
    for name in ("accuracy", "error_rate"):
        assert Texts(language="en", zone=ZoneInfo("UTC")).word("metric", name) in seen(app)


@pytest.mark.parametrize("changed", ["deployment", "period", "order"])
def test_a_kept_comparison_of_something_else_is_not_shown(
    sqlite_engine: Engine, home: Path, open_page: OpenPage, changed: str
) -> None:
    """Another split, a time that ends before now, or the versions the other way round: then rows are read."""
    now = datetime.now(UTC)
    split(sqlite_engine, now)
    keep(sqlite_engine, now - timedelta(minutes=5))
    params = {"a": "1", "b": "2"}
    if changed == "deployment":
        with writing(sqlite_engine) as c:
            deployments.promote(c, "churn", "1", actor="ana", reason="", now=now)
    elif changed == "period":
        params |= {"from_": links.format_time(now - timedelta(hours=2)), "to": links.format_time(now + timedelta(minutes=1))}
    else:
        params = {"a": "2", "b": "1"}

    app = open_page(home, "compare", **params)

    assert not app.exception
    assert str(PAIRS) in app.table[0].value.to_dict("list")[f"A · {params['a']}"][0]


def test_a_chosen_time_that_is_shorter_than_the_split_is_compared_by_itself(
    sqlite_engine: Engine, home: Path, open_page: OpenPage
) -> None:
    now = datetime.now(UTC)
    split(sqlite_engine, now)
    kept = keep(sqlite_engine, now)

    whole = open_page(home, "compare", a="1", b="2", range="6h")
    part = open_page(home, "compare", a="1", b="2", range="15m")

    assert f"{kept.start:%Y-%m-%d %H:%M:%S}" in period(whole)
    assert f"{kept.start:%Y-%m-%d %H:%M:%S}" not in period(part)


def test_many_rows_are_read_only_for_who_asks(
    sqlite_engine: Engine, home: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.queries.FEW_ROWS", 2 * PAIRS - 1)
    now = datetime.now(UTC)
    split(sqlite_engine, now)

    app = open_page(home, "compare", a="1", b="2")

    words = catalogue("en")
    assert words["compare.many"].format(rows="1,200") in seen(app)
    assert words["compare.differences"] not in seen(app)

    next(button for button in app.button if button.label == words["compare.ask"]).click()
    app.run()
    answered = period(app)

    assert words["compare.differences"] in seen(app)
    with writing(sqlite_engine) as c:
        record(c, [make_prediction_row(number, id=f"late-{number}", at=now) for number in range(9)])
    app.run()
    assert period(app) == answered  # the same answer until another time is chosen
