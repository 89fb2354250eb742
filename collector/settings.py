"""Settings of the collector."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import ByteSize, Field, ValidationInfo, field_validator

from collector.drift_points import FURTHER_NAMES
from collector.judging import Judging
from collector.statistics.budget import Persistence
from collector.statistics.floors import Floors
from collector.statistics.performance import Tolerances
from collector.windows import WindowPlan, parse_plans
from storage.durations import format_duration, parse_duration
from storage.resolution import DAY, HOUR
from storage.settings import Duration, PositiveDuration, Settings
from storage.thinning import PointAges

Share = Annotated[float, Field(ge=0, le=1)]


def _default_spool(values: dict[str, Any]) -> Path:
    return Path(values.get("home", "modelwatch-data")) / "spool"


def _parts(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _default_archive(values: dict[str, Any]) -> Path:
    return Path(values.get("home", "modelwatch-data")) / "archive"


def _long_enough(kept: timedelta, unit: int, info: ValidationInfo) -> timedelta:
    """Counts finer than ``unit`` seconds must last until no window that needs them is computed again."""
    needed = ("windows", "collect_interval", "rollup_seconds", "restate_windows", "restate_labels", "window_lag")
    if any(name not in info.data for name in needed):
        return kept  # another setting is wrong, and that is what is said
    windows, interval, bucket_seconds, restate_windows, restate_labels, lag = (info.data[name] for name in needed)
    for plan in parse_plans(windows, interval, bucket_seconds):
        back = max(restate_windows * plan.step, restate_labels) + plan.step + plan.length + lag
        if math.gcd(plan.seconds, round(plan.step.total_seconds())) % unit and back > kept:
            raise ValueError(f"the windows of {plan.name} are computed again for {format_duration(back)}, so keep at least that")
    return kept


class CollectorSettings(Settings):
    """What `modelwatch collect` reads."""

    host: str = Field(
        "127.0.0.1",
        description="Address of the Prometheus exporter; loopback is used instead of any other unless `trusted_network` is set.",
    )
    collector_port: int = Field(9101, ge=1, le=65535, description="Port of the collector's Prometheus exporter.")
    windows: str = Field("5m,1h,1d", description="Lengths of the windows that statistics are computed over, shortest to longest.")
    collect_interval: PositiveDuration = Field(timedelta(minutes=1), description="How often the collector looks for work.")
    window_lag: Duration = Field(
        timedelta(seconds=5), description="How long after its end a window is computed, so that its last predictions have arrived."
    )
    catch_up_windows: int = Field(
        288,
        ge=1,
        le=10_000,
        description="Most windows of one length that are computed at once after an outage; older ones are left out.",
    )
    restate_windows: int = Field(
        12, ge=0, le=1000, description="How many earlier windows are computed again when predictions for them arrive late."
    )
    restate_labels: Duration = Field(
        timedelta(days=1), description="How far back performance is computed again when labels arrive late."
    )
    false_alarm_days: float = Field(
        30.0,
        gt=0,
        description="Days of traffic without any drift in which one false drift verdict is accepted, over all features, windows and statistics of a version.",
    )
    drift_persistence: str = Field(
        "2/3",
        description="Drift also where this many of the last windows (that do not overlap) are beyond a lower threshold; `1/1` for one window alone.",
    )
    min_samples: int = Field(200, ge=10, description="Rows that a window and its reference need for a drift verdict.")
    min_labels: int = Field(100, ge=10, description="Labelled predictions that a window needs for a verdict on performance.")
    floor_ks: Share = Field(0.05, description="Least Kolmogorov-Smirnov distance that can be drift.")
    floor_shift: float = Field(0.1, ge=0, description="Least rank shift, in standard deviations, that can be drift.")
    floor_psi: float = Field(0.1, ge=0, description="Least PSI that can be drift.")
    floor_js: Share = Field(0.05, description="Least Jensen-Shannon distance (base 2) that can be drift.")
    floor_missing: Share = Field(0.02, description="Least change of the share of missing values that can be drift.")
    floor_unseen: Share = Field(0.01, description="Least rise of the share of unseen categories that can be drift.")
    floor_out_of_range: Share = Field(0.01, description="Least rise of the share of out-of-range numbers that can be drift.")
    drift_share_limit: Share = Field(0.3, description="Share of drifted features from which `drift_share` itself counts as drift.")
    further_statistics: str = Field(
        "mean_shift,wasserstein,chi2",
        description="Drift statistics that are kept beside the judged ones, of kl, hellinger, wasserstein, mean_shift and chi2.",
    )
    score_tolerance: Share = Field(0.05, description="How far accuracy and AUC may fall below the reference before it is drift.")
    error_tolerance: float = Field(
        0.1, ge=0, description="How far the mean absolute error may rise above the reference, as a share of it, before it is drift."
    )
    comparison_interval: PositiveDuration = Field(
        timedelta(minutes=5),
        description="How often running splits are compared by subject, and shadows pair by pair; at most a twelfth of `comparison_window`, or rules find no data in between.",
    )
    comparison_window: PositiveDuration = Field(
        timedelta(hours=1), description="Length of the window that `disagreement_rate` of a shadow is computed over."
    )
    sample_interval: PositiveDuration = Field(
        timedelta(hours=1),
        description="How often data quality and multivariate drift are computed from a sample of rows, and the window that it is of.",
    )
    sample_rows: int = Field(2000, ge=0, le=20_000, description="Most rows of a version in such a sample; 0 turns it off.")
    sample_reach: Duration = Field(
        timedelta(days=1), description="How far back a sample goes for `min_samples` rows where its window has fewer."
    )
    floor_multivariate: Share = Field(0.55, description="Least AUC of the domain classifier that can be drift.")
    floor_reconstruction: float = Field(
        0.2, ge=0, description="Least change of the reconstruction error, in deviations of a reference row's, that can be drift."
    )
    export_window: str = Field(
        "", description="Window length that the Prometheus exporter shows (the default: the shortest of `windows`)."
    )
    inference_urls: str = Field(
        "",
        description="Addresses of the sidecars that are asked at each interval whether they are ready, for `uptime`, with commas "
        "(`modelwatch up` fills in its own).",
    )
    spool_folder: Path = Field(
        default_factory=_default_spool,
        description="Folder of the predictions that are not in the database yet, measured where it is on this host (the default: `spool` in the home folder).",
    )

    retention_minutes: PositiveDuration = Field(
        timedelta(days=7), description="How long counts are kept by the rollup width; after that by the hour."
    )
    retention_hours: PositiveDuration = Field(
        timedelta(days=90), description="How long counts are kept by the hour; after that by the day, for ever."
    )
    retention_raw: PositiveDuration | None = Field(
        None, description="How long predictions and their labels stay in the database (the default: for ever)."
    )
    retention_max_bytes: ByteSize | None = Field(
        None,
        gt=0,
        description="Most space of predictions in the database, about; the oldest whole days go first (the default: any).",
    )
    retention_archive: bool = Field(True, description="Predictions that go are written to Parquet files first.")
    retention_folder: Path = Field(
        default_factory=_default_archive, description="Folder of these files (the default: `archive` in the home folder)."
    )
    retention_points_every: PositiveDuration = Field(
        timedelta(days=7),
        description="How long every point of a metric is kept, or longer where the collector looks back further; after that those of windows that do not overlap.",
    )
    retention_points_apart: PositiveDuration = Field(
        timedelta(days=30), description="How long these are kept; after that one point an hour of shorter windows."
    )
    retention_points_hours: PositiveDuration = Field(
        timedelta(days=90), description="How long these are kept; after that one point a day of shorter windows."
    )
    retention_points: PositiveDuration = Field(timedelta(days=400), description="How long the points of metrics are kept at all.")
    retention_events: PositiveDuration = Field(
        timedelta(days=400), description="How long alert events, sent messages and samples of resources are kept."
    )

    @field_validator("retention_minutes")
    @classmethod
    def _check_retention_minutes(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        return _long_enough(value, HOUR, info)

    @field_validator("retention_hours")
    @classmethod
    def _check_retention_hours(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        return _long_enough(value, DAY, info)

    @field_validator("windows")
    @classmethod
    def _check_windows(cls, value: str, info: ValidationInfo) -> str:
        parse_plans(value, timedelta(seconds=1), info.data.get("rollup_seconds", 60))
        return value

    @field_validator("further_statistics")
    @classmethod
    def _check_statistics(cls, value: str) -> str:
        for name in _parts(value):
            if name not in FURTHER_NAMES:
                raise ValueError(f"{name} is not one of {', '.join(FURTHER_NAMES)}")
        return value

    @field_validator("inference_urls")
    @classmethod
    def _check_urls(cls, value: str) -> str:
        for url in _parts(value):
            if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", url):
                raise ValueError(f"{url} is not an address; write for example http://inference:8000")
        return value

    @field_validator("sample_interval")
    @classmethod
    def _check_sample_interval(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        parse_plans(format_duration(value), timedelta(seconds=1), info.data.get("rollup_seconds", 60))
        return value

    @field_validator("export_window")
    @classmethod
    def _check_export_window(cls, value: str, info: ValidationInfo) -> str:
        windows = info.data.get("windows", "")
        if value and windows and parse_duration(value) not in {parse_duration(part) for part in windows.split(",") if part.strip()}:
            raise ValueError(f"{value} is not one of the windows {windows}")
        return value

    @field_validator("drift_persistence")
    @classmethod
    def _check_persistence(cls, value: str) -> str:
        Persistence.parse(value)
        return value

    @property
    def persistence(self) -> Persistence:
        return Persistence.parse(self.drift_persistence)

    @property
    def sidecars(self) -> list[str]:
        """The base addresses of ``inference_urls``."""
        return _parts(self.inference_urls)

    @property
    def plans(self) -> list[WindowPlan]:
        """The windows, shortest first."""
        return parse_plans(self.windows, self.collect_interval, self.rollup_seconds)

    @property
    def exported_plan(self) -> WindowPlan:
        """The windows that the Prometheus exporter shows."""
        plans = self.plans
        if not self.export_window:
            return plans[0]
        return next(plan for plan in plans if plan.length == parse_duration(self.export_window))

    @property
    def floors(self) -> Floors:
        return Floors(
            ks=self.floor_ks,
            shift=self.floor_shift,
            psi=self.floor_psi,
            js=self.floor_js,
            missing=self.floor_missing,
            unseen=self.floor_unseen,
            out_of_range=self.floor_out_of_range,
        )

    @property
    def tolerances(self) -> Tolerances:
        return Tolerances(score=self.score_tolerance, error_share=self.error_tolerance)

    @property
    def judging(self) -> Judging:
        return Judging(
            plans=self.plans,
            false_alarm_days=self.false_alarm_days,
            persistence=self.persistence,
            min_samples=self.min_samples,
            min_labels=self.min_labels,
            floors=self.floors,
            tolerances=self.tolerances,
            drift_share_limit=self.drift_share_limit,
            further_statistics=_parts(self.further_statistics),
        )

    @property
    def point_ages(self) -> PointAges:
        """How dense the points of metrics are at what age: as they were written where jobs look them up again."""
        persisted = self.persistence.windows * self.plans[-1].length
        back = max(self.restate_windows * self.plans[-1].step, self.restate_labels, persisted) + 2 * self.plans[-1].length
        every = max(self.retention_points_every, back + self.window_lag)
        return PointAges(every=every, apart=self.retention_points_apart, hours=self.retention_points_hours)

    @property
    def lease_time(self) -> timedelta:
        """How long a collector that falls silent keeps its jobs."""
        return max(timedelta(seconds=10), 3 * self.collect_interval)
