"""`modelwatch models constraints` and `models check` on both databases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from storage import audit
from storage.engine import reading, writing
from tests.integration.cli.conftest import Run
from tests.integration.collector.traffic import SIGNATURE, make_rows, register


@pytest.fixture
def churn(engine: Engine) -> Engine:
    """A version that was registered before constraints were learned."""
    with writing(engine) as c:
        register(c)
    return engine


def table(path: Path, **changes: str | int) -> Path:
    frame = pd.DataFrame(make_rows(np.random.default_rng(5), 300), columns=list(SIGNATURE.names))
    frame.assign(**changes).to_csv(path, index=False)
    return path


def test_file_is_exported_edited_and_imported_with_an_audit_entry(on_database: Run, churn: Engine, tmp_path: Path) -> None:
    file = tmp_path / "churn.yml"
    exported = on_database("models", "constraints", "churn", "1", "--export", file)
    file.write_text(file.read_text().replace("missing: 0.05", "missing: 0.5", 1))

    imported = on_database("models", "constraints", "churn", "1", "--import", file, "--reason", "a source that is often down")

    assert exported.out == f"The constraints of version 1 of churn are in {file}.\n"
    assert imported.out == f"The constraints of version 1 of churn are those of {file}; features changed: income.\n"
    assert "missing: 0.5\n" in on_database("models", "constraints", "churn", "1").out
    with reading(churn) as c:
        (entry,) = audit.entries(c, target="churn/1")
    assert (entry.action, entry.reason, entry.details["changed"]) == (
        "import constraints",
        "a source that is often down",
        ["income"],
    )


def test_what_is_shown_is_what_is_exported(on_database: Run, churn: Engine, tmp_path: Path) -> None:
    on_database("models", "constraints", "churn", "1", "--export", tmp_path / "c.yml")

    assert on_database("models", "constraints", "churn", "1").out == (tmp_path / "c.yml").read_text()


@pytest.mark.parametrize("form", ["json", "sagemaker-constraints"])
def test_other_formats_come_back_as_they_went(on_database: Run, churn: Engine, tmp_path: Path, form: str) -> None:
    before = on_database("models", "constraints", "churn", "1").out
    on_database("models", "constraints", "churn", "1", "--export", tmp_path / "c.json", "--format", form)

    imported = on_database("models", "constraints", "churn", "1", "--import", tmp_path / "c.json")

    assert imported.out.endswith("features changed: none.\n")
    assert on_database("models", "constraints", "churn", "1").out == before


def test_statistics_of_sagemaker_set_the_ranges(on_database: Run, churn: Engine, tmp_path: Path) -> None:
    file = tmp_path / "statistics.json"
    on_database("models", "constraints", "churn", "1", "--export", file, "--format", "sagemaker-statistics")

    assert json.loads(file.read_text())["dataset"] == {"item_count": 5000}
    assert on_database("models", "constraints", "churn", "1", "--import", file).status == 0
    assert "minimum: -" in on_database("models", "constraints", "churn", "1").out


def test_wrong_file_changes_nothing_and_is_told_in_a_sentence(on_database: Run, churn: Engine, tmp_path: Path) -> None:
    before = on_database("models", "constraints", "churn", "1").out
    (tmp_path / "c.yml").write_text("features:\n  income:\n    type: number\n    missing: lots\n")

    refused = on_database("models", "constraints", "churn", "1", "--import", tmp_path / "c.yml")

    assert (refused.status, refused.out) == (1, "")
    assert refused.err.strip().endswith(
        "Line 4: features.income.missing: input should be a valid number, unable to parse string as a number."
    )
    assert on_database("models", "constraints", "churn", "1").out == before


def test_unknown_version_unreadable_file_and_both_options_are_refused(on_database: Run, churn: Engine, tmp_path: Path) -> None:
    unknown = on_database("models", "constraints", "churn", "9")
    absent = on_database("models", "constraints", "churn", "1", "--import", tmp_path / "none.yml")
    both = on_database("models", "constraints", "churn", "1", "--import", "a", "--export", "b")
    unwritable = on_database("models", "constraints", "churn", "1", "--export", tmp_path / "no" / "c.yml")

    assert (unknown.status, absent.status, both.status, unwritable.status) == (1, 1, 2, 1)
    assert "There is no version 9 of churn" in unknown.err
    assert "none.yml cannot be read (No such file or directory)." in absent.err
    assert "either --export or --import" in both.err
    assert "cannot be written" in unwritable.err


def test_table_like_the_reference_passes(on_database: Run, churn: Engine, tmp_path: Path) -> None:
    checked = on_database("models", "check", "churn", "1", table(tmp_path / "t.csv", label="yes"))

    assert (checked.status, checked.out) == (0, f"{tmp_path / 't.csv'} meets the constraints of version 1 of churn.\n")


def test_table_that_violates_constraints_fails_with_what_and_where(on_database: Run, churn: Engine, tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", age="old", region="elsewhere", zip=1)

    shown = on_database("models", "check", "churn", "1", file)
    printed = json.loads(on_database("models", "check", "churn", "1", file, "--json").out)

    assert shown.status == 1
    found = {(f["feature"], f["check"]) for f in printed["findings"] if f["verdict"] == "drift"}
    assert {("age", "wrong type"), ("region", "unseen"), ("region", "constant"), ("zip", "extra column")} <= found
    assert (printed["rows"], printed["violations"]) == (300, len(found))
    assert all(check in shown.out for check in ("wrong type", "unseen", "constant", "extra column"))


def test_feature_that_the_file_leaves_out_is_not_checked(on_database: Run, churn: Engine, tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text("features:\n  income: {type: number, missing: 0.1}\n")
    on_database("models", "constraints", "churn", "1", "--import", tmp_path / "c.yml")

    checked = on_database("models", "check", "churn", "1", table(tmp_path / "t.csv", age="old"))

    assert checked.status == 0
