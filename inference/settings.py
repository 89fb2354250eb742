"""Settings of the sidecar and of its uploader, and the rule that a port open to others needs keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ByteSize, Field

from storage.settings import Settings, is_loopback


def _default_spool(values: dict[str, Any]) -> Path:
    return Path(values.get("home", "modelwatch-data")) / "spool"


class InferenceSettings(Settings):
    """What `modelwatch serve` and `modelwatch upload` read."""

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. Any other than loopback needs an active API key (`modelwatch keys create`) or `trusted_network`.",
    )
    inference_port: int = Field(8000, ge=1, le=65535, description="Port of the sidecar.")
    workers: int = Field(1, ge=1, le=256, description="Worker processes of the sidecar; one per core that it may use.")
    default_model: str = Field(
        "", description="The model that `/predict` and `/predict/batch` ask. Unset: the only one, where there is only one."
    )
    durability: Literal["process", "power"] = Field(
        "process",
        description="What an answered prediction survives: the death of the process, or of the machine (an fsync before each answer).",
    )
    spool_folder: Path = Field(
        default_factory=_default_spool,
        description="Folder of the predictions that are not in the database yet (the default: `spool` in the home folder). Needs a local disk.",
    )
    spool_max_bytes: ByteSize = Field(
        ByteSize(2 * 1024**3),
        gt=0,
        description="Most that the spool may hold, as bytes or as `512MiB`, before `spool_full` applies.",
    )
    spool_full: Literal["reject", "serve_unlogged", "drop_oldest"] = Field(
        "reject",
        description="What happens when the spool is full: answer 503, answer without logging (with a header that says so), or forget the oldest.",
    )
    max_body_bytes: ByteSize = Field(
        ByteSize(16 * 1024**2), gt=0, description="Largest request body; a larger one is answered with 413."
    )
    max_rows: int = Field(
        5_000,
        ge=1,
        description="Most rows in one request; more are answered with 413. A request of up to 5,000 rows is logged whole or not at all.",
    )
    poll_seconds: float = Field(
        0.5,
        gt=0,
        le=2,
        description="How often the sidecar looks for new versions and deployments; both take effect within two seconds.",
    )
    drain_seconds: float = Field(
        1.0,
        ge=0,
        le=300,
        description="How long `/ready` says 503 before the port closes, so that load balancers look elsewhere first.",
    )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the port."""
        return is_loopback(self.host)
