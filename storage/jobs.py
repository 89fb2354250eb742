"""The last run of each scheduled job."""

from __future__ import annotations

from sqlalchemy import Connection, select

from storage.dialects import upsert
from storage.records import JobRun
from storage.rows import columns_of, values_of
from storage.schema import jobs


def record_run(c: Connection, run: JobRun) -> None:
    """Replaces what is known of the job by this run."""
    upsert(c, jobs, [values_of(run)], key=["name"])


def runs(c: Connection) -> list[JobRun]:
    """The last run of every job, by name."""
    return [JobRun(**row) for row in c.execute(select(*columns_of(jobs, JobRun)).order_by(jobs.c.name)).mappings()]


def get_run(c: Connection, name: str) -> JobRun | None:
    """The last run of one job; None where it has never run."""
    row = c.execute(select(*columns_of(jobs, JobRun)).where(jobs.c.name == name)).mappings().one_or_none()
    return None if row is None else JobRun(**row)
