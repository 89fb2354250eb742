"""Settings that every process shares, and how all settings are read: environment, ``…_FILE``, ``modelwatch.toml``."""

from __future__ import annotations

import os
import tomllib
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from storage.durations import format_duration, parse_duration
from storage.segment_fields import MOST_VALUES, SegmentFields

PREFIX = "MODELWATCH_"
TOML_FILE = Path("modelwatch.toml")


class SettingsError(Exception):
    """A setting is wrong; the message names it and says what to write instead."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("it must be longer than nothing, for example 1m")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration), PlainSerializer(format_duration, return_type=str)]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]


class SecretFiles(PydanticBaseSettingsSource):
    """``MODELWATCH_X_FILE`` names a file whose content is the value of ``MODELWATCH_X``."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = f"{PREFIX}{field_name.upper()}_FILE"
        path = os.environ.get(variable)
        if not path:
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except OSError as error:
            raise SettingsError(f"{variable}: cannot read {path} ({error.strerror}).") from error
        except UnicodeDecodeError as error:
            raise SettingsError(f"{variable}: {path} is not UTF-8 text.") from error

    def __call__(self) -> dict[str, Any]:
        values = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in values.items() if value is not None}


class TomlFile(PydanticBaseSettingsSource):
    """``modelwatch.toml`` in the working directory; keys with or without the ``modelwatch_`` prefix."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise AssertionError("values are read as a whole")  # pragma: no cover

    def __call__(self) -> dict[str, Any]:
        known = self.settings_cls.model_fields
        return {key: value for key, value in read_toml().items() if key in known}


def read_toml() -> dict[str, Any]:
    """What ``modelwatch.toml`` sets, without the prefix; empty where there is no such file."""
    try:
        content = tomllib.loads(TOML_FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{TOML_FILE.resolve()} cannot be read as TOML: {error}.") from error
    return {key.lower().removeprefix(PREFIX.lower()): value for key, value in content.items()}


class Settings(BaseSettings):
    """The home folder and the database, which every process needs."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    home: Path = Field(Path("modelwatch-data"), description="Folder of the models, the spool, the SQLite database and the logs.")
    database_url: SecretStr = Field(
        SecretStr(""),
        description="SQLAlchemy URL: `postgresql+psycopg://…`, or `sqlite:///…` (the default: `modelwatch.db` in the home folder).",
    )
    rollup_seconds: int = Field(
        60, ge=1, le=3600, description="Width of a rollup: no window can be shorter or begin between two of them."
    )
    segments: str = Field(
        "",
        description="Fields of the `segments` of requests that are counted by value, with commas, such as `country,plan`; at most 8 (the default: none).",
    )
    segment_values: int = Field(
        MOST_VALUES,
        ge=1,
        le=1000,
        description="Most values of each of these fields that are counted by themselves; any further one is counted as `*other`.",
    )
    trusted_network: bool = Field(
        False,
        description="Allows a `host` other than loopback without API keys and without sign-in: something else decides who gets in "
        "(a firewall, a proxy, a container network whose ports are published on loopback only).",
    )
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least level that is logged.")

    @field_validator("segments")
    @classmethod
    def _check_segments(cls, value: str) -> str:
        SegmentFields.parse(value)
        return value

    @property
    def segment_fields(self) -> SegmentFields:
        """What ``segments`` and ``segment_values`` declare."""
        return SegmentFields.parse(self.segments, self.segment_values)

    @property
    def database(self) -> str:
        """The database's URL with its default filled in. May hold a password: never log it."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.home.resolve() / 'modelwatch.db'}"

    @property
    def models_folder(self) -> Path:
        return self.home / "models"

    @property
    def scratch_folder(self) -> Path:
        """Where work that does not fit into memory goes for a while."""
        return self.home / "scratch"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, SecretFiles(settings_cls), TomlFile(settings_cls)

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read all sources; ``overrides`` (options of a command) win. Raises SettingsError with one sentence."""
        try:
            return cls(**{key: value for key, value in overrides.items() if value is not None})
        except ValidationError as error:
            raise SettingsError(_explain(error)) from error


def _explain(error: ValidationError) -> str:
    problem = error.errors()[0]
    said = problem["msg"].removeprefix("Value error, ")
    if problem["loc"]:
        said = f"{PREFIX}{str(problem['loc'][0]).upper()} is wrong: {said}"
    return f"{said}. Correct it in the environment or in {TOML_FILE}."
