"""Misspelt settings are told with the nearest name that exists."""

from __future__ import annotations

import pytest

from alerts.settings import AlertsSettings
from cli.setting_names import fields_in, known_names, unknown_variables
from collector.settings import CollectorSettings
from dashboard.settings import DashboardSettings
from inference.settings import InferenceSettings

KNOWN = frozenset({"home", "inference_port", "smtp_password"})


def test_names_read_from_the_source_are_the_fields_of_the_classes() -> None:
    classes = (InferenceSettings, CollectorSettings, AlertsSettings, DashboardSettings)

    assert known_names() == {name for settings in classes for name in settings.model_fields}


def test_only_annotated_names_of_settings_classes_are_fields() -> None:
    source = "X: int = 1\nclass Other:\n    a: int = 1\nclass DemoSettings(Settings):\n    model_config = {}\n    b: int = 2\n"

    assert list(fields_in(source)) == ["b"]


@pytest.mark.parametrize("variable", ["MODELWATCH_HOME", "MODELWATCH_SMTP_PASSWORD_FILE", "modelwatch_home"])
def test_known_variable_is_not_told(variable: str) -> None:
    assert unknown_variables([variable], KNOWN) == []


def test_misspelt_variable_is_told_with_the_nearest_name() -> None:
    assert unknown_variables(["MODELWATCH_INFERENCE_PROT"], KNOWN) == [
        "MODELWATCH_INFERENCE_PROT is not a setting and is ignored; did you mean MODELWATCH_INFERENCE_PORT?"
    ]


def test_variable_unlike_any_other_is_told_without_a_guess() -> None:
    assert unknown_variables(["MODELWATCH_XYZZY"], KNOWN) == ["MODELWATCH_XYZZY is not a setting and is ignored."]
