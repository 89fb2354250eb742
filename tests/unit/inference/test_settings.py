"""Settings of the sidecar: who can reach a host, and where the spool is."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.settings import InferenceSettings
from storage.settings import SettingsError


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.5", False),
        ("api.example", False),
    ],
)
def test_only_loopback_is_closed_to_others(host: str, is_loopback: bool) -> None:
    assert InferenceSettings(host=host).is_loopback is is_loopback


def test_the_spool_is_in_the_home_folder_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert InferenceSettings(home=Path("/data")).spool_folder == Path("/data/spool")
    monkeypatch.setenv("MODELWATCH_SPOOL_FOLDER", "/fast/spool")
    assert InferenceSettings(home=Path("/data")).spool_folder == Path("/fast/spool")


def test_sizes_may_have_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWATCH_SPOOL_MAX_BYTES", "512MiB")

    assert InferenceSettings.load().spool_max_bytes == 512 * 1024**2


@pytest.mark.parametrize(
    ("name", "value"),
    [("DURABILITY", "none"), ("SPOOL_FULL", "wait"), ("INFERENCE_PORT", "70000"), ("WORKERS", "0"), ("MAX_ROWS", "x")],
)
def test_a_wrong_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"MODELWATCH_{name}", value)

    with pytest.raises(SettingsError, match=f"MODELWATCH_{name} is wrong"):
        InferenceSettings.load()
