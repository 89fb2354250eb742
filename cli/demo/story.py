"""The demo from its first line to its result: set-up, traffic, what is found, and the report.

Every wait has a condition and a deadline; what did not happen in time is said, with the place of the logs.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pandas as pd
from sqlalchemy import Engine

from cli.demo import builtin, rules
from cli.demo.findings import Watch, alert_json, course, drift_summary
from cli.demo.progress import Narrator
from cli.demo.stack import PACE, Stack
from cli.demo.standins import Inbox, StandIns
from cli.demo.tables import Prepared
from cli.demo.traffic import Batch, Traffic, batches_of, request_size
from cli.errors import CommandError
from cli.session import actor
from cli.supervise import check_ports, hold_home
from cli.up import Plan, make_plan
from inference.settings import InferenceSettings
from storage import keys
from storage.deployments import deploy
from storage.engine import create_engine, writing
from storage.records import AlertState, Mode, Scope, Task, Version

if TYPE_CHECKING:
    from cli.demo.training import Trained

ROWS_PER_SECOND = 60.0
ROWS_PER_REQUEST = 2
REPLAY_SECONDS = 75.0
LEAST_ROWS_PER_SECOND = 10.0
SHORT_WINDOW, LONG_WINDOW = 10, 30
NEARLY_A_PASS = 200
"""Rows of one version in a short window from which it says something about the population."""
SHIFT_SECONDS = 15.0
"""How long the shift lasts at least, so that it can be seen on the pages."""


class StoryBroken(CommandError):
    """A step of the demo did not happen in time; the message says which, and where the logs are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One registered version, and what kind of model it is."""

    version: Version
    kind: str


@dataclass(slots=True, kw_only=True)
class Scene:
    """All that a story needs while it runs."""

    plan: Plan
    stack: Stack
    engine: Engine
    inbox: Inbox
    narrator: Narrator
    model: str
    prepared: Prepared
    entries: list[Entry]
    key: str | None
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def watch(self) -> Watch:
        return Watch(
            engine=self.engine, model=self.model, versions=tuple(entry.version.version for entry in self.entries), since=self.began
        )

    def await_that(self, condition: Callable[[], bool], what: str, seconds: float, *traffic: Traffic) -> None:
        """Wait until the condition holds. Raises StoryBroken after ``seconds``, or whatever ended stack or traffic."""
        deadline = time.monotonic() + seconds
        with self.narrator.step(f"Waiting: {what} …"):
            while not condition():
                self.stack.check()
                for thread in traffic:
                    thread.check()
                if time.monotonic() > deadline:
                    raise StoryBroken(
                        f"The demo waited {seconds:.0f} seconds in vain: {what}. The logs are in {self.plan.home / 'logs'}."
                    )
                time.sleep(0.3)

    def happens(self, condition: Callable[[], bool], what: str, seconds: float, *traffic: Traffic) -> bool:
        """As ``await_that``, where the story goes on without it too."""
        try:
            self.await_that(condition, what, seconds, *traffic)
        except StoryBroken:
            return False
        return True


# ---------------------------------------------------------------------------------------------- set-up


@contextmanager
def staged(load: Callable[[], Prepared], model: str, rule_file: dict[str, object], narrator: Narrator) -> Iterator[Scene]:
    """Everything running, both versions registered and sharing the traffic; stopped again at the end.

    The services start first; data and models are prepared meanwhile.
    """
    with ExitStack() as cleanup:
        plan = make_plan()
        home = plan.home
        with hold_home(home):  # asked before anything starts, or another stack's /ready would be taken for our own
            check_ports(plan.host, plan.ports)
        inbox = Inbox(home / "demo-inbox.jsonl")
        stand_ins = cleanup.enter_context(StandIns(inbox))
        rules.write(home / "demo-rules.yml", rule_file)
        environment = {
            **PACE,
            **stand_ins.environment,
            "MODELWATCH_HOME": str(home),
            "MODELWATCH_RULES": str(home / "demo-rules.yml"),
            "MODELWATCH_DEMO_INBOX": str(inbox.path),
        }
        os.environ.update(environment)
        stack = cleanup.enter_context(Stack(plan, environment))
        prepared, files = _prepare(load, cleanup, narrator)
        with narrator.step("Waiting for the services …"):
            stack.wait_until_ready()
        narrator.say(f"The sidecar is ready: {base_url(plan)}.")
        engine = create_engine(plan.database)
        cleanup.callback(engine.dispose)
        key = _key(engine, cleanup)
        with narrator.step("Registering both models …"):
            entries = [
                Entry(version=_register(engine, model, file, files.reference, prepared.target), kind=file.kind)
                for file in files.models
            ]
            _split(engine, model, entries)
        scene = Scene(
            plan=plan,
            stack=stack,
            engine=engine,
            inbox=inbox,
            narrator=narrator,
            model=model,
            prepared=prepared,
            entries=entries,
            key=key,
        )
        scene.await_that(lambda: _serves(scene), "the sidecar takes up both versions", 60)
        names = " and ".join(f"version {e.version.version} ({e.kind}, {e.version.format})" for e in entries)
        narrator.say(f"Registered {names} of {model}; each answers half of the subjects.")
        scene.began = datetime.now(UTC)
        yield scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What is registered: the models, and the rows they were trained on."""

    models: list[Trained]
    reference: Path


def _prepare(load: Callable[[], Prepared], cleanup: ExitStack, narrator: Narrator) -> tuple[Prepared, Files]:
    with narrator.step("Loading data and libraries …"):
        from cli.demo.training import train

        prepared = load()
    for note in prepared.notes:
        narrator.say(note)
    folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="modelwatch-demo-")))
    with narrator.step("Training two models …"):
        models = train(prepared, folder)
        reference = folder / "reference.parquet"
        prepared.reference.to_parquet(reference)
    narrator.say(f"Trained {' and '.join(model.kind for model in models)}.")
    return prepared, Files(models=models, reference=reference)


def _key(engine: Engine, cleanup: ExitStack) -> str | None:
    """A key for the length of the demo, where this installation asks for keys."""
    with writing(engine) as c:
        if not keys.any_made(c):
            return None
        key = keys.create_key(c, Scope.ADMIN, "demo", datetime.now(UTC))

    def revoke() -> None:
        with writing(engine) as c:
            keys.revoke(c, key.split("_")[1], datetime.now(UTC))

    cleanup.callback(revoke)
    return key


def _register(engine: Engine, model: str, file: Trained, reference: Path, target: str) -> Version:
    from inference.registration import register

    return register(
        engine,
        InferenceSettings.load(),
        model,
        file.path,
        reference=reference,
        target=target,
        allow_pickle=True,  # we have just written the file ourselves
        actor=actor(),
        now=datetime.now(UTC),
    )


def _split(engine: Engine, model: str, entries: list[Entry]) -> None:
    champion, challenger = (entry.version.version for entry in entries)
    with writing(engine) as c:
        deploy(
            c,
            model,
            mode=Mode.AB,
            champion=champion,
            challenger=challenger,
            weight=0.5,
            actor=actor(),
            reason="the demo compares both",
            now=datetime.now(UTC),
        )


def _serves(scene: Scene) -> bool:
    url = f"{base_url(scene.plan)}/v1/models/{scene.model}"
    headers = {"Authorization": f"Bearer {scene.key}"} if scene.key else {}
    try:
        response = httpx.get(url, headers=headers, timeout=5, trust_env=False)
    except httpx.TransportError:
        return False
    deployment = response.json().get("deployment") or {} if response.status_code == 200 else {}
    return [deployment.get("champion"), deployment.get("challenger")] == [entry.version.version for entry in scene.entries]


def base_url(plan: Plan) -> str:
    return plan.urls["predictions"].removesuffix("/docs")


def json_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as a request carries them: natural JSON values, None where missing."""
    columns = {
        str(name): [None if absent else value for value, absent in zip(frame[name].tolist(), frame[name].isna(), strict=True)]
        for name in frame.columns
    }
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


# ---------------------------------------------------------------------------------------------- the built-in story


def play_builtin(scene: Scene, traffic: Traffic, shift: threading.Event) -> dict[str, Any]:
    """Baseline, shift, alert, delivery, recovery; returns the report. The traffic goes on."""
    watch, say = scene.watch, scene.narrator.say
    scene.await_that(lambda: _has_baseline(watch), "the first windows of both versions are judged", 60, traffic)
    say(f"{traffic.sent} predictions so far, PSI of {builtin.WATCHED} {_latest_psi(watch)}: no drift.")

    shift_began = datetime.now(UTC)
    shift.set()
    say(f"The shift begins: lengths are measured {builtin.STRETCH:g} times too long.")
    scene.await_that(lambda: bool(watch.alerts_of(rules.DRIFT_RULE)), f"{rules.DRIFT_RULE} becomes pending", 45, traffic)
    say(f"{rules.DRIFT_RULE} is pending (PSI {_latest_psi(watch)}).")
    scene.await_that(lambda: watch.first_firing(rules.DRIFT_RULE) is not None, f"{rules.DRIFT_RULE} fires", 30, traffic)
    say(f"{rules.DRIFT_RULE} is firing.")
    scene.await_that(lambda: scene.inbox.heard_of(rules.DRIFT_RULE), "Slack and email receive the alert", 30, traffic)
    say(f"Slack has received {scene.inbox.counts['slack']} messages, the mailbox {scene.inbox.counts['email']}.")
    scene.await_that(
        lambda: (datetime.now(UTC) - shift_began).total_seconds() >= SHIFT_SECONDS,
        "the shift lasts a while",
        SHIFT_SECONDS + 5,
        traffic,
    )

    shift.clear()
    shift_ended = datetime.now(UTC)
    say("The shift ends: the microscope is calibrated again.")
    scene.await_that(lambda: _all_resolved(watch, rules.DRIFT_RULE), f"{rules.DRIFT_RULE} is resolved", 60, traffic)
    say(f"{rules.DRIFT_RULE} is resolved.")
    scene.happens(lambda: _all_resolved(watch, None), "the other alerts are resolved", 20, traffic)
    scene.await_that(lambda: watch.undelivered() == 0, "every message is delivered", 30, traffic)
    return report(scene, traffic) | {"shift": {"began_at": shift_began, "ended_at": shift_ended, "feature": builtin.WATCHED}}


def builtin_batches(live: pd.DataFrame, target: str, shift: threading.Event) -> Iterator[Batch]:
    """Requests without end: shuffled passes over the held-out rows, measured wrongly while the shift is on."""
    labels = live[target].tolist()
    honest = json_rows(live.drop(columns=[target]))
    wrong = json_rows(builtin.shifted(live.drop(columns=[target])))
    order = builtin.shuffled_passes(len(live), builtin.SEED)
    for number in itertools.count():
        picked = list(itertools.islice(order, ROWS_PER_REQUEST))
        rows = wrong if shift.is_set() else honest
        yield Batch(rows=[rows[i] for i in picked], labels=[labels[i] for i in picked], subject=f"visit-{number}")


def _watched_points(watch: Watch) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {version: [] for version in watch.versions}
    for point in watch.points(["drift_psi"]):
        is_watched = point.feature == builtin.WATCHED and point.window_seconds == SHORT_WINDOW
        if is_watched and point.value is not None and (point.n_current or 0) >= NEARLY_A_PASS:
            found[point.version].append(point.value)
    return found


def _has_baseline(watch: Watch) -> bool:
    """Three windows that hold nearly a whole pass each, of both versions."""
    return all(len(values) >= 3 for values in _watched_points(watch).values())


def _latest_psi(watch: Watch) -> str:
    return " and ".join(f"{values[-1]:.2f}" for values in _watched_points(watch).values() if values)


def _all_resolved(watch: Watch, rule: str | None) -> bool:
    alerts = [alert for alert in watch.alerts() if rule in (None, alert.rule)]
    fired = [alert for alert in alerts if alert.fired_at is not None]
    active = (AlertState.PENDING, AlertState.FIRING, AlertState.RECOVERING)
    return bool(fired) and not any(alert.state in active for alert in alerts)


# ---------------------------------------------------------------------------------------------- a table of the user's own


def play_table(scene: Scene, traffic: Traffic) -> dict[str, Any]:
    """Every row once, then what was found. The traffic has ended."""
    watch, rows = scene.watch, len(scene.prepared.live)
    with scene.narrator.bar("Replaying rows", rows) as tell:
        while traffic.is_alive():
            traffic.join(0.3)
            tell(traffic.sent)
            scene.stack.check()
    traffic.check()
    ended = datetime.now(UTC)
    scene.narrator.say(f"All {traffic.sent} rows were sent once and answered.")
    scene.await_that(lambda: watch.predictions() >= traffic.sent, "every prediction is in the database", 120)
    scene.await_that(lambda: watch.labels() >= traffic.labelled, "every label has found its prediction", 60)
    if (stored := watch.predictions()) != traffic.sent:
        raise StoryBroken(f"{traffic.sent} rows were sent, but {stored} predictions are in the database.")
    scene.await_that(lambda: _is_judged_until(watch, ended), "the last windows are judged", 60)
    scene.happens(lambda: watch.undelivered() == 0, "every message is delivered", 30)
    found = report(scene, traffic)
    points = watch.points(["drift_psi", "accuracy", "mae"])
    drift = drift_summary([point for point in points if point.name == "drift_psi"], LONG_WINDOW)
    quality = "accuracy" if scene.prepared.task is Task.CLASSIFICATION else "mae"
    found |= {"drift": drift, quality: course([point for point in points if point.name == quality], LONG_WINDOW)}
    _tell_findings(scene.narrator, drift, quality, found[quality])
    return found


def _is_judged_until(watch: Watch, moment: datetime) -> bool:
    return any(point.at >= moment for point in watch.points(["drift_psi"]) if point.window_seconds == LONG_WINDOW)


def _tell_findings(narrator: Narrator, drift: list[dict[str, Any]], quality: str, values: dict[str, dict[str, float]]) -> None:
    drifted = [entry for entry in drift if entry["drifted"]]
    for entry in drifted[:5]:
        narrator.say(
            f"{entry['feature']} drifted in {entry['drifted']} of {entry['windows']} windows (largest PSI {entry['largest_psi']:.2f})."
        )
    if not drifted:
        narrator.say("No feature drifted.")
    for version, value in values.items():
        narrator.say(f"Version {version}: {quality} began at {value['first']:.3f} and ended at {value['last']:.3f}.")


# ---------------------------------------------------------------------------------------------- the report


def report(scene: Scene, traffic: Traffic) -> dict[str, Any]:
    """What `--json` prints."""
    watch = scene.watch
    comparison = watch.ab()
    scene.narrator.say(f"A/B verdict: {comparison['verdict']}. {' '.join(comparison['reasons'][:2])}")
    return {
        "models": [
            {"name": scene.model, "version": entry.version.version, "kind": entry.kind, "format": str(entry.version.format)}
            for entry in scene.entries
        ],
        "rows": {"reference": len(scene.prepared.reference), "replayed": len(scene.prepared.live)},
        "predictions": watch.predictions(),
        "labels": traffic.labelled,
        "alerts": [alert_json(alert) for alert in watch.alerts()],
        "notifications": dict(scene.inbox.counts),
        "ab": comparison,
        "notes": scene.prepared.notes,
        "urls": scene.plan.urls,
        "seconds": round(scene.narrator.seconds, 1),
    }


def completed(found: dict[str, Any]) -> str | None:
    """Why the built-in story is not complete, or None: an alert resolved, and told to Slack and by mail."""
    drift = [alert for alert in found["alerts"] if alert["name"] == rules.DRIFT_RULE]
    if not any(alert["state"] == "resolved" for alert in drift):
        return f"{rules.DRIFT_RULE} was not resolved."
    for channel, count in found["notifications"].items():
        if count < 1:
            return f"No message reached the {channel} stand-in."
    early = [alert for alert in drift if alert["pending_at"] < found["shift"]["began_at"]]
    return f"{rules.DRIFT_RULE} was pending before the shift began." if early else None


# ---------------------------------------------------------------------------------------------- the two demos


def run_builtin(
    narrator: Narrator, tell: Callable[[dict[str, Any]], None], linger: Callable[[Scene, Traffic], None] | None
) -> None:
    """The story on the data that comes along. ``linger`` keeps the stack up afterwards. Raises CommandError."""
    with staged(builtin.load, builtin.MODEL, rules.builtin_rules(builtin.MODEL, builtin.WATCHED), narrator) as scene:
        shift = threading.Event()
        batches = builtin_batches(scene.prepared.live, scene.prepared.target, shift)
        traffic = Traffic(base_url(scene.plan), scene.model, batches, rows_per_second=ROWS_PER_SECOND, key=scene.key)
        traffic.start()
        try:
            found = play_builtin(scene, traffic, shift)
            if (problem := completed(found)) is not None:
                raise StoryBroken(f"The story is not complete: {problem} The logs are in {scene.plan.home / 'logs'}.")
            tell(found)
            if linger is not None:
                linger(scene, traffic)
        finally:
            traffic.stop()
            traffic.join(10)


def run_table(
    prepared: Prepared,
    model: str,
    narrator: Narrator,
    tell: Callable[[dict[str, Any]], None],
    linger: Callable[[Scene, Traffic], None] | None,
) -> None:
    """The story on a table of the user's own. Raises CommandError."""
    rate = max(len(prepared.live) / REPLAY_SECONDS, LEAST_ROWS_PER_SECOND)
    with staged(lambda: prepared, model, rules.table_rules(model), narrator) as scene:
        rows = json_rows(prepared.live[prepared.features])
        batches = batches_of(rows, prepared.live[prepared.target].tolist(), request_size(rate))
        traffic = Traffic(base_url(scene.plan), scene.model, batches, rows_per_second=rate, key=scene.key)
        narrator.say(f"Replaying {len(rows)} rows at {rate:.0f} a second; nothing is injected, what is found is in the data.")
        traffic.start()
        try:
            tell(play_table(scene, traffic))
            if linger is not None:
                linger(scene, traffic)
        finally:
            traffic.stop()
            traffic.join(10)
