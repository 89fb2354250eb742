"""The one logging configuration of every process: a sentence and its structured fields on standard error.

``2026-11-21T10:00:00.123Z INFO collect collector.jobs: window written model=churn rows=1200``
"""

from __future__ import annotations

import logging
import logging.config
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_SECRET_NAMES = re.compile(r"(PASSWORD|TOKEN|WEBHOOK_URL|SECRET|ROUTING_KEY)$", re.IGNORECASE)
_URL_NAMES = re.compile(r"_URL$", re.IGNORECASE)
SHORTEST_SECRET = 4
"""A shorter "secret" would blank out parts of ordinary words."""

QUIET = {
    "alembic": "WARNING",
    "httpx": "WARNING",
    "httpcore": "WARNING",
    "slack_sdk": "INFO",
    "apscheduler": "ERROR",
    "mail.log": "WARNING",
    "watchdog": "WARNING",
}
"""Libraries whose chatter hides ours; ``slack_sdk`` writes its secret address when it debugs."""


class Formatter(logging.Formatter):
    """One line per record: time, level, service, logger, sentence, fields; secrets are blanked out."""

    def __init__(self, service: str = "modelwatch") -> None:
        super().__init__()
        self.service = service
        self.secrets = secret_values()

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = f"{at} {record.levelname} {self.service} {record.name}: {record.getMessage()}{_fields(record)}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return redact(line, self.secrets)


def _fields(record: logging.LogRecord) -> str:
    fields = {name: value for name, value in vars(record).items() if name not in _OWN_FIELDS}
    return "".join(f" {name}={_quoted(value)}" for name, value in fields.items())


def _quoted(value: object) -> str:
    text = str(value)
    return repr(text) if re.search(r"\s", text) or not text else text


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret replaced by asterisks."""
    for secret in secrets:
        text = text.replace(secret, "********")
    return text


def secret_values(environment: Mapping[str, str] | None = None, toml: Path = Path("modelwatch.toml")) -> tuple[str, ...]:
    """Every secret that the settings hold, longest first: passwords, tokens, web-hook addresses, passwords within URLs."""
    values: set[str] = set()
    for name, value in {
        **_toml_settings(toml),
        **_environment_settings(os.environ if environment is None else environment),
    }.items():
        if _SECRET_NAMES.search(name):
            values.add(value)
        elif _URL_NAMES.search(name):
            values.add(_password(value))
    return tuple(sorted((value for value in values if len(value) >= SHORTEST_SECRET), key=len, reverse=True))


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def _environment_settings(environment: Mapping[str, str]) -> dict[str, str]:
    found = {name: value for name, value in environment.items() if name.upper().startswith("MODELWATCH_")}
    for name in [name for name in found if name.endswith("_FILE")]:
        try:
            found[name.removesuffix("_FILE")] = Path(found[name]).read_text(encoding="utf-8").strip()
        except OSError:
            continue  # reading the settings tells it
    return found


def _toml_settings(path: Path) -> dict[str, str]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in content.items() if isinstance(value, str)}


def configuration(service: str, level: str = "INFO") -> dict[str, Any]:
    """The configuration as ``logging.config.dictConfig`` takes it, for servers that configure their own workers."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"sentence": {"()": "cli.logs.Formatter", "service": service}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "sentence"}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {name: {"level": least} for name, least in QUIET.items()},
    }


def configure(service: str, level: str = "INFO") -> dict[str, Any]:
    """Configure logging for this process and return the configuration."""
    chosen = configuration(service, level)
    logging.config.dictConfig(chosen)
    return chosen
