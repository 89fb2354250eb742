"""The tables. Column names listed in docs/sql.md are public; a change to any of them needs a migration."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    cast,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime. SQLite keeps it as sortable text without an offset, PostgreSQL as timestamptz."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Json = JSON().with_variant(JSONB(), "postgresql")
"""Decoded JSON: dicts and lists in Python, JSONB in PostgreSQL, text in SQLite."""


class JsonText(TypeDecorator[str]):
    """JSON that is text in Python, in and out: text in SQLite, JSONB in PostgreSQL."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(JSONB() if dialect.name == "postgresql" else Text())

    def bind_processor(self, dialect: Dialect) -> None:
        return None  # JSONB's own would encode the text once more

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return cast(column, Text)


BigId = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

models = Table(
    "models",
    metadata,
    Column("name", String, primary_key=True),
    Column("task", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

layouts = Table(
    "layouts",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("model", String, nullable=False),
    Column("schema_hash", String, nullable=False),
    Column("bins", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("model", "schema_hash"),
)

versions = Table(
    "versions",
    metadata,
    Column("model", String, primary_key=True),
    Column("version", String, primary_key=True),
    Column("format", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("path", String, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("signature", Json, nullable=False),
    Column("layout_id", BigId, nullable=False),
    Column("alias", String),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String, nullable=False),
    Column("archived_at", UtcDateTime),
    Column("details", Json, nullable=False),
)

profiles = Table(
    "profiles",
    metadata,
    Column("model", String, primary_key=True),
    Column("version", String, primary_key=True),
    Column("layout_id", BigId, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("bins", LargeBinary, nullable=False),
    Column("moments", LargeBinary, nullable=False),
    Column("classes", LargeBinary, nullable=False),
    Column("performance", Json, nullable=False),
    Column("label_rows", BigInteger, nullable=False),
    Column("label_bins", LargeBinary, nullable=False),
    Column("label_moments", LargeBinary, nullable=False),
    Column("label_classes", LargeBinary, nullable=False),
    Column("thresholds", Json, nullable=False),
    Column("constraints", Json, nullable=False),
    Column("sample", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

model_references = Table(
    "model_references",
    metadata,
    Column("model", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("start", UtcDateTime),
    Column("end", UtcDateTime),
    Column("length_seconds", BigInteger, nullable=False),
    Column("gap_seconds", BigInteger, nullable=False),
    Column("weeks", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String, nullable=False),
)

exclusions = Table(
    "exclusions",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("model", String, nullable=False, index=True),
    Column("start", UtcDateTime, nullable=False),
    Column("end", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String, nullable=False),
)

segment_values = Table(
    "segment_values",
    metadata,
    Column("model", String, primary_key=True),
    Column("field", String, primary_key=True),
    Column("value", String, primary_key=True),
)

deployments = Table(
    "deployments",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("model", String, nullable=False, index=True),
    Column("mode", String, nullable=False),
    Column("champion", String, nullable=False),
    Column("challenger", String),
    Column("weight", Float, nullable=False),
    Column("salt", String, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("reason", Text, nullable=False),
)

predictions = Table(
    "predictions",
    metadata,
    Column("id", String, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("model", String, nullable=False),
    Column("version", String, nullable=False),
    Column("role", String, nullable=False),
    Column("subject", String),
    Column("features", JsonText, nullable=False),
    Column("prediction", String),
    Column("score", Float),
    Column("probabilities", JsonText),
    Column("latency_ms", Float),
    Column("status", String, nullable=False),
    Column("error", Text),
    Column("shadow_of", String),
    Column("segment", String, nullable=False, server_default=text("''")),
    Column("reason", String, nullable=False, server_default=text("''")),
    Column("warnings", Text),
    Index(None, "model", "version", "at"),
    sqlite_with_rowid=False,
)

labels = Table(
    "labels",
    metadata,
    Column("prediction_id", String, primary_key=True),
    # In the key, so that a label that was sent to the wrong model does not stand in the way of the right one.
    Column("model", String, primary_key=True),
    Column("label", String, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("counted", Boolean, nullable=False, server_default=text("false")),
    sqlite_with_rowid=False,
)
Index(
    "ix_labels_uncounted",
    labels.c.received_at,
    sqlite_where=labels.c.counted.is_(False),
    postgresql_where=labels.c.counted.is_(False),
)

archives = Table(
    "archives",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("model", String, nullable=False),
    Column("version", String, nullable=False),
    Column("day", UtcDateTime, nullable=False),
    # Empty where the rows were deleted without being kept.
    Column("path", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("labels", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("removed_at", UtcDateTime),
    Index(None, "model", "version", "day"),
)

rollups = Table(
    "rollups",
    metadata,
    Column("model", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("version", String, primary_key=True),
    Column("start", UtcDateTime, primary_key=True),
    Column("seconds", Integer, primary_key=True),
    Column("role", String, primary_key=True),
    Column("segment", String, primary_key=True),
    Column("writer", String, primary_key=True),
    Column("layout_id", BigId, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("timeouts", BigInteger, nullable=False),
    Column("bins", LargeBinary, nullable=False),
    Column("moments", LargeBinary, nullable=False),
    Column("classes", LargeBinary, nullable=False),
    Column("latency", LargeBinary, nullable=False),
)

metrics = Table(
    "metrics",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("model", String, nullable=False),
    Column("version", String, nullable=False),
    Column("role", String, nullable=False),
    Column("segment", String, nullable=False),
    Column("feature", String, nullable=False),
    Column("name", String, nullable=False),
    Column("window_seconds", Integer, nullable=False),
    Column("value", Float),
    Column("lower", Float),
    Column("upper", Float),
    Column("p_value", Float),
    Column("n_reference", BigInteger),
    Column("n_current", BigInteger),
    Column("threshold", Float),
    Column("verdict", String, nullable=False),
    Column("detectable", Float),
    Column("basis", String, nullable=False),
    UniqueConstraint("name", "model", "version", "role", "segment", "feature", "window_seconds", "at", name="uq_metrics_point"),
    Index(None, "name", "window_seconds", "at"),
    Index(None, "at"),
    Index(None, "model", "version", "at"),
)

resources = Table(
    "resources",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("host", String, nullable=False),
    Column("process", String, nullable=False),
    Column("cpu_percent", Float),
    Column("memory_percent", Float),
    Column("memory_rss_bytes", BigInteger),
    Column("disk_read_bytes_per_second", Float),
    Column("disk_write_bytes_per_second", Float),
    Column("network_sent_bytes_per_second", Float),
    Column("network_received_bytes_per_second", Float),
    Column("gpu_percent", Float),
    Column("gpu_memory_percent", Float),
)

alerts = Table(
    "alerts",
    metadata,
    Column("fingerprint", String, primary_key=True),
    Column("rule", String, nullable=False, index=True),
    Column("labels", Json, nullable=False),
    Column("state", String, nullable=False),
    Column("health", String, nullable=False),
    Column("value", Float),
    Column("threshold", Float),
    Column("window_seconds", Integer),
    Column("n_current", BigInteger),
    Column("reason", Text, nullable=False),
    Column("pending_at", UtcDateTime),
    Column("fired_at", UtcDateTime),
    Column("recovering_at", UtcDateTime),
    Column("resolved_at", UtcDateTime),
    Column("evaluated_at", UtcDateTime),
    Column("last_point_at", UtcDateTime),
    Column("acked_by", String),
    Column("suppressed", String),
)

alert_events = Table(
    "alert_events",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("fingerprint", String, nullable=False, index=True),
    Column("rule", String, nullable=False),
    Column("labels", Json, nullable=False),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("from_state", String, nullable=False),
    Column("to_state", String, nullable=False),
    Column("value", Float),
    Column("reason", Text, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("dedup_key", String, nullable=False, unique=True),
    Column("channel", String, nullable=False),
    Column("receiver", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("payload", Json, nullable=False),
    Column("status", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("claimed_by", String),
    Column("claimed_until", UtcDateTime),
    Column("sent_at", UtcDateTime),
    Column("message_id", String),
    Column("last_error", Text),
    Column("incident_id", BigInteger, index=True),
    Index(None, "status", "next_attempt_at"),
)

silences = Table(
    "silences",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("matchers", Json, nullable=False),
    Column("starts_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False, index=True),
    Column("author", String, nullable=False),
    Column("comment", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("ended_by", String),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("key", String, nullable=False, index=True),
    Column("open_key", String, unique=True),  # the key while it is open: there is never a second open one
    Column("route", String, nullable=False),
    Column("receiver", String, nullable=False),
    Column("labels", Json, nullable=False),
    Column("title", String, nullable=False),
    Column("severity", String, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False, index=True),
    Column("due_at", UtcDateTime),
    Column("told_at", UtcDateTime),
    Column("closed_at", UtcDateTime),
    Column("number", Integer, nullable=False),
    Column("told", Json, nullable=False),
    Column("recipients", Json, nullable=False),
    Column("escalated", Integer, nullable=False),
    Column("acked_at", UtcDateTime),
    Column("acked_by", String),
    Column("ack_note", Text),
    Column("cause", Text),
)

actions = Table(
    "actions",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("dedup_key", String, nullable=False, unique=True),
    Column("incident_id", BigInteger, index=True),
    Column("receiver", String, nullable=False),
    Column("what", String, nullable=False),
    Column("model", String, nullable=False),
    Column("details", Json, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False, index=True),
    Column("decided_at", UtcDateTime),
    Column("decided_by", String),
    Column("executed_at", UtcDateTime),
    Column("result", Text),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("secret_hash", String, nullable=False),
    Column("scope", String, nullable=False),
    Column("note", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigId, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("target", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("details", Json, nullable=False),
)

comparisons = Table(
    "comparisons",
    metadata,
    Column("model", String, primary_key=True),
    Column("a", String, primary_key=True),
    Column("b", String, primary_key=True),
    Column("deployment_id", BigId, nullable=False),
    Column("start", UtcDateTime, nullable=False),
    Column("end", UtcDateTime, nullable=False),
    # Text, not JSONB, which would forget the order of the arms and metrics.
    Column("document", Text, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("name", String, primary_key=True),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("succeeded_at", UtcDateTime),
    Column("error", Text),
    Column("done_until", UtcDateTime),
    Column("duration_seconds", Float),
)

spools = Table(
    "spools",
    metadata,
    Column("writer", String, primary_key=True),
    Column("segment", String, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)
