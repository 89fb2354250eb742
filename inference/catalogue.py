"""The models that this process serves: loaded versions and deployments, kept in step with the database.

A thread looks for changes; it loads what is new first and then swaps one immutable ``Snapshot`` for the next, so a
request sees either the old state or the new one, whole. While the database is away the last snapshot stays.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sqlalchemy import Engine

from inference.batching import MicroBatcher
from inference.metrics import Meter, Meters
from inference.models.contract import LoadedModel, ModelError, Outputs
from inference.models.golden import golden_problem
from inference.models.loading import load_version
from inference.routing import Route, only_champion
from inference.rows import RowReader, RowWatch
from inference.settings import InferenceSettings
from storage import deployments, keys, registry
from storage.engine import DatabaseUnavailable, reading
from storage.layouts import category_text
from storage.migrate import SchemaMismatch, require_current
from storage.records import Deployment, Mode, Scalar, Task, Version

log = logging.getLogger(__name__)

INLINE_US = 300.0
"""A call that is expected to take longer leaves the event loop."""
RELOAD_SECONDS = 10.0
"""How often a version that could not be loaded is tried again."""
VERSIONS_SECONDS = 1.0
"""How often the list of versions is read when no deployment has changed."""


class VersionInService:
    """One loaded version and all that its requests need."""

    def __init__(self, version: Version, model: LoadedModel, meter: Meter) -> None:
        self.version = version
        self.name = version.version
        self.model = model
        self.meter = meter
        self.reader = RowReader(version.signature)
        self.watch = RowWatch(version.signature)
        self.is_regression = version.signature.task is Task.REGRESSION
        self._cost_us = float(version.details.get("cost_us", INLINE_US))
        self._row_cost_us = float(version.details.get("row_cost_us", 0.0))
        self._texts: dict[Scalar, str] = {}

    def is_quick(self, rows: int) -> bool:
        """Whether the model may be called on the event loop."""
        return self._cost_us + rows * self._row_cost_us <= INLINE_US

    @cached_property
    def batcher(self) -> MicroBatcher:
        return MicroBatcher(self.model, f"{self.version.model}-{self.name}")

    def texts(self, outputs: Outputs) -> list[str | None]:
        """The predictions as the database keeps them: class labels as text, numbers as their shortest text."""
        if self.is_regression:
            return [repr(value) for value in outputs.predictions]
        known = self._texts
        try:
            return [known[label] for label in outputs.predictions]
        except KeyError:
            known.update({label: category_text(label) for label in outputs.predictions})
            return [known[label] for label in outputs.predictions]


@dataclass(frozen=True, kw_only=True)
class ModelInService:
    """One model: the deployment that is followed, its loaded versions, and what is wrong with the others."""

    name: str
    deployment: Deployment
    versions: Mapping[str, VersionInService]
    problems: Mapping[str, str]

    @cached_property
    def only_route(self) -> Route | None:
        """The route of every request that pins no version, where there is but one."""
        if self.deployment.mode is Mode.SINGLE or self.deployment.challenger is None:
            return only_champion(self.deployment)
        return None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The state that requests are answered from. ``registered`` also lists what cannot be served."""

    models: Mapping[str, ModelInService] = field(default_factory=dict)
    registered: Mapping[str, tuple[Version, ...]] = field(default_factory=dict)
    problems: Mapping[tuple[str, str], str] = field(default_factory=dict)
    is_loaded: bool = False
    keys_exist: bool = False

    def unavailable(self, model: str) -> str | None:
        """Why a registered model cannot be served; None when there is no such model, or it can."""
        if model in self.models or model not in self.registered:
            return None
        reasons = [
            f"Version {version} cannot be loaded: {reason}" for (name, version), reason in self.problems.items() if name == model
        ]
        return reasons[-1] if reasons else f"No version of {model} is deployed; promote one."


class Catalogue:
    """Keeps ``snapshot`` up to date. ``on_change`` is called, in the thread, after each swap."""

    def __init__(
        self, engine: Engine, settings: InferenceSettings, meters: Meters, on_change: Callable[[Snapshot], None] | None = None
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._meters = meters
        self._on_change = on_change
        self._stop = threading.Event()
        self._looking = threading.Lock()
        self._looked_at = float("-inf")
        self._thread = threading.Thread(target=self._run, name="catalogue", daemon=True)
        self._newest_deployment = -1
        self._versions_read = 0.0
        self._loaded: dict[tuple[str, str], VersionInService] = {}
        self._failed: dict[tuple[str, str], tuple[str, float]] = {}
        self._is_schema_known = False
        self.snapshot = Snapshot()
        self.database_problem: str | None = "The sidecar is starting."

    def start(self) -> None:
        """Reads the database once, if it is there, and goes on reading it in a thread."""
        self.poll()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._settings.poll_seconds):
            self.poll()

    def poll(self, *, unless_within: float = 0.0) -> None:
        """Looks once, and swaps the snapshot if anything changed. Never raises: the last snapshot stays in service.

        Does nothing when somebody looked ``unless_within`` seconds ago or later.
        """
        with self._looking:
            if time.monotonic() - self._looked_at >= unless_within:
                self._poll()
                self._looked_at = time.monotonic()

    def _poll(self) -> None:
        try:
            self._look(time.monotonic())
        except (DatabaseUnavailable, SchemaMismatch) as error:
            self._report(str(error))
        except Exception:
            log.exception("Looking for new versions and deployments failed; the ones in service stay.")
            self._report("The database could not be read; the log says why.")
        else:
            self._report(None)

    def _report(self, problem: str | None) -> None:
        if problem != self.database_problem:
            if problem is not None:
                log.warning("%s Trying again every %g seconds.", problem, self._settings.poll_seconds)
            elif self.snapshot.is_loaded and self.database_problem != "The sidecar is starting.":
                log.info("The database is back.")
        self.database_problem = problem

    def _look(self, now: float) -> None:
        if not self._is_schema_known:
            require_current(self._engine)
            self._is_schema_known = True
        with reading(self._engine) as c:
            newest = deployments.newest_id(c)
            keys_exist = keys.any_made(c)
            is_due = newest != self._newest_deployment or now - self._versions_read >= VERSIONS_SECONDS
            if not is_due and keys_exist == self.snapshot.keys_exist:
                return
            current = deployments.all_current(c)
            versions = [version for version in registry.list_versions(c) if version.archived_at is None]
        self._load(versions, now)
        snapshot = self._build(current, versions, keys_exist)
        self._newest_deployment, self._versions_read = newest, now
        if _fingerprint(snapshot) != _fingerprint(self.snapshot):
            self._swap(snapshot)

    def _load(self, versions: list[Version], now: float) -> None:
        """Loads what is new, tries again what failed some time ago, forgets what was archived."""
        present = {(version.model, version.version) for version in versions}
        self._loaded = {key: loaded for key, loaded in self._loaded.items() if key in present}
        self._failed = {key: failed for key, failed in self._failed.items() if key in present}
        for version in versions:
            key = (version.model, version.version)
            failed = self._failed.get(key)
            if key in self._loaded or (failed is not None and now - failed[1] < RELOAD_SECONDS):
                continue
            try:
                self._loaded[key] = self._load_one(version)
                self._failed.pop(key, None)
            except Exception as error:  # foreign files: one that cannot be loaded never takes others down
                if failed is None:
                    log.error("%s version %s cannot be served: %s", *key, error, exc_info=not isinstance(error, ModelError))
                self._failed[key] = (str(error), now)

    def _load_one(self, version: Version) -> VersionInService:
        model = load_version(version, self._settings.models_folder)
        problem = golden_problem(version, model)
        if problem:
            raise ModelError(problem)
        return VersionInService(version, model, self._meters.of(version.model, version.version))

    def _build(self, current: dict[str, Deployment], versions: list[Version], keys_exist: bool) -> Snapshot:
        registered: dict[str, tuple[Version, ...]] = {}
        for version in versions:
            registered[version.model] = (*registered.get(version.model, ()), version)
        problems = {key: reason for key, (reason, _) in sorted(self._failed.items())}
        models = {}
        for name, deployment in current.items():
            followed = self._followed(name, deployment)
            if followed is not None:
                models[name] = ModelInService(
                    name=name,
                    deployment=followed,
                    versions={version: loaded for (model, version), loaded in self._loaded.items() if model == name},
                    problems={version: reason for (model, version), reason in problems.items() if model == name},
                )
        return Snapshot(models=models, registered=registered, problems=problems, is_loaded=True, keys_exist=keys_exist)

    def _followed(self, model: str, wanted: Deployment) -> Deployment | None:
        """The deployment to follow: the newest whose versions are loaded, so that a broken file changes nothing."""
        if self._can_serve(wanted):
            return wanted
        before = self.snapshot.models.get(model)
        return before.deployment if before is not None and self._can_serve(before.deployment) else None

    def _can_serve(self, deployment: Deployment) -> bool:
        needed = [deployment.champion, *([deployment.challenger] if deployment.challenger else [])]
        return all((deployment.model, version) in self._loaded for version in needed)

    def _swap(self, snapshot: Snapshot) -> None:
        for name, model in snapshot.models.items():
            before = self.snapshot.models.get(name)
            if before is None or before.deployment.id != model.deployment.id:
                split = f", {model.deployment.weight:.0%} to {model.deployment.challenger}" if model.deployment.challenger else ""
                log.info("%s is served by version %s%s.", name, model.deployment.champion, split)
        self.snapshot = snapshot
        if self._on_change is not None:
            self._on_change(snapshot)


def _fingerprint(snapshot: Snapshot) -> Any:
    models = {name: (model.deployment.id, sorted(model.versions)) for name, model in snapshot.models.items()}
    registered = {name: [version.version for version in versions] for name, versions in snapshot.registered.items()}
    return models, registered, snapshot.problems, snapshot.keys_exist, snapshot.is_loaded
