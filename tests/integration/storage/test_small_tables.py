"""Audit, jobs, spools, resources and profiles come back as they were written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import Engine, select

from storage import audit, jobs, profiles, resources, schema, spools
from storage.arrays import CorruptCounts
from storage.engine import writing
from storage.layouts import count_labels, count_predictions
from storage.records import AuditEntry, JobRun, Profile, ResourceSample
from storage.rows import columns_of
from tests.factories import at, make_layout, make_rows, make_signature, register_model


def test_audit_entries_come_newest_first(engine: Engine) -> None:
    entries = [
        AuditEntry(at=at(n), actor="ana", action="promote", target=f"m{n % 2}", reason="ü", details={"n": n}) for n in range(4)
    ]
    with writing(engine) as c:
        for entry in entries:
            audit.record(c, entry)

        assert audit.entries(c) == entries[::-1]
        assert audit.entries(c, target="m1", limit=1) == [entries[3]]


def test_of_a_job_the_last_run_is_kept(engine: Engine) -> None:
    first = JobRun(name="drift", started_at=at(), error="it broke")
    last = JobRun(name="drift", started_at=at(60), finished_at=at(61), succeeded_at=at(61), done_until=at(60), duration_seconds=0.5)
    with writing(engine) as c:
        jobs.record_run(c, first)
        jobs.record_run(c, last)
        jobs.record_run(c, replace(first, name="accuracy"))

        assert jobs.get_run(c, "drift") == last
        assert [run.name for run in jobs.runs(c)] == ["accuracy", "drift"]
        assert jobs.get_run(c, "none") is None


def test_the_position_of_a_spool_is_the_last_one_saved(engine: Engine) -> None:
    with writing(engine) as c:
        assert spools.load_position(c, "w1") is None
        spools.save_position(c, "w1", "0001", 10, at())
        spools.save_position(c, "w1", "0002", 2**40, at(1))

        assert spools.load_position(c, "w1") == ("0002", 2**40)
        assert spools.load_position(c, "w2") is None


def test_resource_samples_are_stored_as_they_are(engine: Engine) -> None:
    samples = [
        ResourceSample(at=at(n), host="h", process=("serve", "collect")[n % 2], cpu_percent=12.5, memory_rss_bytes=2**40)
        for n in range(4)
    ]
    with writing(engine) as c:
        resources.add_samples(c, samples)
        resources.add_samples(c, [])

        stored = c.execute(select(*columns_of(schema.resources, ResourceSample)).order_by(schema.resources.c.at)).mappings()
        assert [ResourceSample(**row) for row in stored] == samples


def test_a_profile_comes_back_with_its_counts(engine: Engine) -> None:
    with writing(engine) as c:
        layout = register_model(c)
        counts = count_predictions(layout, make_rows(make_signature(), 50), [0.5] * 50, ["yes"] * 50)
        profile = Profile(
            model="churn",
            version="1",
            layout_id=layout.id,
            rows=50,
            counts=counts,
            labels=count_labels(layout, [0.5, 0.7], ["yes", "no"], ["yes", "yes"], [0.0, 0.0]),
            performance={"accuracy": 0.9},
            thresholds={"psi": {"age": 0.21}},
            constraints={"age": {"minimum": 18}},
            sample=b"PAR1\0\xff",
            created_at=at(),
        )
        profiles.save_profile(c, replace(profile, performance={}))
        profiles.save_profile(c, profile)

        back = profiles.load_profile(c, "churn", "1", layout)
        assert profiles.load_profile(c, "churn", "2", layout) is None
        with pytest.raises(CorruptCounts):
            profiles.load_profile(c, "churn", "1", make_layout(replace(make_signature(), features=make_signature().features[:2])))
    assert back is not None
    assert (back.rows, back.performance, back.sample, back.created_at) == (50, {"accuracy": 0.9}, b"PAR1\0\xff", at())
    np.testing.assert_array_equal(back.counts.bins, counts.bins)
    np.testing.assert_array_equal(back.counts.moments, counts.moments)
    np.testing.assert_array_equal(back.counts.classes, counts.classes)
    np.testing.assert_array_equal(back.labels.score_by_class, profile.labels.score_by_class)
    np.testing.assert_array_equal(back.labels.confusion, profile.labels.confusion)
    assert (back.thresholds, back.constraints) == ({"psi": {"age": 0.21}}, {"age": {"minimum": 18}})
