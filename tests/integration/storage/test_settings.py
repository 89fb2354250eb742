"""Settings come from options, the environment, files of secrets and modelwatch.toml, in this order."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.settings import Settings, SettingsError


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working directory without modelwatch.toml and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"MODELWATCH_{name.upper()}", raising=False)
        monkeypatch.delenv(f"MODELWATCH_{name.upper()}_FILE", raising=False)


def test_the_defaults_run(tmp_path: Path) -> None:
    settings = Settings.load()

    assert settings.database == f"sqlite:///{tmp_path.resolve()}/modelwatch-data/modelwatch.db"
    assert settings.models_folder == Path("modelwatch-data/models")
    assert settings.rollup_seconds == 60


def test_what_is_nearer_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("postgresql+psycopg://file\n")
    (tmp_path / "modelwatch.toml").write_text(
        'database_url = "toml"\nMODELWATCH_ROLLUP_SECONDS = 5\nlog_level = "DEBUG"\nother = 1\n'
    )
    assert (Settings.load().database, Settings.load().rollup_seconds) == ("toml", 5)

    monkeypatch.setenv("MODELWATCH_DATABASE_URL_FILE", str(tmp_path / "secret"))
    assert Settings.load().database == "postgresql+psycopg://file"

    monkeypatch.setenv("MODELWATCH_DATABASE_URL", "environment")
    monkeypatch.setenv("MODELWATCH_LOG_LEVEL", "")
    assert (Settings.load().database, Settings.load().log_level) == ("environment", "DEBUG")

    assert Settings.load(database_url="option", rollup_seconds=None).database == "option"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("MODELWATCH_ROLLUP_SECONDS", "0"), ("MODELWATCH_ROLLUP_SECONDS", "a minute"), ("MODELWATCH_LOG_LEVEL", "LOUD")],
)
def test_a_wrong_value_is_a_sentence_that_names_the_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError, match=variable) as caught:
        Settings.load()

    assert "\n" not in str(caught.value)


def test_a_file_of_a_secret_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELWATCH_DATABASE_URL_FILE", "/nowhere/secret")

    with pytest.raises(SettingsError, match="MODELWATCH_DATABASE_URL_FILE: cannot read /nowhere/secret"):
        Settings.load()


def test_a_file_of_a_secret_that_is_no_text_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("MODELWATCH_DATABASE_URL_FILE", str(tmp_path / "secret"))

    with pytest.raises(SettingsError, match=r"MODELWATCH_DATABASE_URL_FILE: .*secret is not UTF-8 text"):
        Settings.load()


@pytest.mark.parametrize("content", [b"home = ", b"\xff\xfe", b"= 3"])
def test_a_settings_file_that_is_no_toml_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "modelwatch.toml").write_bytes(content)

    with pytest.raises(SettingsError, match=r"modelwatch\.toml cannot be read as TOML"):
        Settings.load()


def test_a_password_is_not_shown() -> None:
    settings = Settings.load(database_url="postgresql+psycopg://u:hunter2@h/d")

    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings.model_dump())
