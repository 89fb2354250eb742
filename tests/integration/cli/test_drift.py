"""`modelwatch drift` on files: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Run
from tests.unit.cli.drift_report.tables import current_table, reference_table

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
REFERENCE, CURRENT = GOLDEN / "S_ref.parquet", GOLDEN / "S_cur.parquet"
DRIFTED = {"num_0", "num_1", "cat_0"}


def found(run_command: Run, *arguments: object) -> dict[str, Any]:
    result = run_command("drift", *arguments, "--format", "json")
    assert (result.status, result.err) == (0, "")
    document: dict[str, Any] = json.loads(result.out)
    return document


def test_known_drift_is_found_and_nothing_else(run_command: Run) -> None:
    document = found(run_command, REFERENCE, CURRENT)

    assert {name for name, feature in document["features"].items() if feature["verdict"] == "drift"} == DRIFTED
    assert set(list(document["features"])[:3]) == DRIFTED, "worst first"
    assert (document["share"], document["verdict"]) == (0.25, "drift")


def test_json_has_the_keys_that_are_promised(run_command: Run) -> None:
    features = found(run_command, REFERENCE, CURRENT)["features"]

    promised = {"type", "n_reference", "n_current", "psi", "js", "missing", "verdict"}
    assert promised | {"ks", "wasserstein"} <= set(features["num_0"])
    assert promised | {"chi2"} <= set(features["cat_0"])
    assert not {"ks", "wasserstein"} & set(features["cat_0"])
    assert features["num_0"]["ks"]["statistic"] == pytest.approx(0.1351)
    assert features["cat_0"]["chi2"]["p_value"] == pytest.approx(2.6633889023199247e-58)
    assert features["num_0"]["wasserstein"] == pytest.approx(0.3193527434708999)


def test_evidentlys_document_has_test_score_threshold_and_drifted(run_command: Run) -> None:
    document = found(run_command, REFERENCE, CURRENT, "--compat", "evidently")

    assert document["dataset_drift"] is False
    assert document["features"]["num_0"].items() >= {"test": "wasserstein", "threshold": 0.1, "drifted": True}.items()
    assert document["features"]["num_0"]["score"] == pytest.approx(0.3193527434708999)


def test_nannymls_document_has_the_chunks(run_command: Run) -> None:
    document = found(run_command, REFERENCE, CURRENT, "--compat", "nannyml")

    assert document["dataset_drift"] is True
    assert document["features"]["num_0"]["score"] == pytest.approx(0.13701567518360275)
    assert [chunk["alert"] for chunk in document["features"]["num_0"]["chunks"]] == [True] * 10


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((REFERENCE, CURRENT, "--fail-on-drift"), 1),
        ((REFERENCE, CURRENT), 0),
        ((REFERENCE, REFERENCE, "--fail-on-drift"), 0),
        ((REFERENCE, CURRENT, "--fail-on-drift", "--columns", "num_2,num_3"), 0),
        ((REFERENCE, CURRENT, "--fail-on-drift", "--compat", "nannyml"), 1),
        ((REFERENCE, CURRENT, "--fail-on-drift", "--compat", "evidently"), 0),
    ],
)
def test_status_says_whether_there_is_drift(run_command: Run, arguments: tuple[object, ...], status: int) -> None:
    assert run_command("drift", *arguments).status == status


def test_table_names_columns_reasons_and_verdict(run_command: Run) -> None:
    result = run_command("drift", REFERENCE, CURRENT)

    assert "KS 0.135 > 0.05, JS 0.132 > 0.05" in result.out
    assert result.out.rstrip().endswith("Verdict: drift (3 of 12 columns drifted)")


@pytest.mark.parametrize(("name", "start"), [("r.html", "<!doctype html>"), ("r.json", "{"), ("r.txt", "column")])
def test_ending_of_the_file_says_the_format(run_command: Run, tmp_path: Path, name: str, start: str) -> None:
    result = run_command("drift", REFERENCE, CURRENT, "--output", tmp_path / name)

    assert (result.status, result.out) == (0, "")
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)
    assert result.err == f"The report is in {tmp_path / name}.\n"


def test_csv_is_held_against_parquet(run_command: Run, tmp_path: Path) -> None:
    reference_table().to_parquet(tmp_path / "a.parquet")
    current_table().to_csv(tmp_path / "b.csv", index=False)

    document = found(run_command, "a.parquet", "b.csv", "--target", "churned")

    assert (document["verdict"], document["schema"]) == ("ok", [])
    assert document["features"]["churned"]["role"] == "target"
    assert document["reference"] == {"file": "a.parquet", "rows": 600, "columns": 5}


def test_column_with_a_comma_in_its_name_can_be_chosen(run_command: Run, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text('"x,y",z\n1,2\n2,3\n', encoding="utf-8")

    assert list(found(run_command, "a.csv", "b.csv", "--columns", "x,y")["features"]) == ["x,y"]
    assert list(found(run_command, "a.csv", "b.csv", "--columns", "z")["features"]) == ["z"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nope.csv", CURRENT), "There is no file nope.csv.\n"),
        (("empty.csv", CURRENT), "empty.csv is empty.\n"),
        (("header.csv", CURRENT), "header.csv has no rows, only column names.\n"),
        ((REFERENCE, CURRENT, "--columns", "num_0,nope"), "Neither table has a column nope; the columns are num_0, "),
        ((REFERENCE, CURRENT, "--target", "nope"), "Neither table has a column nope; the columns are num_0, "),
        (
            (REFERENCE, CURRENT, "--output", "no/such/folder/r.html"),
            "no/such/folder/r.html cannot be written (No such file or directory",
        ),
        ((REFERENCE, CURRENT, "--format", "pdf"), "Invalid value for '--format'"),
        ((REFERENCE, CURRENT, "--compat", "alibi"), "Invalid value for '--compat'"),
        ((REFERENCE,), "Missing argument"),
    ],
)
def test_wrong_usage_is_one_sentence_and_status_2(
    run_command: Run, tmp_path: Path, arguments: tuple[object, ...], sentence: str
) -> None:
    (tmp_path / "empty.csv").write_text("", encoding="utf-8")
    (tmp_path / "header.csv").write_text("a,b\n", encoding="utf-8")

    result = run_command("drift", *arguments, "--fail-on-drift")

    assert result.status == 2
    assert result.err.startswith(sentence)
    assert result.err.count("\n") == 1


def test_needs_no_home_folder(run_command: Run, home: Path) -> None:
    run_command("drift", REFERENCE, CURRENT)

    assert list(home.iterdir()) == []
