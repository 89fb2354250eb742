"""Settings of the dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from storage.durations import parse_duration
from storage.settings import Settings, is_loopback

REFRESH_CHOICES = ("off", "5s", "10s", "30s", "1m", "5m")
"""What the refresh control offers."""


class DashboardSettings(Settings):
    """Where the dashboard listens, and how fresh its pages are."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on; another one than loopback needs sign-in, keys or `trusted_network`."
    )
    dashboard_port: int = Field(8501, ge=1, le=65535, description="Port of the dashboard.")
    dashboard_refresh: str = Field("30s", description="How often an open page reads again: `off`, 5s, 10s, 30s, 1m or 5m.")
    dashboard_stale_after: str = Field(
        "15m", description="A deployed version without predictions for this long is shown as silent, and figures as stale."
    )
    demo_inbox: Path | None = Field(
        None, description="JSON-lines file of what the demo's Slack and mailbox received; the alerts page shows it."
    )

    @field_validator("dashboard_refresh")
    @classmethod
    def _known_refresh(cls, value: str) -> str:
        if value not in REFRESH_CHOICES:
            raise ValueError(f"{value!r} is not one of {', '.join(REFRESH_CHOICES)}")
        return value

    @field_validator("dashboard_stale_after")
    @classmethod
    def _duration(cls, value: str) -> str:
        parse_duration(value)
        return value

    @model_validator(mode="after")
    def _loopback_unless_trusted(self) -> Self:
        if not self.trusted_network and not is_loopback(self.host):
            raise ValueError(
                f"MODELWATCH_HOST is {self.host}, and the dashboard has no sign-in of its own. Use 127.0.0.1 behind a proxy that signs "
                "people in, or set MODELWATCH_TRUSTED_NETWORK=true where the network decides who gets in"
            )
        return self
