"""Runs the pages: Streamlit in this process, without its browser, e-mail prompt, telemetry and file watcher."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Any

from dashboard.settings import DashboardSettings
from storage.settings import PREFIX, SettingsError

APP = Path(__file__).with_name("app.py")

_FONT = "Inter, 'Source Sans', 'Noto Sans SC', 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif"

OPTIONS: dict[str, Any] = {
    "global.developmentMode": False,
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "logger.hideWelcomeMessage": True,
    "logger.level": "warning",
    "runner.magicEnabled": False,
    "server.fileWatcherType": "none",
    "server.headless": True,
    "server.runOnSave": False,
    "theme.font": _FONT,
    "theme.baseFontSize": 15,
    "theme.baseRadius": "6px",
    "theme.metricValueFontSize": "1.5rem",
    "theme.headingFontSizes": ["1.5rem", "1.15rem", "1rem", "0.95rem", "0.9rem", "0.85rem"],
    "theme.headingFontWeights": [600, 600, 600, 600, 600, 600],
    "theme.light.primaryColor": "#0F5FA8",
    "theme.light.backgroundColor": "#FFFFFF",
    "theme.light.secondaryBackgroundColor": "#F4F6F8",
    "theme.light.textColor": "#1B2430",
    "theme.light.borderColor": "#DDE2E8",
    "theme.dark.primaryColor": "#5AB0F0",
    "theme.dark.backgroundColor": "#11161C",
    "theme.dark.secondaryBackgroundColor": "#1A2129",
    "theme.dark.textColor": "#E4E9EF",
    "theme.dark.borderColor": "#2C3641",
}
"""What is set in Streamlit; a flag wins over any ``config.toml`` lying about."""


def run(settings: DashboardSettings) -> int:
    """Serves the pages until SIGTERM or SIGINT. Raises SettingsError where the port is taken."""
    require_free_port(settings.host, settings.dashboard_port)
    hand_over(settings)
    _import_once()
    _serve({**OPTIONS, "server.address": settings.host, "server.port": settings.dashboard_port})
    return 0


def require_free_port(host: str, port: int) -> None:
    """Raises SettingsError where nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"The dashboard cannot listen on {host}:{port} ({os.strerror(error.errno or 0)}). Stop what uses the port, or set "
                f"{PREFIX}DASHBOARD_PORT to a free one."
            ) from error


def hand_over(settings: DashboardSettings) -> None:
    """Puts the settings into the environment, where the page scripts read them: Streamlit passes nothing on to a script."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name == "database_url":
            value = settings.database
        if name == "home":
            value = settings.home.resolve()
        if value is not None:
            os.environ[f"{PREFIX}{name.upper()}"] = str(value)


def _import_once() -> None:
    """The heavy libraries, before the port answers: the first page is then as quick as the others."""
    import plotly.io
    import pyarrow  # noqa: F401
    import streamlit.elements.arrow
    import streamlit.elements.plotly_chart  # noqa: F401
    from streamlit.logger import get_logger

    # Caches that are made before the server runs complain that there is none yet; nothing is to be done about it.
    get_logger("streamlit.runtime.caching.cache_data_api").setLevel(logging.ERROR)
    import collector.statistics.comparison
    import collector.statistics.drift  # noqa: F401
    import dashboard.header
    import dashboard.views.overview  # noqa: F401
    from dashboard import charts

    charts.figure(charts.LIGHT, 100).to_json()
    plotly.io.templates["plotly_white"]


def _serve(options: dict[str, Any]) -> None:
    from streamlit import config
    from streamlit.web import bootstrap

    config._main_script_path = str(APP)  # as `streamlit run` does: where it looks for a config.toml of the app
    flags = {name.replace(".", "_"): value for name, value in options.items()}
    bootstrap.load_config_options(flags)
    bootstrap.run(str(APP), False, [], flags)
