"""The collector's settings and what is derived from them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from collector.settings import CollectorSettings
from storage.settings import SettingsError


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_defaults_are_three_windows_and_the_shortest_is_exported() -> None:
    settings = CollectorSettings.load()

    assert [plan.name for plan in settings.plans] == ["5m", "1h", "1d"]
    assert settings.exported_plan.name == "5m"
    assert settings.spool_folder == settings.home / "spool"
    assert settings.lease_time == timedelta(minutes=3)


def test_the_environment_sets_durations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWATCH_COLLECT_INTERVAL", "2s")
    monkeypatch.setenv("MODELWATCH_WINDOWS", "10s,60s")
    monkeypatch.setenv("MODELWATCH_ROLLUP_SECONDS", "1")
    monkeypatch.setenv("MODELWATCH_EXPORT_WINDOW", "1m")

    settings = CollectorSettings.load()

    assert [(plan.name, plan.step.total_seconds()) for plan in settings.plans] == [("10s", 2.0), ("1m", 5.0)]
    assert settings.exported_plan.name == "1m"
    assert settings.lease_time == timedelta(seconds=10)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("windows", "90s", "MODELWATCH_WINDOWS is wrong: 1m30s is not a multiple of the rollup width of 60"),
        ("windows", "soon", "MODELWATCH_WINDOWS is wrong: 'soon' is not a duration"),
        ("export_window", "2h", "MODELWATCH_EXPORT_WINDOW is wrong: 2h is not one of"),
        ("collect_interval", "0s", "MODELWATCH_COLLECT_INTERVAL"),
        ("collector_port", 0, "MODELWATCH_COLLECTOR_PORT"),
        ("false_alarm_days", -1, "MODELWATCH_FALSE_ALARM_DAYS"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_the_variable(name: str, value: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        CollectorSettings.load(**{name: value})


def test_every_setting_is_described() -> None:
    assert [name for name, field in CollectorSettings.model_fields.items() if not field.description] == []
