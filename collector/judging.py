"""What points are made of: whose window it is, and how it is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from collector.statistics.budget import SEQUENCE_SHARE, Levels, Persistence, expected_false_alarms, levels_for_budget
from collector.statistics.calibration import Calibration, calibration_from_json
from collector.statistics.floors import Floors
from collector.statistics.performance import Tolerances
from collector.statistics.verdict import FEATURE_TESTS, Judgement, Policy, alpha_for_budget
from collector.windows import Window, WindowPlan
from storage.records import STEPS_PER_WINDOW, Layout, MetricPoint, Profile

PREDICTION_TESTS = 2
PERFORMANCE_TESTS = 12
"""Accuracy, precision, recall, F1, ROC AUC, PR AUC, log loss, Brier score, two estimates, concept drift, selected labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """Everything that turns statistics into verdicts, the same for all models."""

    plans: Sequence[WindowPlan]
    false_alarm_days: float = 30.0
    persistence: Persistence = field(default_factory=Persistence)
    min_samples: int = 200
    min_labels: int = 100
    floors: Floors = field(default_factory=Floors)
    tolerances: Tolerances = field(default_factory=Tolerances)
    drift_share_limit: float = 0.3
    further_statistics: Sequence[str] = ()

    def policy(self, layout: Layout) -> Policy:
        """The policy for tests without a calibration: the more features a model has, the less each test may alarm."""
        tests = len(layout.features) * FEATURE_TESTS + PREDICTION_TESTS + PERFORMANCE_TESTS
        steps: list[timedelta] = [plan.step for plan in self.plans]
        alpha = alpha_for_budget(self.false_alarm_days, steps, tests)
        return Policy(alpha=alpha, min_samples=self.min_samples, floors=self.floors)

    def drift_policy(self, layout: Layout, calibration: Calibration, plan: WindowPlan, *, is_followed: bool = True) -> Policy:
        """The policy for the drift of windows of one length; where columns are not followed, windows have the whole budget."""
        levels = self.levels(layout, calibration, plan, SEQUENCE_SHARE if is_followed else 0.0)
        return Policy(
            alpha=levels.once,
            together=levels.together,
            persistence=self.persistence,
            min_samples=self.min_samples,
            floors=self.floors,
            basis="calibrated" if calibration.tests else "no-drift quantile",
        )

    def levels(self, layout: Layout, calibration: Calibration, plan: WindowPlan, sequence_share: float = SEQUENCE_SHARE) -> Levels:
        return levels_for_budget(
            self.false_alarm_days,
            plan.length,
            plan.step,
            number_of_tests(layout, calibration),
            lengths=max(1, len(self.plans)),
            persistence=self.persistence,
            sequence_share=sequence_share,
        )

    def followed_level(self, layout: Layout, calibration: Calibration, plan: WindowPlan, weights: float) -> float:
        """False alarms per window length for each weight of 1, where bets of that weight follow the features in all."""
        columns = max(len(layout.features), 1)
        independent = min(1.0, (calibration.tests or columns) / columns)
        return self.levels(layout, calibration, plan).followed / (max(weights, 1.0) * independent * _beside_performance(layout))

    def false_alarms_per_week(self, layout: Layout, calibration: Calibration) -> dict[str, float]:
        """By name of the window length, how many false alarms of drift a version is expected to have at most, without drift.

        Windows with too few rows are not judged, and add none; floors make them fewer.
        """
        tests = number_of_tests(layout, calibration)
        return {
            plan.name: expected_false_alarms(
                self.levels(layout, calibration, plan), plan.length, plan.step, tests, self.persistence
            )
            for plan in self.plans
        }

    def plan_of(self, window: Window) -> WindowPlan:
        """The plan that the window belongs to; one of its length with the usual step where there is none."""
        usual = WindowPlan(length=window.end - window.start, step=(window.end - window.start) / STEPS_PER_WINDOW)
        return next((plan for plan in self.plans if plan.seconds == window.seconds), usual)


def number_of_tests(layout: Layout, calibration: Calibration) -> float:
    """Independent tests of one window: as calibrated, or all of them counted in full.

    Performance keeps the part of the budget that ``Judging.policy`` gives it, which counts its tests among all.
    """
    return (calibration.tests or _drift_tests(layout)) * _beside_performance(layout)


def _drift_tests(layout: Layout) -> int:
    return len(layout.features) * FEATURE_TESTS + PREDICTION_TESTS


def _beside_performance(layout: Layout) -> float:
    """All tests over those of drift."""
    return 1 + PERFORMANCE_TESTS / _drift_tests(layout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose window it is, and the fields that all its points share."""

    layout: Layout
    profile: Profile | None
    version: str
    window: Window
    role: str = ""
    segment: str = ""

    @property
    def calibration(self) -> Calibration:
        return calibration_from_json(self.profile.thresholds) if self.profile else Calibration()

    def point(self, name: str, value: float | None, **further: object) -> MetricPoint:
        base = MetricPoint(
            at=self.window.end,
            name=name,
            value=value,
            model=self.layout.model,
            version=self.version,
            role=self.role,
            segment=self.segment,
            window_seconds=self.window.seconds,
        )
        return replace(base, **further)  # type: ignore[arg-type]

    def judged(self, name: str, found: Judgement, feature: str = "") -> MetricPoint:
        return self.point(
            name,
            found.value,
            feature=feature,
            p_value=found.p_value,
            n_reference=found.n_reference,
            n_current=found.n_current,
            threshold=found.threshold,
            verdict=found.verdict,
            detectable=found.detectable,
            basis=found.basis,
        )
