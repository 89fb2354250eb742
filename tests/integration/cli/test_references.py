"""`modelwatch references` on both databases."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Engine

from storage import audit
from storage.engine import reading, writing
from tests.factories import register_model
from tests.integration.cli.conftest import Run


@pytest.fixture
def churn(engine: Engine) -> Engine:
    with writing(engine) as c:
        register_model(c)
    return engine


def test_references_and_exclusions_are_listed_and_taken_back(on_database: Run, churn: Engine) -> None:
    added = on_database("references", "add", "churn", "weeks", "--kind", "same-hours", "--weeks", 4)
    on_database(
        "references", "add", "churn", "launch", "--kind", "pinned", "--start", "2026-09-01", "--end", "2026-10-01T02:00+02:00"
    )
    on_database("references", "exclude", "churn", "2026-09-03T10:00", "2026-09-03T16:00", "--reason", "outage")

    listed = json.loads(on_database("references", "list", "churn", "--json").out)
    shown = on_database("references", "list", "churn").out

    assert added.out == "Windows of churn are held against weeks too: the window's hours in each of the 4 weeks before.\n"
    assert [(one["name"], one["kind"], one["end"], one["weeks"]) for one in listed["references"]] == [
        ("launch", "pinned", "2026-10-01T00:00:00Z", 0),
        ("weeks", "same-hours", None, 4),
    ]
    assert [(one["start"], one["reason"]) for one in listed["exclusions"]] == [("2026-09-03T10:00:00Z", "outage")]
    assert "launch     what it answered from 2026-09-01 00:00:00 to 2026-10-01 00:00:00" in shown
    assert on_database("references", "include", listed["exclusions"][0]["id"]).status == 0
    assert on_database("references", "remove", "churn", "weeks").status == 0
    left = json.loads(on_database("references", "list", "churn", "--json").out)
    assert ([one["name"] for one in left["references"]], left["exclusions"]) == (["launch"], [])
    with reading(churn) as c:
        assert [entry.action for entry in audit.entries(c, target="churn/weeks")] == ["remove reference", "add reference"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--kind", "monthly"), "--kind monthly is not one of pinned, previous, sliding, same-hours, other-arm."),
        (("--kind", "pinned", "--start", "2026-09-01"), "--kind pinned needs --end."),
        (("--kind", "previous", "--length", "1d"), "--kind previous takes no --length."),
        (("--kind", "sliding", "--length", "soon"), "--length: 'soon' is not a duration"),
        (("--kind", "sliding", "--length", "0s"), "--length 0s is no time at all."),
        (("--kind", "same-hours", "--weeks", 0), "--weeks 0 is not between 1 and 53."),
        (("--kind", "pinned", "--start", "2026-09-02", "--end", "2026-09-01"), "2026-09-02 is not before 2026-09-01."),
        (("--kind", "pinned", "--start", "then", "--end", "2026-09-01"), "then is not a time"),
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(run_command: Run, arguments: tuple[object, ...], sentence: str) -> None:
    refused = run_command("references", "add", "churn", "r", *arguments)

    assert refused.status == 2
    assert refused.err.startswith(sentence)


def test_what_is_not_there_is_said_and_changes_nothing(on_database: Run, churn: Engine) -> None:
    on_database("references", "add", "churn", "before", "--kind", "previous")

    assert "has a reference before already" in on_database("references", "add", "churn", "before", "--kind", "previous").err
    assert "no reference weeks" in on_database("references", "remove", "churn", "weeks").err
    assert "no exclusion 7" in on_database("references", "include", 7).err
    assert on_database("references", "add", "nobody", "r", "--kind", "previous").status == 1
    assert on_database("references", "add", "churn", "training", "--kind", "previous").status == 2
