"""What one worker process of the sidecar holds for its life, wired by hand in ``Runtime``."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from inference.catalogue import Catalogue, Snapshot
from inference.metrics import PUBLISH_SECONDS, Meters, WorkerFiles, exposition
from inference.security import Gate
from inference.serving import HotEndpoint, PredictionService, endpoints
from inference.settings import InferenceSettings
from inference.spool import Spool, open_worker_spool
from inference.spool_folder import writer_id
from inference.upload_status import read_status
from storage.engine import create_engine
from storage.records import Layout

log = logging.getLogger(__name__)


class Runtime:
    """Opens the spool, follows the database, and answers what the endpoints ask."""

    def __init__(self, settings: InferenceSettings, *, log_predictions: bool = True) -> None:
        self.settings = settings
        self.engine: Engine = create_engine(settings.database)
        self.meters = Meters()
        self.gate = Gate(self.engine, settings)
        self.layouts: dict[tuple[str, str], Layout] = {}
        self.is_draining = False
        self.spool: Spool | None = None
        self.service: PredictionService
        self.hot: dict[str, HotEndpoint] = {}
        self.catalogue = Catalogue(self.engine, settings, self.meters, self._serve)
        self._log_predictions = log_predictions
        self._files = WorkerFiles(settings.spool_folder, os.getppid()) if settings.workers > 1 else None
        self._stop = threading.Event()
        self._publisher = threading.Thread(target=self._publish, name="totals", daemon=True)

    def start(self) -> None:
        """Blocks until the models are loaded, or the database was found to be away. Raises what the spool raises."""
        settings = self.settings
        if self._log_predictions:
            self.spool = open_worker_spool(
                settings.spool_folder,
                durability=settings.durability,
                max_bytes=int(settings.spool_max_bytes),
                when_full=settings.spool_full,
            )
        self.service = PredictionService(settings, self.gate, self.meters, self.spool)
        self.catalogue.start()
        if self._files is not None:
            self._publisher.start()

    def stop(self) -> None:
        """Everything that was answered is on the disk when this returns."""
        self.catalogue.stop()
        self._stop.set()
        if self._publisher.is_alive():
            self._publisher.join()
        if self.spool is not None:
            self.spool.close()
        self.engine.dispose()

    @property
    def snapshot(self) -> Snapshot:
        return self.catalogue.snapshot

    @property
    def label_writer(self) -> str:
        """Under which name this process counts labels: its own, so that it waits for no other."""
        folder: Path = self.spool.folder if self.spool is not None else self.settings.spool_folder
        return f"{writer_id(folder)}-labels"

    def _serve(self, snapshot: Snapshot) -> None:
        """Called by the catalogue's thread; an assignment is atomic, and requests under way keep what they began with."""
        self.gate.keys_exist = snapshot.keys_exist
        self.hot = endpoints(self.service, snapshot.models, self.settings.default_model)

    # ------------------------------------------------------------------------------------------ state

    def not_ready(self) -> list[str]:
        """Why this process should get no traffic; empty when it should."""
        if self.is_draining:
            return ["The server is shutting down."]
        snapshot = self.snapshot
        if not snapshot.is_loaded:
            return [self.catalogue.database_problem or "The models are being loaded."]
        reasons = []
        if self.spool is not None and self.settings.spool_full == "reject":
            state = self.spool.state()
            if not state.writable:
                reasons.append(f"Predictions cannot be logged: {state.reason}")
        if snapshot.problems and not snapshot.models:
            reasons += self._version_problems()
        return reasons

    def troubles(self) -> list[str]:
        """What is wrong though traffic is served."""
        found = self._version_problems()
        if self.catalogue.database_problem:
            found.append(self.catalogue.database_problem)
        uploader = read_status(self.settings.spool_folder)
        if uploader.hindrance:
            found.append(uploader.hindrance)
        return found

    def _version_problems(self) -> list[str]:
        return [f"Version {version} of {model}: {reason}" for (model, version), reason in self.snapshot.problems.items()]

    def unknown_model(self, model: str) -> tuple[int, str]:
        """Status and sentence for a model that no hot path serves."""
        snapshot = self.snapshot
        if not snapshot.is_loaded:
            return 503, self.catalogue.database_problem or "The models are being loaded; try again."
        reason = snapshot.unavailable(model)
        if reason is not None:
            return 503, reason
        return 404, "There is no model of this name; GET /v1/models lists the models."

    # ------------------------------------------------------------------------------------------ metrics

    def metrics(self) -> bytes:
        """The Prometheus text over all workers."""
        if self._files is None:
            return exposition([self._totals()], self.settings.spool_folder)
        self._files.publish(self._totals())
        return exposition(self._files.read(), self.settings.spool_folder)

    def _totals(self) -> dict[str, Any]:
        state = self.spool.state() if self.spool is not None else None
        return self.meters.totals(
            active=[(name, version) for name, model in self.snapshot.models.items() for version in model.versions],
            records=state.records_total if state else 0,
            dropped=state.dropped_total if state else 0,
        )

    def _publish(self) -> None:
        assert self._files is not None
        while not self._stop.wait(PUBLISH_SECONDS):
            self._publish_once(self._files)
        self._publish_once(self._files)

    def _publish_once(self, files: WorkerFiles) -> None:
        try:
            files.publish(self._totals())
        except OSError as error:
            log.warning("The metrics of this worker could not be written (%s).", error.strerror)
