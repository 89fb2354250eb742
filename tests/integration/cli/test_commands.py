"""Commands on a real database: what they print, what they change, how they end."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from storage import audit, deployments
from storage.compaction import compact, loose_parts, thin
from storage.engine import reading, writing
from storage.labels import record_labels
from storage.records import Label, Mode, PredictionRow
from storage.registry import LayoutLookup
from tests.factories import at, make_prediction_row, make_prediction_rows, record, register_model
from tests.integration.cli.conftest import Run


@pytest.fixture
def churn(engine: Engine) -> Engine:
    """Versions 1 and 2 of churn, the first in force, with predictions of both."""
    with writing(engine) as c:
        register_model(c, versions=("1", "2"))
        deployments.promote(c, "churn", "1", actor="ana", reason="first", now=datetime.now(UTC))
        record(c, make_prediction_rows(range(300)))
        record(c, make_prediction_rows(range(300, 600), version="2"))
    return engine


def test_registry_is_listed_for_people_and_for_scripts(on_database: Run, churn: Engine) -> None:
    shown = on_database("models", "list")
    listed = json.loads(on_database("models", "list", "--json").out)

    assert "churn  classification  1, 2      1" in shown.out
    assert [(entry["name"], entry["champion"], len(entry["versions"])) for entry in listed] == [("churn", "1", 2)]


def test_a_model_is_shown_with_the_false_alarms_to_expect(on_database: Run, churn: Engine) -> None:
    shown = on_database("models", "show", "churn")
    found = json.loads(on_database("models", "show", "churn", "--json").out)["false_alarms"]

    assert "false alarms a week at most" in shown.out
    assert set(found) == {"1", "2"}
    assert list(found["1"]["by_window"]) == ["5m", "1h", "1d"]
    assert found["1"]["per_week"] == pytest.approx(7 / 30, rel=0.02)


def test_promotion_and_rollback_are_kept_with_who_and_why(on_database: Run, churn: Engine) -> None:
    assert on_database("models", "promote", "churn", "2", "--reason", "better").out == "Version 2 of churn answers all requests.\n"
    assert on_database("models", "rollback", "churn").out == "Version 1 of churn answers all requests.\n"

    history = json.loads(on_database("models", "history", "churn", "--json").out)
    assert [(row["action"], row["champion"], row["reason"]) for row in history] == [
        ("rollback", "1", ""),
        ("promote", "2", "better"),
        ("promote", "1", "first"),
    ]
    assert history[0]["actor"] == history[1]["actor"] != ""


def test_split_is_set_and_shown(on_database: Run, churn: Engine) -> None:
    told = on_database("deploy", "set", "churn", "--mode", "ab", "--champion", "1", "--challenger", "2", "--weight", "0.3")

    assert told.out == "Version 1 of churn answers 70% of the subjects, version 2 30% (ab).\n"
    shown = json.loads(on_database("deploy", "show", "churn", "--json").out)
    assert (shown["mode"], shown["challenger"], shown["weight"]) == ("ab", "2", 0.3)


def test_deployed_version_cannot_be_archived_and_another_can(on_database: Run, churn: Engine) -> None:
    refused = on_database("models", "archive", "churn", "1")
    archived = on_database("models", "archive", "churn", "2", "--reason", "old")

    assert (refused.status, archived.status) == (1, 0)
    assert "is deployed" in refused.err
    with reading(churn) as c:
        assert [entry.reason for entry in audit.entries(c, target="churn/2")] == ["old"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("models", "show", "nope"), "There is no model nope; the models are churn."),
        (("models", "promote", "churn", "9"), "churn has no version 9; it has 1, 2."),
        (("compare", "churn", "1", "9"), "There is no version 9 of churn; the versions are 1, 2."),
        (("compare", "churn", "1", "1"), "1 and 1 are the same version; name two different ones."),
        (("models", "rollback", "nope"), "There is no model nope; the models are churn."),
        (("models", "promote", "nope", "1"), "There is no model nope; the models are churn."),
        (("labels", "nope", "x.csv"), "There is no model nope; the models are churn."),
        (("labels", "churn", "x.csv"), "There is no file x.csv."),
        (("keys", "revoke", "abc"), "There is no active key abc; `modelwatch keys list` shows all keys."),
        (("deploy", "show", "nope"), "There is no model nope; the models are churn."),
    ],
)
def test_what_is_not_there_is_said_in_one_line(on_database: Run, churn: Engine, arguments: tuple[str, ...], sentence: str) -> None:
    result = on_database(*arguments)

    assert (result.status, result.out, result.err) == (1, "", f"{sentence}\n")


def test_labels_of_a_file_are_stored_once(on_database: Run, churn: Engine, tmp_path: Path) -> None:
    file = tmp_path / "outcomes.csv"
    file.write_text("\ufeffid;label\np0;yes\np1;no\nunheard;no\n;no\n", encoding="utf-8")

    first = json.loads(on_database("labels", "churn", file, "--json").out)
    second = json.loads(on_database("labels", "churn", file, "--json").out)

    assert first == {"accepted": 3, "duplicates": 0, "unknown": 1, "skipped": 1}
    assert second == {"accepted": 0, "duplicates": 3, "unknown": 0, "skipped": 1}


def test_versions_are_compared_on_what_they_answered(on_database: Run, churn: Engine) -> None:
    found = json.loads(on_database("compare", "churn", "1", "2", "--json").out)
    shown = on_database("compare", "churn", "1", "2")

    assert {version: arm["n"] for version, arm in found["arms"].items()} == {"1": 300, "2": 300}
    assert f"Verdict: {found['verdict']}" in shown.out


@pytest.mark.parametrize(("before", "counted"), [(range(0), 25), (range(-40, -30), 10)])
def test_the_minute_of_a_split_counts_where_nothing_was_answered_in_it_before(
    on_database: Run, engine: Engine, before: range, counted: int
) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2"))
        deployments.deploy(c, "churn", mode=Mode.AB, champion="1", challenger="2", weight=0.5, actor="ana", reason="", now=at(45))
        record(c, make_prediction_rows(range(before.start + 60, before.stop + 60)))
        record(c, make_prediction_rows(range(45, 70)))

    found = json.loads(on_database("compare", "churn", "1", "2", "--json").out)

    assert (found["arms"]["1"]["n"], found["arms"]["2"]["n"]) == (counted, 0)


def test_the_text_of_a_comparison_has_its_time_and_both_intervals(on_database: Run, churn: Engine) -> None:
    shown = on_database("compare", "churn", "1", "2").out

    assert "From 2026-03-02 " in shown
    assert "UTC, split." in shown
    assert re.search(r"metric +1 +2 +difference +95% interval +always-valid +margin +p +adjusted p", shown)
    assert "Health: sample ratio p" in shown


def test_subjects_with_many_predictions_are_compared_as_subjects(on_database: Run, engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2"))
        deployments.deploy(c, "churn", mode=Mode.AB, champion="1", challenger="2", weight=0.5, actor="ana", reason="", now=at(-60))
        record(c, [make_prediction_row(number, subject=f"a{number // 10}") for number in range(300)])
        record(c, [challenger(number, subject=f"{'ab'[number >= 60]}{number // 10}") for number in range(300)])

    found = json.loads(on_database("compare", "churn", "1", "2", "--json").out)

    assert {version: arm["subjects"] for version, arm in found["arms"].items()} == {"1": 30, "2": 30}
    assert found["health"]["mixed"] == {"subjects": 54, "both": 6, "share": pytest.approx(6 / 54)}
    assert found["metrics"]["error_rate"]["units"] == 60
    assert found["verdict"] == "unhealthy"
    assert "6 of 54 subjects (11.1%) met both versions" in found["reasons"][0]


def keep_hours_only(engine: Engine) -> None:
    """Merges all counts, and drops those below an hour."""
    later = at(40 * 86_400)
    with writing(engine) as c:
        for part in loose_parts(c, later):
            compact(c, part, later)
        for version in ("1", "2"):
            assert thin(c, "churn", version, minutes_before=later, hours_before=at(-86_400)) > 0


@pytest.mark.parametrize("role", ["challenger", "shadow"])
def test_a_time_that_cuts_an_hour_kept_whole_is_widened_and_said(on_database: Run, engine: Engine, role: str) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2"))
        deployments.promote(c, "churn", "1", actor="ana", reason="", now=at(-60))
        record(c, make_prediction_rows(range(300)))
        record(c, [challenger(n, role=role, shadow_of=f"p{n}" if role == "shadow" else None) for n in range(300)])
    keep_hours_only(engine)

    found = json.loads(on_database("compare", "churn", "1", "2", "--since", "2026-03-02T12:01:30Z", "--json").out)
    shown = on_database("compare", "churn", "1", "2", "--since", "2026-03-02T12:01:30Z").out

    assert found["start"] == "2026-03-02T12:00:00Z"
    assert {version: arm["n"] for version, arm in found["arms"].items()} == {"1": 300, "2": 300}
    assert any("kept by the hour or the day" in note for note in found["notes"])
    assert "From 2026-03-02 12:00:00" in shown
    assert "Note: older counts are kept by the hour or the day" in shown


def test_what_was_answered_before_a_split_stays_out_where_only_hours_are_kept(on_database: Run, engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2"))
        deployments.deploy(c, "churn", mode=Mode.AB, champion="1", challenger="2", weight=0.5, actor="ana", reason="", now=at(200))
        record(c, make_prediction_rows(range(300)))
        record(c, make_prediction_rows(range(3600, 3650)))
        record(c, [challenger(n) for n in (*range(200, 300), *range(3650, 3700))])
    keep_hours_only(engine)

    found = json.loads(on_database("compare", "churn", "1", "2", "--json").out)

    assert found["start"] == "2026-03-02T13:00:00Z"
    assert {version: arm["n"] for version, arm in found["arms"].items()} == {"1": 50, "2": 50}
    assert found["health"]["sample_ratio_p"] == 1.0


def challenger(number: int, **changes: object) -> PredictionRow:
    return make_prediction_row(number, **{"id": f"q{number}", "version": "2", "role": "challenger", **changes})


@pytest.mark.parametrize("turned", [False, True])
def test_a_shadow_is_compared_with_what_it_shadowed(on_database: Run, engine: Engine, turned: bool) -> None:
    """The champion is wrong where its number is odd, the shadow never: 600 pairs, all labelled."""
    with writing(engine) as c:
        register_model(c, versions=("1", "2"))
        deployments.promote(c, "churn", "1", actor="ana", reason="", now=at(-60))
        record(c, make_prediction_rows(range(600), prediction="no"))
        record(c, [challenger(n, role="shadow", shadow_of=f"p{n}", prediction=("no", "yes")[n % 2]) for n in range(600)])
        new = [Label(prediction_id=f"p{n}", label=("no", "yes")[n % 2], at=at(900)) for n in range(600)]
        record_labels(c, "churn", new, LayoutLookup(c), writer="w1", bucket_seconds=60, now=at(900))
    versions = ("2", "1") if turned else ("1", "2")

    found = json.loads(on_database("compare", "churn", *versions, "--json").out)
    shown = on_database("compare", "churn", *versions).out

    assert (found["design"], found["winner"]) == ("shadow", "2")
    assert found["verdict"] == ("roll back" if turned else "ship")
    assert found["metrics"]["accuracy"]["difference"] == (-0.5 if turned else 0.5)
    assert (found["disagreement"]["n"], found["disagreement"]["rate"]) == (600, 0.5)
    assert "Different answers to the same input: 0.5 of 600" in shown


def test_the_agreed_runtime_must_be_a_duration(on_database: Run, churn: Engine) -> None:
    result = on_database("compare", "churn", "1", "2", "--min-runtime", "soon")

    assert (result.status, "--min-runtime soon is not a duration" in result.err) == (2, True)


def test_comparison_without_answers_says_what_counts(on_database: Run, engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2"))

    assert "Nothing is counted yet." in on_database("compare", "churn", "1", "2").out


def test_key_is_shown_once_and_can_be_revoked(on_database: Run, engine: Engine) -> None:
    key = on_database("keys", "create", "--scope", "read", "--note", "grafana").out.strip()
    listed = json.loads(on_database("keys", "list", "--json").out)

    assert key.startswith("mw_")
    assert [(entry["scope"], entry["note"]) for entry in listed] == [("read", "grafana")]
    assert key.split("_", 2)[2] not in on_database("keys", "list").out
    assert on_database("keys", "revoke", listed[0]["id"]).status == 0
    assert json.loads(on_database("keys", "list", "--json").out)[0]["revoked_at"] is not None


def test_schema_state_is_told_before_and_after_upgrade(run_command: Run, empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWATCH_DATABASE_URL", empty_url)

    before, refused = run_command("db", "status"), run_command("models", "list")
    upgraded, after = run_command("db", "upgrade"), run_command("db", "status", "--json")

    assert before.status == 1
    assert "Run `modelwatch db upgrade`." in before.out
    assert refused.status == 1
    assert "modelwatch db upgrade" in refused.err
    assert upgraded.status == 0
    assert json.loads(after.out)["state"] == "current"


def test_alerts_are_listed(on_database: Run, engine: Engine) -> None:
    assert on_database("alerts", "list").out == "No alert is active; --all shows the others.\n"
    assert json.loads(on_database("alerts", "list", "--all", "--json").out) == []
