"""Which jobs a collector has."""

from __future__ import annotations

from sqlalchemy import Engine

from collector import probes
from collector.comparison_job import ComparisonJob
from collector.housekeeping import CompactionJob, RetentionJob
from collector.label_sweep import LabelSweep
from collector.outcome import Job
from collector.resources_job import ResourcesJob
from collector.sample_jobs import SampleJob
from collector.segments_job import SegmentsJob
from collector.settings import CollectorSettings
from collector.statistics_job import StatisticsJob
from collector.uptime import UptimeJob


def make_jobs(engine: Engine, settings: CollectorSettings) -> list[Job]:
    """Every job of a collector: one or two per window length, comparisons, samples, the sweep of labels, uptime, resources, housekeeping."""
    plans = settings.plans
    judging = settings.judging
    statistics = [
        StatisticsJob(engine=engine, settings=settings, plan=plan, judging=judging, is_shortest=plan is plans[0]) for plan in plans
    ]
    return [
        *statistics,
        *(SegmentsJob(engine=engine, settings=settings, plan=plan) for plan in plans if settings.segment_fields.names),
        ComparisonJob(engine=engine, settings=settings),
        SampleJob(engine=engine, settings=settings),
        LabelSweep(settings=settings),
        UptimeJob(engine=engine, urls=settings.sidecars, plans=plans),
        ResourcesJob(engine=engine, probe=probes.Probe(home=settings.home), settings=settings),
        CompactionJob(engine=engine, settings=settings),
        RetentionJob(engine=engine, settings=settings),
    ]
