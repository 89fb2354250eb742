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

from cli.errors import CommandError
from cli.supervise import Service, Supervisor, check_ports, hold_home

if TYPE_CHECKING:
    from inference.settings import InferenceSettings

LOOK_SECONDS = 0.1
HOLD_BACK_SECONDS = 3.0
"""How long the heavy services wait for the sidecar to be ready, which then has the cores for itself while it starts."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will run, and where."""

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
            "predictions": ("MODELWATCH_INFERENCE_PORT", "/docs"),
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
    from cli.session import load_settings
    from collector.settings import CollectorSettings
    from dashboard.settings import DashboardSettings
    from inference.settings import InferenceSettings

    settings: InferenceSettings = load_settings(InferenceSettings)
    ports = {
        "MODELWATCH_INFERENCE_PORT": settings.inference_port,
        "MODELWATCH_COLLECTOR_PORT": CollectorSettings.load().collector_port,
        "MODELWATCH_ALERTS_PORT": AlertsSettings.load().alerts_port,
    }
    services = [
        Service(name="serve", arguments=("serve",)),
        Service(name="collect", arguments=("collect",), after_ready=True),
        Service(name="alert", arguments=("alert",), after_ready=True),
    ]
    if dashboard:
        ports["MODELWATCH_DASHBOARD_PORT"] = DashboardSettings.load().dashboard_port
        services.append(Service(name="dashboard", arguments=("dashboard",), after_ready=True))
    return Plan(home=settings.home.resolve(), database=settings.database, host=settings.host, ports=ports, services=tuple(services))


def run(plan: Plan, *, say: Say, tell_urls: Callable[[Mapping[str, str]], None], echo: Say | None) -> int:
    """Run the stack until SIGINT or SIGTERM. Raises CommandError where it cannot start.

    ``tell_urls`` is called once, when the sidecar is ready.
    """
    with hold_home(plan.home):
        check_ports(plan.host, plan.ports)
        _prepare_database(plan.database)
        supervisor = Supervisor(home=plan.home, services=plan.services, say=say, echo=echo)
        stop_on_signals(supervisor.stopping)
        try:
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
    waiting = [service for service in plan.services if service.after_ready]
    for service in plan.services:
        if not service.after_ready:
            supervisor.start(service)
    told = False
    while not supervisor.stopping.is_set():
        now = time.monotonic()
        supervisor.watch(now)
        ready = not told and is_ready(plan)
        if waiting and (ready or told or now - started > HOLD_BACK_SECONDS):
            for service in waiting:
                supervisor.start(service)
            waiting = []
        if ready:
            told = True
            tell_urls(plan.urls)
        supervisor.stopping.wait(LOOK_SECONDS)


def is_ready(plan: Plan) -> bool:
    """Whether the sidecar answers ``/ready`` with 200."""
    host = reachable(plan.host).strip("[]")
    connection = http.client.HTTPConnection(host, plan.ports["MODELWATCH_INFERENCE_PORT"], timeout=1)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def apply_options(options: Mapping[str, object]) -> None:
    """Options of the command become variables, so that every child sees them. None leaves a setting as it is."""
    for name, value in options.items():
        if value is not None:
            os.environ[f"MODELWATCH_{name.upper()}"] = str(value)


def require_positive(name: str, value: int | None) -> None:
    """Raises CommandError unless the option is absent or at least 1."""
    if value is not None and value < 1:
        raise CommandError(f"--{name} {value} must be at least 1.")
