"""Errors for people end a command with a status; faults of the program keep their traceback."""

from __future__ import annotations

import pytest

from alerts.rules import RulesError
from cli.errors import EXIT_CODES, EXIT_PROBLEM, EXIT_USAGE, CommandError, UsageProblem, exit_code_of
from storage.settings import SettingsError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError("x"), EXIT_PROBLEM),
        (UsageProblem("x"), EXIT_USAGE),
        (SettingsError("x"), EXIT_USAGE),
        (RulesError("rules.yml", ("x",)), EXIT_USAGE),
        (ValueError("x"), None),
    ],
)
def test_exit_code(error: Exception, code: int | None) -> None:
    assert exit_code_of(error) == code


@pytest.mark.parametrize("name", EXIT_CODES)
def test_every_named_error_exists(name: str) -> None:
    module, _, kind = name.rpartition(".")

    assert issubclass(getattr(__import__(module, fromlist=[kind]), kind), Exception)
