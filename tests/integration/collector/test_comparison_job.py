"""The comparison job writes the sample ratio by subject and the disagreement of shadows, once an interval."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine, update

from collector.settings import CollectorSettings
from storage import deployments
from storage.compaction import compact, loose_parts, thin
from storage.comparisons import load_comparison
from storage.engine import reading, writing
from storage.records import Mode, PredictionRow, Verdict
from storage.schema import layouts
from tests.factories import NOW
from tests.integration.collector.test_jobs import MINUTE, Bench
from tests.integration.collector.traffic import predictions, register, send, settings_for

AFTER = NOW + timedelta(seconds=6)


@pytest.fixture
def settings(database_url: str, home: Path) -> CollectorSettings:
    return settings_for(database_url, home)


def split(engine: Engine, model: str = "churn") -> None:
    with writing(engine) as c:
        register(c, model, versions=("1", "2"))
        deployments.deploy(
            c, model, mode=Mode.AB, champion="1", challenger="2", weight=0.5, actor="ana", reason="", now=NOW - timedelta(hours=2)
        )


def of_subjects(rows: list[PredictionRow], prefix: str, each: int) -> list[PredictionRow]:
    """The rows, ``each`` of them by one subject."""
    return [msgspec.structs.replace(row, subject=f"{prefix}{number // each}") for number, row in enumerate(rows)]


def test_the_sample_ratio_counts_subjects_not_what_they_send(engine: Engine, settings: CollectorSettings) -> None:
    """150 subjects send one prediction each to one arm, 150 send four each to the other: that is the agreed half."""
    split(engine)
    send(engine, of_subjects(predictions(NOW - 5 * MINUTE, 300, 150), "a", 1))
    send(engine, of_subjects(predictions(NOW - 5 * MINUTE, 300, 600, version="2", role="challenger"), "b", 4))
    bench = Bench(engine, settings)

    assert bench.run(AFTER, "comparison")

    (point,) = bench.points("sample_ratio_p")
    assert (point.version, point.segment, point.window_seconds, point.at) == ("2", "unit=subject", 3600, NOW)
    assert (point.value, point.p_value, point.n_current, point.verdict) == (1.0, 1.0, 300, Verdict.OK)


def test_a_split_that_is_off_is_drift(engine: Engine, settings: CollectorSettings) -> None:
    split(engine)
    send(engine, of_subjects(predictions(NOW - 5 * MINUTE, 300, 300), "a", 1))
    send(engine, of_subjects(predictions(NOW - 5 * MINUTE, 300, 100, version="2", role="challenger"), "b", 1))
    bench = Bench(engine, settings)

    bench.run(AFTER, "comparison")

    (point,) = bench.points("sample_ratio_p")
    assert (point.verdict, point.threshold) == (Verdict.DRIFT, 0.001)


def shadowed(engine: Engine, n: int, wrong: int) -> None:
    """``n`` answers of the champion and of its shadow, which differ in ``wrong``."""
    with writing(engine) as c:
        register(c, versions=("1", "2"))
        deployments.promote(c, "churn", "1", actor="ana", reason="", now=NOW - timedelta(days=1))
    answered = predictions(NOW - 5 * MINUTE, 300, n)
    other = {"yes": "no", "no": "yes"}
    shadows = [
        msgspec.structs.replace(
            row,
            id=f"shadow-{row.id}",
            version="2",
            role="shadow",
            shadow_of=row.id,
            prediction=other[str(row.prediction)] if number < wrong else row.prediction,
        )
        for number, row in enumerate(answered)
    ]
    send(engine, answered + shadows)


@pytest.mark.parametrize(("n", "verdict"), [(200, Verdict.OK), (40, Verdict.INSUFFICIENT)])
def test_a_shadow_has_a_disagreement_rate(engine: Engine, settings: CollectorSettings, n: int, verdict: Verdict) -> None:
    shadowed(engine, n, n // 10)
    bench = Bench(engine, settings)

    bench.run(AFTER, "comparison")

    (point,) = bench.points("disagreement_rate")
    assert (point.version, point.role, point.window_seconds, point.n_current) == ("2", "shadow", 3600, n)
    assert (point.value, point.verdict) == (0.1, verdict)
    assert point.lower is not None
    assert point.upper is not None
    assert point.lower < 0.1 < point.upper


def test_the_whole_comparison_of_a_split_is_kept(engine: Engine, settings: CollectorSettings) -> None:
    split(engine)
    send(engine, of_subjects(predictions(NOW - 5 * MINUTE, 300, 150), "a", 1))
    send(engine, of_subjects(predictions(NOW - 5 * MINUTE, 300, 120, version="2", role="challenger"), "b", 1))
    bench = Bench(engine, settings)

    bench.run(AFTER, "comparison")

    with reading(engine) as c:
        kept = load_comparison(c, "churn", "1", "2")
        deployed = deployments.current(c, "churn")
    assert kept is not None
    assert deployed is not None
    assert (kept.deployment_id, kept.end) == (deployed.id, NOW)
    assert {name: arm["n"] for name, arm in kept.document["arms"].items()} == {"1": 150, "2": 120}
    assert kept.document["design"] == "split"


def test_the_whole_comparison_of_a_shadow_is_kept(engine: Engine, settings: CollectorSettings) -> None:
    shadowed(engine, 200, 20)
    bench = Bench(engine, settings)

    bench.run(AFTER, "comparison")
    bench.run(AFTER + 5 * MINUTE, "comparison")

    with reading(engine) as c:
        kept = load_comparison(c, "churn", "1", "2")
    assert kept is not None
    assert (kept.end, kept.document["design"]) == (NOW + 5 * MINUTE, "shadow")
    assert kept.document["disagreement"]["rate"] == 0.1


def test_before_the_first_answer_nothing_is_kept(engine: Engine, settings: CollectorSettings) -> None:
    split(engine)
    bench = Bench(engine, settings)

    bench.run(AFTER, "comparison")

    with reading(engine) as c:
        assert load_comparison(c, "churn", "1", "2") is None


def test_a_window_that_cuts_an_hour_kept_whole_is_compared_all_the_same(engine: Engine, settings: CollectorSettings) -> None:
    """Half an hour of pairs, of which the window holds the newer part."""
    shadowed(engine, 200, 20)
    later = NOW + timedelta(days=3)
    with writing(engine) as c:
        for part in loose_parts(c, later):
            compact(c, part, later)
        for version in ("1", "2"):
            assert thin(c, "churn", version, minutes_before=later, hours_before=NOW - timedelta(days=3)) > 0
    bench = Bench(engine, settings.model_copy(update={"comparison_window": timedelta(minutes=30)}))

    assert bench.run(AFTER, "comparison")

    assert bench.job("comparison").error is None
    assert [(point.n_current, point.window_seconds) for point in bench.points("disagreement_rate")] == [(200, 1800)]


def test_it_looks_once_an_interval(engine: Engine, settings: CollectorSettings) -> None:
    shadowed(engine, 200, 20)
    bench = Bench(engine, settings)

    for minute in (0, 1, 4, 5, 6, 23):
        bench.run(AFTER + minute * MINUTE, "comparison")

    assert [point.at for point in bench.points("disagreement_rate")] == [NOW, NOW + 5 * MINUTE, NOW + 20 * MINUTE]


def test_a_model_that_fails_does_not_stop_the_others(engine: Engine, settings: CollectorSettings) -> None:
    shadowed(engine, 200, 20)
    split(engine, "broken")
    send(engine, predictions(NOW - 5 * MINUTE, 300, 50, model="broken", version="2", role="challenger"))
    with writing(engine) as c:
        c.execute(update(layouts).where(layouts.c.model == "broken").values(bins={}))
    bench = Bench(engine, settings)

    bench.run(AFTER, "comparison")

    assert len(bench.points("disagreement_rate")) == 1
    assert "broken: KeyError" in (bench.job("comparison").error or "")


def test_nothing_deployed_is_nothing_to_compare(engine: Engine, settings: CollectorSettings) -> None:
    bench = Bench(engine, settings)

    assert bench.run(AFTER, "comparison")
    assert bench.job("comparison").done_until == NOW
