"""Fills a database as a running installation would: a model of two versions, traffic, labels, drift, alerts, messages.

Counts go straight into rollups and points come from the collector's own functions, so that a story of hours is there in
a second and its verdicts are the ones that production would give.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection

from collector.comparison_job import compare_deployed
from collector.judging import Judging, Subject
from collector.performance_points import performance_points
from collector.points import window_points
from collector.windows import WindowPlan
from storage import alerts, comparisons, deployments, jobs, metrics, outbox, profiles, registry, rollups
from storage.layouts import (
    build_layout,
    count_labels,
    count_latency,
    count_predictions,
    empty_label_counts,
    empty_prediction_counts,
    schema_hash,
)
from storage.records import (
    AlertEvent,
    AlertRow,
    AlertState,
    Feature,
    FeatureType,
    Format,
    JobRun,
    Layout,
    Mode,
    Model,
    OutboxItem,
    OutboxStatus,
    PredictionCounts,
    Profile,
    RollupKind,
    Scalar,
    Signature,
    Task,
    Version,
)
from storage.rollups import RollupKey

REFERENCE_ROWS = 4000
NUMBERS = ("age", "income", "balance", "tenure_months", "calls_last_week", "data_usage_gb", "bill_amount", "late_payments")
CATEGORIES = {"region": ("north", "south", "east", "west"), "plan": ("basic", "plus", "pro"), "device": ("ios", "android")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is told. ``shift_from`` is the share of the time after which ``income``, ``region`` and ``age`` drift."""

    model: str = "churn"
    task: Task = Task.CLASSIFICATION
    extra_features: int = 0
    hostile: bool = False
    hours: float = 3.0
    rows_per_step: int = 60
    step: timedelta = timedelta(minutes=1)
    window: timedelta = timedelta(minutes=15)
    shift_from: float = 0.6
    versions: tuple[str, ...] = ("1", "2")
    weight: float = 0.4
    label_delay: timedelta = timedelta(minutes=30)
    age: timedelta = timedelta()


HOSTILE = "<b>x</b><img src=x onerror=alert(1)> [a](javascript:alert(1)) $x^2$ :red[r] %{y} *s*"


def signature_of(story: Story) -> Signature:
    """Eight numbers, three categories, and as many further numbers as the story wants."""
    numbers = [*NUMBERS, *(f"sensor_{i:03d}" for i in range(story.extra_features))]
    if story.hostile:
        numbers[2] = HOSTILE
    features = [Feature(name=name, type=FeatureType.NUMBER, missing_allowed=True) for name in numbers]
    features += [
        Feature(name=name, type=FeatureType.CATEGORY, missing_allowed=False, categories=values)
        for name, values in CATEGORIES.items()
    ]
    classes = ("no", "yes") if story.task is Task.CLASSIFICATION else ()
    return Signature(task=story.task, features=tuple(features), target="churned", classes=classes)


def rows_of(story: Story, number: int, random: np.random.Generator, drifted: bool) -> list[list[Scalar]]:
    """Plausible rows; with drift, people are older and richer, one region grows, and some values are missing."""
    columns: list[list[Any]] = [
        random.normal(52 if drifted else 44, 12, number).clip(18, 95).round().tolist(),
        random.lognormal(10.6 if drifted else 10.2, 0.5, number).round(2).tolist(),
        random.normal(1200, 400, number).round(2).tolist(),
        random.integers(1, 72, number).astype(float).tolist(),
        random.poisson(2, number).astype(float).tolist(),
        random.gamma(2.0, 6.0, number).round(3).tolist(),
        random.normal(48, 9, number).round(2).tolist(),
        random.poisson(0.4, number).astype(float).tolist(),
        *(random.normal(i % 7, 1 + i % 3, number).tolist() for i in range(story.extra_features)),
        random.choice(["north", "south", "east", "abroad"], number, p=[0.2, 0.2, 0.3, 0.3]).tolist()
        if drifted
        else random.choice(CATEGORIES["region"], number, p=[0.4, 0.3, 0.2, 0.1]).tolist(),
        random.choice(CATEGORIES["plan"], number, p=[0.5, 0.3, 0.2]).tolist(),
        random.choice(CATEGORIES["device"], number).tolist(),
    ]
    if drifted:
        columns[2] = [None if missing else value for value, missing in zip(columns[2], random.random(number) < 0.15, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def scores_of(story: Story, number: int, random: np.random.Generator) -> list[float]:
    if story.task is Task.REGRESSION:
        return [float(value) for value in random.normal(100, 20, number)]
    return [float(value) for value in random.beta(2, 5, number)]


def predictions_of(story: Story, scores: list[float]) -> list[str]:
    return [("yes" if score > 0.5 else "no") if story.task is Task.CLASSIFICATION else repr(score) for score in scores]


def register(c: Connection, story: Story, now: datetime) -> Layout:
    """The model with its versions and their references; the first two share the traffic."""
    random = np.random.default_rng(1)
    signature = signature_of(story)
    rows, scores = rows_of(story, REFERENCE_ROWS, random, drifted=False), scores_of(story, REFERENCE_ROWS, random)
    built = build_layout(story.model, signature, list(zip(*rows, strict=True)), np.asarray(scores))
    began = now - timedelta(hours=story.hours)
    registry.insert_model(c, Model(name=story.model, task=story.task, created_at=began))
    layout = rollups.ensure_layout(c, built, schema_hash(signature), began)
    counts = count_predictions(layout, rows, scores, predictions_of(story, scores))
    performance = {"accuracy": 0.84, "roc_auc": 0.88} if story.task is Task.CLASSIFICATION else {"mae": 8.0, "rmse": 10.0}
    for number, name in enumerate(story.versions):
        registry.insert_version(c, _version(story, name, signature, layout.id, began + timedelta(seconds=number)))
        reference = Profile(
            model=story.model,
            version=name,
            layout_id=layout.id,
            rows=len(rows),
            counts=counts,
            labels=empty_label_counts(layout),
            performance=performance,
            sample=b"",
            created_at=began,
        )
        profiles.save_profile(c, reference)
    _deploy(c, story, began)
    return layout


def _version(story: Story, name: str, signature: Signature, layout_id: int, at: datetime) -> Version:
    return Version(
        model=story.model,
        version=name,
        format=Format.ONNX,
        digest="0" * 64,
        path=f"{story.model}/{name}/model.onnx",
        size_bytes=1000,
        signature=signature,
        layout_id=layout_id,
        created_at=at,
        created_by="ana",
    )


def _deploy(c: Connection, story: Story, at: datetime) -> None:
    deployments.promote(c, story.model, story.versions[0], actor="ana", reason="first version", now=at)
    if len(story.versions) > 1:
        deployments.deploy(
            c,
            story.model,
            mode=Mode.AB,
            champion=story.versions[0],
            challenger=story.versions[1],
            weight=story.weight,
            actor="ana",
            reason="try it",
            now=at + timedelta(minutes=1),
        )


def tell(c: Connection, story: Story, now: datetime) -> Layout:
    """The whole story, up to ``now - story.age``: registration, traffic with labels, points, alerts and messages."""
    end = rollups.bucket_start(now - story.age, int(story.step.total_seconds()))
    layout = register(c, story, end)
    serve(c, story, layout, end)
    collect(c, story, layout, end)
    alarm(c, story, end)
    return layout


def serve(c: Connection, story: Story, layout: Layout, end: datetime) -> None:
    """Traffic per step and version, the challenger a little better and slower; labels for what is old enough."""
    random = np.random.default_rng(2)
    steps = int(timedelta(hours=story.hours) / story.step)
    for number in range(steps):
        at = end - story.step * (steps - number)
        for order, version in enumerate(story.versions[:2]):
            share = 1 - story.weight if order == 0 else story.weight
            rows = int(story.rows_per_step * (share if len(story.versions) > 1 else 1.0) * (1 + 0.3 * np.sin(number / 20)))
            _step(
                c,
                story,
                layout,
                version,
                at,
                rows,
                random,
                drifted=number >= steps * story.shift_from,
                labelled=at < end - story.label_delay,
            )


def _step(
    c: Connection,
    story: Story,
    layout: Layout,
    version: str,
    at: datetime,
    number: int,
    random: np.random.Generator,
    *,
    drifted: bool,
    labelled: bool,
) -> None:
    if not number:
        return
    better = version != story.versions[0]
    rows, scores = rows_of(story, number, random, drifted), scores_of(story, number, random)
    predictions = predictions_of(story, scores)
    counts = count_predictions(layout, rows, scores, predictions)
    latencies = random.lognormal(0.9 if better else 0.7, 0.4, number) + (random.random(number) < 0.01) * 20
    counts.latency = count_latency(latencies.tolist())
    errors = int(random.random() < 0.1)
    counts = replace(counts, rows=counts.rows + errors, errors=errors)
    role = "challenger" if better else "champion"
    key = RollupKey(
        model=story.model,
        version=version,
        role=role,
        segment="",
        kind=RollupKind.PREDICTIONS,
        start=at,
        seconds=int(story.step.total_seconds()),
        writer="w1",
        layout_id=layout.id,
    )
    rollups.add_prediction_counts(c, key, counts)
    if labelled:
        delays = random.exponential(story.label_delay.total_seconds() / 2, number).tolist()
        labels = _labels(story, scores, predictions, random, wrong=0.24 if drifted and not better else 0.16 if not better else 0.12)
        rollups.add_label_counts(c, replace(key, kind=RollupKind.LABELS), count_labels(layout, scores, predictions, labels, delays))


def _labels(story: Story, scores: list[float], predictions: list[str], random: np.random.Generator, wrong: float) -> list[str]:
    if story.task is Task.REGRESSION:
        return [repr(score + random.normal(0, 40 * wrong)) for score in scores]
    return [("no" if name == "yes" else "yes") if random.random() < wrong else name for name in predictions]


def collect(c: Connection, story: Story, layout: Layout, end: datetime) -> None:
    """The points of every window of the story, and the last comparison, as the collector writes them."""
    plan = WindowPlan(length=story.window, step=story.window / 3)
    judging = Judging(plans=[plan])
    count = max(int(timedelta(hours=story.hours) / plan.step), 1)
    for version in story.versions[:2]:
        profile = profiles.load_profile(c, story.model, version, layout)
        for number in range(count):
            window = plan.ending_at(end - plan.step * number)
            predictions = rollups.read_predictions(c, layout, version, window.start, window.end)
            subject = Subject(layout=layout, profile=profile, version=version, window=window)
            points = window_points(subject, predictions, judging)
            labels = rollups.read_labels(c, layout, version, window.start, window.end)
            metrics.write_points(c, points + performance_points(subject, labels, predictions.rows, judging))
    deployed = deployments.current(c, story.model)
    for comparison in compare_deployed(c, deployed, (), end) if deployed else ():
        comparisons.save_comparison(c, comparison)
    jobs.record_run(
        c, JobRun(name="windows-15m", started_at=end, finished_at=end, succeeded_at=end, done_until=end, duration_seconds=0.2)
    )


def alarm(c: Connection, story: Story, end: datetime) -> None:
    """One alert fires, one waits, one has ended; its messages went to Slack and failed by mail."""
    began = end - timedelta(minutes=40)
    labels = {"model": story.model, "version": story.versions[0], "feature": "income", "severity": "warning", "team": "risk"}
    base = AlertRow(
        fingerprint="f1",
        rule="FeatureDrift",
        labels=labels,
        state=AlertState.FIRING,
        value=0.412,
        threshold=0.2,
        window_seconds=int(story.window.total_seconds()),
        n_current=540,
        reason="drift_psi 0.412 > 0.2",
        pending_at=began,
        fired_at=began + timedelta(minutes=10),
        evaluated_at=end,
        last_point_at=end,
    )
    hostile = {"feature": HOSTILE} if story.hostile else {"feature": "region"}
    alerts.save_alert(c, base)
    alerts.save_alert(
        c,
        replace(
            base, fingerprint="f2", state=AlertState.PENDING, labels=labels | hostile, value=0.23, fired_at=None, pending_at=end
        ),
    )
    alerts.save_alert(
        c,
        replace(
            base,
            fingerprint="f3",
            rule="LatencyHigh",
            state=AlertState.RESOLVED,
            labels={"model": story.model, "version": story.versions[0]},
            value=0.03,
            threshold=0.05,
            resolved_at=end - timedelta(minutes=5),
        ),
    )
    _events(c, base)
    _messages(c, base)


def _events(c: Connection, alert: AlertRow) -> None:
    assert alert.pending_at is not None
    assert alert.fired_at is not None
    for at, before, after in (
        (alert.pending_at, AlertState.INACTIVE, AlertState.PENDING),
        (alert.fired_at, AlertState.PENDING, AlertState.FIRING),
    ):
        event = AlertEvent(
            fingerprint=alert.fingerprint,
            rule=alert.rule,
            labels=alert.labels,
            at=at,
            from_state=before,
            to_state=after,
            value=alert.value,
            reason=alert.reason,
        )
        alerts.add_event(c, event)


def _messages(c: Connection, alert: AlertRow) -> None:
    assert alert.fired_at is not None
    for channel, status, error in (("slack", OutboxStatus.SENT, None), ("email", OutboxStatus.FAILED, "550 no such mailbox")):
        item = OutboxItem(
            dedup_key=f"f1/{channel}",
            channel=channel,
            receiver="oncall",
            kind="firing",
            payload={"message": {"title": "FeatureDrift: churn, version 1, income"}},
            created_at=alert.fired_at,
            next_attempt_at=alert.fired_at,
            status=status,
            attempts=1,
            last_error=error,
            sent_at=alert.fired_at if status is OutboxStatus.SENT else None,
        )
        outbox.enqueue(c, item)


def write_inbox(path: Path, now: datetime) -> None:
    """What the demo's Slack and mailbox received, and a line that is torn."""
    title = "FeatureDrift: churn, version 1, income"
    slack = {
        "at": now.isoformat(),
        "channel": "slack",
        "receiver": "#ml-oncall",
        "title": title,
        "text": title,
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": title}},
            {"type": "section", "text": {"type": "mrkdwn", "text": "income of churn drifted: *PSI 0.412* over 0.2"}},
            {
                "type": "section",
                "fields": [{"type": "mrkdwn", "text": "*Window*\n15m"}, {"type": "mrkdwn", "text": "*Predictions in it*\n540"}],
            },
            {
                "type": "actions",
                "elements": [
                    {"type": "button", "text": {"type": "plain_text", "text": "Open"}, "url": "http://127.0.0.1:8501/drift"}
                ],
            },
        ],
    }
    email = {
        "at": now.isoformat(),
        "channel": "email",
        "receiver": "oncall@example.com",
        "title": f"[firing] {title}",
        "text": "income of churn drifted: PSI 0.412 over 0.2\n\nWindow: 15m\nPredictions in it: 540\n",
        "html": "<p>income</p>",
    }
    path.write_text("\n".join([json.dumps(slack), json.dumps(email), '{"at": "torn']), encoding="utf-8")


def nan_points(c: Connection, story: Story, layout: Layout, end: datetime) -> None:
    """Points without value or threshold, as a window of one row gives them."""
    empty: PredictionCounts = empty_prediction_counts(layout)
    subject = Subject(
        layout=layout,
        profile=None,
        version=story.versions[0],
        window=WindowPlan(length=story.window, step=story.step).ending_at(end),
    )
    points = [subject.point("drift_psi", None, feature=name, n_current=0) for name in ("age", "income")]
    points += [subject.point("prediction_drift_psi", float("nan"), n_current=0), subject.point("latency_p50_seconds", None)]
    metrics.write_points(c, points)
    assert empty.rows == 0
