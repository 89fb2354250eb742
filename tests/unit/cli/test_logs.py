"""A log line is a sentence with its fields, and never holds a secret."""

from __future__ import annotations

import logging
from pathlib import Path

from cli.logs import Formatter, redact, secret_values

NOWHERE = Path("/nonexistent/modelwatch.toml")


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("collector.jobs", logging.INFO, __file__, 1, message, None, None)
    made.created = 1_700_000_000.5
    vars(made).update(fields)
    return made


def test_line_holds_time_level_service_logger_sentence_and_fields() -> None:
    line = Formatter("collect").format(record("window written", model="churn", rows=12, note="two words"))

    assert line == "2023-11-14T22:13:20.500Z INFO collect collector.jobs: window written model=churn rows=12 note='two words'"


def test_secrets_are_passwords_tokens_hooks_and_passwords_within_addresses() -> None:
    environment = {
        "MODELWATCH_SMTP_PASSWORD": "hunter22",
        "MODELWATCH_SLACK_BOT_TOKEN": "xoxb-1",
        "MODELWATCH_SLACK_WEBHOOK_URL": "https://hooks.example/T/B/x",
        "MODELWATCH_DATABASE_URL": "postgresql+psycopg://user:opensesame@db/modelwatch",
        "MODELWATCH_SMTP_HOST": "mail.example",
        "OTHER_PASSWORD": "unrelated",
    }

    assert set(secret_values(environment, NOWHERE)) == {"hunter22", "xoxb-1", "https://hooks.example/T/B/x", "opensesame"}


def test_every_secret_is_blanked_out() -> None:
    assert redact("login hunter22 at hunter22", ["hunter22"]) == "login ******** at ********"
