"""`modelwatch serve`: the port first, then the uploader, then the workers; on SIGTERM the other way round."""

from __future__ import annotations

import logging
import logging.config
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import uvicorn
from pydantic import SecretStr
from uvicorn.supervisors import Multiprocess

from inference.metrics import remove_stale_worker_files
from inference.security import require_keys
from inference.settings import InferenceSettings
from inference.upload_status import SERVER_VARIABLE
from storage.engine import DatabaseUnavailable, create_engine
from storage.migrate import SchemaMismatch, require_current
from storage.settings import PREFIX, SettingsError

log = logging.getLogger(__name__)

UPLOADER_STOP_SECONDS = 15.0
BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
GRACE_SECONDS = 30
LOG_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"level": "INFO", "handlers": ["stderr"]},
    "loggers": {"alembic": {"level": "WARNING"}},
}


def run(settings: InferenceSettings, log_config: dict[str, Any] | None = None) -> int:
    """Serves until SIGTERM or SIGINT. Raises SettingsError with one sentence when it cannot start as it is set."""
    log_config = log_config or LOG_CONFIG
    logging.config.dictConfig(log_config)
    _check_database(settings)
    listener = open_listener(settings)
    settings.spool_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    remove_stale_worker_files(settings.spool_folder)
    os.environ.update(environment_of(settings))
    # The server raises the signal that ended it once more when it is done; by then there is only the uploader to end.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    uploader = UploaderProcess()
    uploader.start()
    try:
        _serve(settings, listener, log_config)
    finally:
        uploader.stop()
        listener.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def open_listener(settings: InferenceSettings) -> socket.socket:
    """The port, taken before anything else is started. Raises SettingsError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.inference_port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise SettingsError(
            f"MODELWATCH_HOST is {settings.host}, which is not an address of this machine ({error.strerror})."
        ) from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"The sidecar cannot listen on {settings.host}:{settings.inference_port} ({error.strerror}); "
            "stop what uses the port, or set MODELWATCH_INFERENCE_PORT to a free one."
        ) from error
    listener.set_inheritable(True)
    return listener


def environment_of(settings: InferenceSettings) -> dict[str, str]:
    """The settings as environment variables, so that workers and uploader read the same ones whoever set them."""
    found = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(int(value) if isinstance(value, int) else value)
        if text and value != type(settings).model_fields[name].default:
            found[f"{PREFIX}{name.upper()}"] = text
    return found


def _check_database(settings: InferenceSettings) -> None:
    """Refuses what waiting would not mend; a database that is away is waited for by the workers. Raises SettingsError."""
    try:
        engine = create_engine(settings.database)
    except DatabaseUnavailable as error:
        raise SettingsError(str(error)) from error
    try:
        require_current(engine)
        require_keys(engine, settings)
    except (DatabaseUnavailable, SchemaMismatch) as error:
        log.warning("%s The sidecar starts and is ready once that is mended.", error)
    finally:
        engine.dispose()


def _serve(settings: InferenceSettings, listener: socket.socket, log_config: dict[str, Any]) -> None:
    config = uvicorn.Config(
        "inference.app:create_from_environment",
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=log_config,
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    log.info("The sidecar listens on http://%s:%d.", settings.host, settings.inference_port)
    if settings.workers > 1:
        Multiprocess(config, sockets=[listener]).run()
        return
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    if not server.started:
        raise SettingsError("The sidecar could not start; the lines above say why.")


class UploaderProcess:
    """Keeps one `modelwatch upload` running; it ends itself when this process dies."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="uploader", daemon=True)

    def start(self) -> None:
        self._process = self._spawn()
        self._thread.start()

    def stop(self) -> None:
        """Lets it upload what is left, for some seconds."""
        self._stop.set()
        self._thread.join()
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(UPLOADER_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            log.warning("The uploader did not end in time; what it left in the spool is uploaded at the next start.")
            self._process.kill()
            self._process.wait()

    @staticmethod
    def _spawn() -> subprocess.Popen[bytes]:
        # A group of its own: Ctrl-C in a terminal must reach the server first, so that the uploader drains what it wrote last.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "cli.main", "upload"],
            stdin=subprocess.DEVNULL,
            process_group=0,
            env={**os.environ, SERVER_VARIABLE: str(os.getpid())},
        )

    def _keep(self) -> None:
        pause = 0.5
        started = time.monotonic()
        while not self._stop.wait(0.2):
            if self._process is None or self._process.poll() is None:
                continue
            pause = 0.5 if time.monotonic() - started > 30 else min(pause * 2, 10.0)
            log.warning("The uploader ended with status %s; starting it again.", self._process.returncode)
            if self._stop.wait(pause):
                return
            started = time.monotonic()
            self._process = self._spawn()
