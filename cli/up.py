"""The whole stack in one process group: prepares the home folder and the database, then supervises the services."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.supervise import Service, Supervisor, check_ports, hold_home

if TYPE_CHECKING:
    from inference.settings import InferenceSettings

LOOK_SECONDS = 0.1
HOLD_BACK_SECONDS = 3.0
"""How long the heavy services wait for the sidecar to be ready, which then has the cores for itself while it starts."""

INFERENCE_PORT = "MODELWATCH_INFERENCE_PORT"
SIDECAR = Service(name="serve", arguments=("serve",))

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What runs beside the sidecar, and where everything listens."""

    home: Path
    database: str
    host: str
    ports: dict[str, int]
    services: tuple[Service, ...]

    @property
    def urls(self) -> dict[str, str]:
        """Addresses by what a person finds there."""
        host = reachable(self.host)
        names = {
            "predictions": (INFERENCE_PORT, "/docs"),
            "dashboard": ("MODELWATCH_DASHBOARD_PORT", ""),
            "collector metrics": ("MODELWATCH_COLLECTOR_PORT", "/metrics"),
            "alerts metrics": ("MODELWATCH_ALERTS_PORT", "/metrics"),
        }
        return {name: f"http://{host}:{self.ports[port]}{path}" for name, (port, path) in names.items() if port in self.ports}


def reachable(host: str) -> str:
    """The host as a client on this machine writes it into an address.

    >>> reachable("0.0.0.0"), reachable("::1")
    ('127.0.0.1', '[::1]')
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not listened on
    return f"[{host}]" if ":" in host else host


def make_plan(*, dashboard: bool = True) -> Plan:
    """Read the settings of every service. Raises SettingsError for the first that is wrong."""
    from alerts.settings import AlertsSettings
    from collector.settings import CollectorSettings
    from dashboard.settings import DashboardSettings

    settings = _front_settings()
    ports = {
        INFERENCE_PORT: settings.inference_port,
        "MODELWATCH_COLLECTOR_PORT": CollectorSettings.load().collector_port,
        "MODELWATCH_ALERTS_PORT": AlertsSettings.load().alerts_port,
    }
    services = [Service(name="collect", arguments=("collect",)), Service(name="alert", arguments=("alert",))]
    if dashboard:
        ports["MODELWATCH_DASHBOARD_PORT"] = DashboardSettings.load().dashboard_port
        services.append(Service(name="dashboard", arguments=("dashboard",)))
    return Plan(home=settings.home.resolve(), database=settings.database, host=settings.host, ports=ports, services=tuple(services))


def _front_settings() -> InferenceSettings:
    from inference.settings import InferenceSettings

    return InferenceSettings.load()


def run(*, dashboard: bool, say: Say, tell_urls: Callable[[Mapping[str, str]], None], echo: Say | None) -> int:
    """Run the stack until SIGINT or SIGTERM. Raises CommandError or SettingsError where it cannot start.

    ``tell_urls`` is called once, when the sidecar is ready. The sidecar starts as early as can be: while it imports its
    libraries, this process reads the settings of the other services.
    """
    front = _front_settings()
    home = front.home.resolve()
    with hold_home(home):
        check_ports(front.host, {INFERENCE_PORT: front.inference_port})
        _prepare_database(front.database)
        watch_sidecar(front)
        supervisor = Supervisor(home=home, say=say, echo=echo)
        stop_on_signals(supervisor.stopping)
        try:
            supervisor.start(SIDECAR)
            plan = make_plan(dashboard=dashboard)
            check_ports(plan.host, plan.ports, taken_by_us=INFERENCE_PORT)
            _supervise(plan, supervisor, tell_urls)
        finally:
            supervisor.stop()
    return 0


def stop_on_signals(stopping: threading.Event) -> None:
    """Let SIGINT, SIGTERM and a closed terminal set the event; a second SIGINT interrupts at once."""

    def handle(number: int, _frame: object) -> None:
        if stopping.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)


def _prepare_database(url: str) -> None:
    from storage.engine import create_engine
    from storage.migrate import upgrade

    engine = create_engine(url)
    upgrade(engine)
    engine.dispose()


def _supervise(plan: Plan, supervisor: Supervisor, tell_urls: Callable[[Mapping[str, str]], None]) -> None:
    started = time.monotonic()
    told, others_run = False, False
    while not supervisor.stopping.is_set():
        now = time.monotonic()
        supervisor.watch(now)
        ready = not told and is_ready(plan)
        if not others_run and (ready or now - started > HOLD_BACK_SECONDS):
            others_run = True
            for service in plan.services:
                supervisor.start(service)
        if ready:
            told = True
            tell_urls(plan.urls)
        supervisor.stopping.wait(LOOK_SECONDS)


def is_ready(plan: Plan) -> bool:
    """Whether the sidecar answers ``/ready`` with 200."""
    host = reachable(plan.host).strip("[]")
    connection = http.client.HTTPConnection(host, plan.ports[INFERENCE_PORT], timeout=1)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def watch_sidecar(front: InferenceSettings) -> None:
    """Have the collector ask this stack's own sidecar whether it is up, where nothing names others.

    The collector's settings are not loaded for it: their libraries would hold up the start of the sidecar.
    """
    from storage.settings import read_toml

    if not os.environ.get("MODELWATCH_INFERENCE_URLS") and not read_toml().get("inference_urls"):
        apply_options({"inference_urls": f"http://{reachable(front.host)}:{front.inference_port}"})


def apply_options(options: Mapping[str, object]) -> None:
    """Options of the command become variables, so that every child sees them. None leaves a setting as it is."""
    for name, value in options.items():
        if value is not None:
            os.environ[f"MODELWATCH_{name.upper()}"] = str(value)
