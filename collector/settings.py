"""Settings of the collector."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from collector.judging import Judging
from collector.statistics.budget import Persistence
from collector.statistics.floors import Floors
from collector.statistics.performance import Tolerances
from collector.windows import WindowPlan, parse_plans
from storage.durations import parse_duration
from storage.settings import Duration, PositiveDuration, Settings

Share = Annotated[float, Field(ge=0, le=1)]


def _default_spool(values: dict[str, Any]) -> Path:
    return Path(values.get("home", "modelwatch-data")) / "spool"


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
    score_tolerance: Share = Field(0.05, description="How far accuracy and AUC may fall below the reference before it is drift.")
    error_tolerance: float = Field(
        0.1, ge=0, description="How far the mean absolute error may rise above the reference, as a share of it, before it is drift."
    )
    export_window: str = Field(
        "", description="Window length that the Prometheus exporter shows (the default: the shortest of `windows`)."
    )
    spool_folder: Path = Field(
        default_factory=_default_spool,
        description="Folder of the predictions that are not in the database yet, measured where it is on this host (the default: `spool` in the home folder).",
    )

    @field_validator("windows")
    @classmethod
    def _check_windows(cls, value: str, info: ValidationInfo) -> str:
        parse_plans(value, timedelta(seconds=1), info.data.get("rollup_seconds", 60))
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
        )

    @property
    def lease_time(self) -> timedelta:
        """How long a collector that falls silent keeps its jobs."""
        return max(timedelta(seconds=10), 3 * self.collect_interval)
