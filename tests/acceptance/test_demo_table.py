"""`modelwatch demo --csv`: a table as spreadsheets write it, replayed row by row; what it holds is what is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Connection, func, select

from storage.engine import create_engine, reading
from storage.schema import metrics, predictions
from tests.acceptance.stacks import environment_for, run_command

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(400)]

ROWS = 700
AGED_FROM = 500
"""From this row on the customers are older: drift that is in the data, in the replayed half."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table")


@pytest.fixture(scope="module")
def table(folder: Path) -> Path:
    """Semicolons, a byte-order mark, umlauts, gaps, an id, a date, a text without an end, rows out of order."""
    random = np.random.default_rng(5)
    number = np.arange(ROWS)
    frame = pd.DataFrame(
        {
            "Kundennr": number + 5000,
            "Alter (Jahre)": np.round(random.normal(40, 8, ROWS) + (number >= AGED_FROM) * 20, 1),
            "Größe": np.where(random.random(ROWS) < 0.05, np.nan, np.round(random.normal(172, 9, ROWS), 1)),
            "Stadt": random.choice(["Köln", "Bonn", ""], ROWS, p=[0.6, 0.3, 0.1]),
            "Mitglied": random.choice(["true", "false"], ROWS),
            "Seit": (pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 900, ROWS), unit="D")).strftime("%Y-%m-%d"),
            "Notiz": [f"Notiz {n}" for n in number],
            "Zeit": (pd.Timestamp("2026-01-01") + pd.to_timedelta(number, unit="h")).astype(str),
        }
    )
    frame["gekauft"] = np.where(random.random(ROWS) < 1 / (1 + np.exp(-(frame["Alter (Jahre)"] - 40) / 5)), "ja", "nein")
    path = folder / "Kunden.csv"
    frame.sample(frac=1, random_state=1).to_csv(path, sep=";", index=False, encoding="utf-8-sig")
    return path


@pytest.fixture(scope="module")
def story(folder: Path, table: Path) -> dict[str, Any]:
    arguments = ("demo", "--csv", str(table), "--target", "gekauft", "--time", "Zeit", "--once", "--json")
    result = run_command(folder, environment_for(folder), *arguments, seconds=300)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture(scope="module")
def database(story: dict[str, Any], folder: Path) -> Iterator[Connection]:
    engine = create_engine(f"sqlite:///{folder / 'home' / 'modelwatch.db'}")
    with reading(engine) as connection:
        yield connection
    engine.dispose()


def test_every_later_row_is_a_prediction_exactly_once(story: dict[str, Any], database: Connection) -> None:
    stored, distinct = database.execute(select(func.count(), func.count(predictions.c.id.distinct()))).one()

    assert story["rows"] == {"reference": ROWS // 2, "replayed": ROWS // 2}
    assert stored == distinct == story["predictions"] == story["labels"] == ROWS // 2


def test_rows_were_sent_in_the_order_of_their_time(story: dict[str, Any], database: Connection, table: Path) -> None:
    rows = database.execute(select(predictions.c.features).order_by(predictions.c.at)).scalars().all()

    expected = pd.read_csv(table, sep=";", encoding="utf-8-sig").sort_values("Zeit")["Alter (Jahre)"].tolist()[ROWS // 2 :]
    ages = [json.loads(row)[0] for row in rows]
    assert sorted(ages) == sorted(expected)
    assert ages[:50] == expected[:50]


def test_drift_that_is_in_the_data_is_found_and_nothing_else(story: dict[str, Any]) -> None:
    drifted = {entry["feature"]: entry["drifted"] for entry in story["drift"]}

    assert set(drifted) == {"Alter (Jahre)", "Größe", "Stadt", "Mitglied", "Seit"}
    assert drifted.pop("Alter (Jahre)") > 0
    assert set(drifted.values()) == {0}


def test_drift_and_accuracy_over_time_are_in_the_metrics(story: dict[str, Any], database: Connection) -> None:
    windows = select(metrics.c.name, func.count(metrics.c.at.distinct())).group_by(metrics.c.name)
    counted = {row[0]: row[1] for row in database.execute(windows)}

    assert counted["drift_psi"] > 10
    assert counted["accuracy"] > 5
    assert set(story["accuracy"]) == {"1", "2"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--target", "nope"), "--target nope: the table has no such column; its columns are Kundennr, Alter (Jahre)"),
        (("--target", "gekauft", "--time", "wann"), "--time wann: the table has no such column"),
        (("--target", "Notiz"), "Notiz has 700 different values, too many for classes"),
    ],
)
def test_wrong_column_is_told_before_anything_starts(folder: Path, table: Path, options: tuple[str, ...], sentence: str) -> None:
    result = run_command(folder, environment_for(folder), "demo", "--csv", str(table), *options, "--once", "--json")

    assert result.returncode == 1
    assert result.stdout == ""
    assert sentence in result.stderr.splitlines()[-1]


def test_second_run_on_the_same_home_registers_further_versions(story: dict[str, Any], folder: Path, table: Path) -> None:
    shorter = folder / "again" / table.name
    shorter.parent.mkdir()
    pd.read_csv(table, sep=";", encoding="utf-8-sig").head(240).to_csv(shorter, index=False)
    arguments = ("demo", "--csv", str(shorter), "--target", "gekauft", "--time", "Zeit", "--once", "--json")

    result = run_command(folder, environment_for(folder), *arguments, seconds=300)

    assert result.returncode == 0, result.stderr
    again = json.loads(result.stdout)
    assert [(model["name"], model["version"]) for model in again["models"]] == [
        (story["models"][0]["name"], "3"),
        (story["models"][0]["name"], "4"),
    ]
    assert again["predictions"] == 120
