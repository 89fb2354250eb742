"""The Compare page on stored rows: splits by subject and shadows pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from dashboard.texts import catalogue
from storage import deployments
from storage.engine import writing
from storage.labels import record_labels
from storage.records import Label, Mode, PredictionRow
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
