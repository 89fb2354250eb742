"""`modelwatch up` and the services one by one: `serve`, `collect`, `alert`, `dashboard`, and the hidden `upload`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from cli.output import say

Host = Annotated[str | None, typer.Option(help="Address to listen on, instead of MODELWATCH_HOST.")]


def add_to(app: typer.Typer) -> None:
    """Hang the commands of this module into the application."""
    app.command(epilog="Example: modelwatch up --workers 2")(up)
    app.command(epilog="Example: MODELWATCH_INFERENCE_PORT=8080 modelwatch serve")(serve)
    app.command(epilog="Example: modelwatch collect")(collect)
    app.command(epilog="Example: MODELWATCH_RULES=rules.yml modelwatch alert")(alert)
    app.command(epilog="Example: modelwatch dashboard")(dashboard)
    app.command(hidden=True, epilog="Example: modelwatch upload")(upload)


def up(
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes of the sidecar.")] = None,
    host: Host = None,
    dashboard: Annotated[bool, typer.Option("--dashboard/--no-dashboard", help="Whether to start the dashboard.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", help="Write the services' logs to files only.")] = False,
) -> int:
    """Run every service until Ctrl-C: sidecar, collector, alerts and dashboard, on one home folder."""
    from cli import up as stack

    _follow_parent()
    stack.apply_options({"workers": workers, "host": host})
    return stack.run(dashboard=dashboard, say=say, tell_urls=_tell_urls, echo=None if quiet else say)


def _tell_urls(urls: Mapping[str, str]) -> None:
    print("modelwatch is ready; Ctrl-C stops it.")
    width = max(len(name) for name in urls)
    for name, url in urls.items():
        print(f"  {name:<{width}}  {url}", flush=True)


def serve(host: Host = None) -> int:
    """Serve the models over HTTP and log every prediction."""
    _follow_parent()
    from inference.serve import run
    from inference.settings import InferenceSettings

    settings = InferenceSettings.load(host=host)
    return int(run(settings, _configure_logs("serve", settings.log_level)))


def collect() -> int:
    """Compute drift, performance and resource metrics on a schedule."""
    _follow_parent()
    from collector.schedule import run
    from collector.settings import CollectorSettings

    settings = CollectorSettings.load()
    _configure_logs("collect", settings.log_level)
    return run(settings)


def alert() -> int:
    """Judge the rules and tell people."""
    _follow_parent()
    from alerts.service import run
    from alerts.settings import AlertsSettings

    settings = AlertsSettings.load()
    _configure_logs("alert", settings.log_level)
    return run(settings)


def dashboard() -> int:
    """Serve the dashboard."""
    _follow_parent()
    from dashboard.serve import run
    from dashboard.settings import DashboardSettings

    settings = DashboardSettings.load()
    _configure_logs("dashboard", settings.log_level)
    return run(settings)


def upload() -> int:
    """Copy the spool into the database; the sidecar starts this itself."""
    from inference.settings import InferenceSettings
    from inference.uploader import run

    settings = InferenceSettings.load()
    _configure_logs("upload", settings.log_level)
    return run(settings)


def _follow_parent() -> None:
    """A child of the supervisor ends with it; a service started by hand says which settings it does not know."""
    from cli import setting_names
    from cli.processes import follow_parent

    if not follow_parent():
        for warning in setting_names.warnings():
            say(f"Warning: {warning}")


def _configure_logs(service: str, level: str) -> dict[str, object]:
    from cli.logs import configure

    return configure(service, level)
