"""Runs the collector's jobs on a schedule, each under a lease, so that of several collectors one does each job.

APScheduler says when; the lease says who; the transaction that writes a job's result also asks whether the lease still
holds, so the work of a collector that was frozen and replaced is thrown away.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from collector.jobs import make_jobs
from collector.metrics import Exporter
from collector.outcome import Job, Outcome, now_utc
from collector.resources_job import ResourcesJob
from collector.settings import CollectorSettings
from storage import jobs as job_runs
from storage import leases
from storage.engine import DatabaseUnavailable, create_engine, reading, writing
from storage.records import JobRun, Lease
from storage.service import exporting, owner_name, stopping, wait_for_database

_logger = logging.getLogger(__name__)

DRAIN_SECONDS = 5.0


class LeaseLost(Exception):
    """Another collector has taken the job over while this one worked on it; what it gathered was thrown away."""


@dataclass(slots=True, kw_only=True)
class Runner:
    """Runs jobs once each when told to; keeps whether the database answered, to log only when that changes."""

    engine: Engine
    owner: str
    lease_time: timedelta
    clock: Callable[[], datetime] = now_utc
    held: dict[str, Lease] = field(default_factory=dict)
    reachable: bool = True

    def run(self, job: Job) -> bool:
        """Do the job if nobody else holds it; returns whether it was done. Never raises: the next tick tries again."""
        try:
            done = self._run(job)
        except DatabaseUnavailable as error:
            self._note_database(str(error))
            return False
        except LeaseLost:
            self.held.pop(job.name, None)
            _logger.warning("another collector took the job over", extra={"job": job.name})
            return False
        except Exception as error:
            _logger.exception("a job failed", extra={"job": job.name})
            self._record_failure(job, error)
            return False
        self._note_database(None)
        return done

    def _run(self, job: Job) -> bool:
        started = self.clock()
        lease = self._acquire(job)
        if lease is None:
            return False
        with reading(self.engine) as c:
            previous = job_runs.get_run(c, job.name)
        outcome = job.gather(started, previous, lambda: self._keep(job, lease))
        finished = self.clock()
        run = _run_record(job.name, started, finished, previous, outcome)
        with writing(self.engine) as c:
            if not leases.still_held(c, lease, finished):
                raise LeaseLost
            if outcome is not None:
                outcome.write(c)
            job_runs.record_run(c, run)
        return True

    def _acquire(self, job: Job) -> Lease | None:
        """The lease if it is free or one's own; one that holds for long yet is not renewed at every tick."""
        held = self.held.get(job.name)
        if held is not None and held.expires_at - self.clock() > self.lease_time / 2:
            return held
        with writing(self.engine) as c:
            lease = leases.acquire(c, lease_name(job), self.owner, ttl=self.lease_time, now=self.clock())
        before = self.held.pop(job.name, None)
        if lease is None:
            return None
        if before is None or before.epoch != lease.epoch:
            _logger.info("this collector does the job", extra={"job": job.name})
        self.held[job.name] = lease
        return lease

    def _keep(self, job: Job, lease: Lease) -> None:
        """Renew the lease once half of it has passed. Raises LeaseLost where another collector has it."""
        now = self.clock()
        if self.held[job.name].expires_at - now > self.lease_time / 2:
            return
        with writing(self.engine) as c:
            renewed = leases.acquire(c, lease.name, self.owner, ttl=self.lease_time, now=now)
        if renewed is None or renewed.epoch != lease.epoch:
            raise LeaseLost
        self.held[job.name] = renewed

    def _record_failure(self, job: Job, error: Exception) -> None:
        try:
            with writing(self.engine) as c:
                previous = job_runs.get_run(c, job.name)
                now = self.clock()
                problem = Outcome(write=lambda _: None, problems=(f"{type(error).__name__}: {error}",))
                job_runs.record_run(c, _run_record(job.name, now, now, previous, problem))
        except DatabaseUnavailable as unavailable:
            self._note_database(str(unavailable))

    def _note_database(self, problem: str | None) -> None:
        if problem is None and not self.reachable:
            _logger.info("the database answers again")
        elif problem is not None and self.reachable:
            _logger.warning("%s Trying again at the next tick.", problem)
        self.reachable = problem is None

    def release(self) -> None:
        """Give all leases back, so that another collector can go on at once."""
        try:
            with writing(self.engine) as c:
                for lease in self.held.values():
                    leases.release(c, lease)
        except DatabaseUnavailable:
            _logger.warning("the leases could not be given back; they run out by themselves")
        self.held.clear()


def lease_name(job: Job) -> str:
    """Resources are measured on every host; any other job is done once."""
    return f"collector/{job.name}/{job.probe.host}" if isinstance(job, ResourcesJob) else f"collector/{job.name}"


def _run_record(name: str, started: datetime, finished: datetime, previous: JobRun | None, outcome: Outcome | None) -> JobRun:
    """A run with problems is finished but has not succeeded, though what worked in it was written."""
    problems = outcome.problems if outcome else ()
    done_until = outcome.done_until if outcome else None
    return JobRun(
        name=name,
        started_at=started,
        finished_at=finished,
        succeeded_at=(previous.succeeded_at if previous else None) if problems else finished,
        error="; ".join(problems) or None,
        done_until=done_until or (previous.done_until if previous else None),
        duration_seconds=(finished - started).total_seconds(),
    )


# ---------------------------------------------------------------------------------------------- the process


def run(settings: CollectorSettings) -> int:
    """Collect until SIGTERM or SIGINT; 0 after a clean stop.

    A database that is away is waited for, at the start too. Raises SettingsError where the port is taken or a setting is
    wrong, SchemaMismatch where the database is older or newer than this program.
    """
    engine = create_engine(settings.database)
    runner = Runner(engine=engine, owner=owner_name(), lease_time=settings.lease_time)
    jobs = make_jobs(engine, settings)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Exporter(engine=engine, settings=settings, job_names=[job.name for job in jobs]))
    exporter = exporting(
        registry,
        settings.host,
        settings.collector_port,
        trusted=settings.trusted_network,
        variable="MODELWATCH_COLLECTOR_PORT",
    )
    with exporter, stopping() as stop:
        try:
            if wait_for_database(engine, stop):
                _collect(runner, jobs, settings, stop)
        finally:
            engine.dispose()
    return 0


def _collect(runner: Runner, jobs: Sequence[Job], settings: CollectorSettings, stop: threading.Event) -> None:
    scheduler = make_scheduler(runner, jobs, settings)
    scheduler.start()
    _logger.info("collecting", extra={"windows": settings.windows, "interval_seconds": settings.collect_interval.total_seconds()})
    stop.wait()
    _logger.info("stopping")
    closer = threading.Thread(target=scheduler.shutdown, daemon=True, name="scheduler-shutdown")
    closer.start()
    closer.join(DRAIN_SECONDS)  # a job that hangs in the database does not keep the process from ending
    runner.release()


def make_scheduler(runner: Runner, jobs: Sequence[Job], settings: CollectorSettings) -> BackgroundScheduler:
    """Every job at each collect interval, at once at the start, never twice at a time; missed ticks are made up for by one."""
    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(max_workers=len(jobs))},
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    for job in jobs:
        trigger = IntervalTrigger(seconds=settings.collect_interval.total_seconds(), timezone=UTC)
        scheduler.add_job(runner.run, trigger, args=[job], id=job.name, next_run_time=now_utc())
    return scheduler
