"""The first tables.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The types as they were at this revision, whatever storage.schema says later.
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
JSON_TEXT = sa.Text().with_variant(JSONB(), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "actions",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("dedup_key", sa.String(), nullable=False),
        sa.Column("incident_id", sa.BigInteger()),
        sa.Column("receiver", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("decided_at", TIME),
        sa.Column("decided_by", sa.String()),
        sa.Column("executed_at", TIME),
        sa.Column("result", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_actions")),
        sa.UniqueConstraint("dedup_key", name=op.f("uq_actions_dedup_key")),
    )
    op.create_index(op.f("ix_actions_created_at"), "actions", ["created_at"])
    op.create_index(op.f("ix_actions_incident_id"), "actions", ["incident_id"])
    op.create_table(
        "alert_events",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("from_state", sa.String(), nullable=False),
        sa.Column("to_state", sa.String(), nullable=False),
        sa.Column("value", sa.Float()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_events")),
    )
    op.create_index(op.f("ix_alert_events_at"), "alert_events", ["at"])
    op.create_index(op.f("ix_alert_events_fingerprint"), "alert_events", ["fingerprint"])
    op.create_table(
        "alerts",
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("health", sa.String(), nullable=False),
        sa.Column("value", sa.Float()),
        sa.Column("threshold", sa.Float()),
        sa.Column("window_seconds", sa.Integer()),
        sa.Column("n_current", sa.BigInteger()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("pending_at", TIME),
        sa.Column("fired_at", TIME),
        sa.Column("recovering_at", TIME),
        sa.Column("resolved_at", TIME),
        sa.Column("evaluated_at", TIME),
        sa.Column("last_point_at", TIME),
        sa.Column("acked_by", sa.String()),
        sa.Column("suppressed", sa.String()),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_alerts")),
    )
    op.create_index(op.f("ix_alerts_rule"), "alerts", ["rule"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("secret_hash", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("revoked_at", TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_table(
        "archives",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("day", TIME, nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("labels", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("removed_at", TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_archives")),
    )
    op.create_index(op.f("ix_archives_model_version_day"), "archives", ["model", "version", "day"])
    op.create_table(
        "audit",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"])
    op.create_table(
        "comparisons",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("a", sa.String(), nullable=False),
        sa.Column("b", sa.String(), nullable=False),
        sa.Column("deployment_id", BIG_ID, nullable=False),
        sa.Column("start", TIME, nullable=False),
        sa.Column("end", TIME, nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model", "a", "b", name=op.f("pk_comparisons")),
    )
    op.create_table(
        "deployments",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("champion", sa.String(), nullable=False),
        sa.Column("challenger", sa.String()),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("salt", sa.String(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployments")),
    )
    op.create_index(op.f("ix_deployments_model"), "deployments", ["model"])
    op.create_table(
        "incidents",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("open_key", sa.String()),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("receiver", sa.String(), nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("opened_at", TIME, nullable=False),
        sa.Column("due_at", TIME),
        sa.Column("told_at", TIME),
        sa.Column("closed_at", TIME),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("told", JSON, nullable=False),
        sa.Column("recipients", JSON, nullable=False),
        sa.Column("escalated", sa.Integer(), nullable=False),
        sa.Column("acked_at", TIME),
        sa.Column("acked_by", sa.String()),
        sa.Column("ack_note", sa.Text()),
        sa.Column("cause", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incidents")),
        sa.UniqueConstraint("open_key", name=op.f("uq_incidents_open_key")),
    )
    op.create_index(op.f("ix_incidents_key"), "incidents", ["key"])
    op.create_index(op.f("ix_incidents_opened_at"), "incidents", ["opened_at"])
    op.create_table(
        "jobs",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.Column("succeeded_at", TIME),
        sa.Column("error", sa.Text()),
        sa.Column("done_until", TIME),
        sa.Column("duration_seconds", sa.Float()),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_jobs")),
    )
    op.create_table(
        "labels",
        sa.Column("prediction_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("counted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("prediction_id", "model", name=op.f("pk_labels")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_labels_uncounted",
        "labels",
        ["received_at"],
        sqlite_where=sa.text("counted IS 0"),
        postgresql_where=sa.text("counted IS false"),
    )
    op.create_table(
        "layouts",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("schema_hash", sa.String(), nullable=False),
        sa.Column("bins", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_layouts")),
        sa.UniqueConstraint("model", "schema_hash", name=op.f("uq_layouts_model_schema_hash")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "exclusions",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("start", TIME, nullable=False),
        sa.Column("end", TIME, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exclusions")),
    )
    op.create_index(op.f("ix_exclusions_model"), "exclusions", ["model"])
    op.create_table(
        "model_references",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("start", TIME),
        sa.Column("end", TIME),
        sa.Column("length_seconds", sa.BigInteger(), nullable=False),
        sa.Column("gap_seconds", sa.BigInteger(), nullable=False),
        sa.Column("weeks", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("model", "name", name=op.f("pk_model_references")),
    )
    op.create_table(
        "metrics",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("segment", sa.String(), nullable=False),
        sa.Column("feature", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("window_seconds", sa.Integer(), nullable=False),
        sa.Column("value", sa.Float()),
        sa.Column("lower", sa.Float()),
        sa.Column("upper", sa.Float()),
        sa.Column("p_value", sa.Float()),
        sa.Column("n_reference", sa.BigInteger()),
        sa.Column("n_current", sa.BigInteger()),
        sa.Column("threshold", sa.Float()),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("detectable", sa.Float()),
        sa.Column("basis", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metrics")),
        sa.UniqueConstraint(
            "name", "model", "version", "role", "segment", "feature", "window_seconds", "at", name="uq_metrics_point"
        ),
    )
    op.create_index(op.f("ix_metrics_at"), "metrics", ["at"])
    op.create_index(op.f("ix_metrics_model_version_at"), "metrics", ["model", "version", "at"])
    op.create_index(op.f("ix_metrics_name_window_seconds_at"), "metrics", ["name", "window_seconds", "at"])
    op.create_table(
        "models",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("task", sa.String(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_models")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("dedup_key", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("receiver", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("next_attempt_at", TIME, nullable=False),
        sa.Column("claimed_by", sa.String()),
        sa.Column("claimed_until", TIME),
        sa.Column("sent_at", TIME),
        sa.Column("message_id", sa.String()),
        sa.Column("last_error", sa.Text()),
        sa.Column("incident_id", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("dedup_key", name=op.f("uq_outbox_dedup_key")),
    )
    op.create_index(op.f("ix_outbox_incident_id"), "outbox", ["incident_id"])
    op.create_index(op.f("ix_outbox_status_next_attempt_at"), "outbox", ["status", "next_attempt_at"])
    op.create_table(
        "predictions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("subject", sa.String()),
        sa.Column("features", JSON_TEXT, nullable=False),
        sa.Column("prediction", sa.String()),
        sa.Column("score", sa.Float()),
        sa.Column("probabilities", JSON_TEXT),
        sa.Column("latency_ms", sa.Float()),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("shadow_of", sa.String()),
        sa.Column("segment", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("reason", sa.String(), server_default=sa.text("''"), nullable=False),
        sa.Column("warnings", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_predictions")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_predictions_model_version_at"), "predictions", ["model", "version", "at"])
    op.create_table(
        "profiles",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("layout_id", BIG_ID, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("bins", sa.LargeBinary(), nullable=False),
        sa.Column("moments", sa.LargeBinary(), nullable=False),
        sa.Column("classes", sa.LargeBinary(), nullable=False),
        sa.Column("performance", JSON, nullable=False),
        sa.Column("label_rows", sa.BigInteger(), nullable=False),
        sa.Column("label_bins", sa.LargeBinary(), nullable=False),
        sa.Column("label_moments", sa.LargeBinary(), nullable=False),
        sa.Column("label_classes", sa.LargeBinary(), nullable=False),
        sa.Column("thresholds", JSON, nullable=False),
        sa.Column("constraints", JSON, nullable=False),
        sa.Column("sample", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("model", "version", name=op.f("pk_profiles")),
    )
    op.create_table(
        "resources",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("process", sa.String(), nullable=False),
        sa.Column("cpu_percent", sa.Float()),
        sa.Column("memory_percent", sa.Float()),
        sa.Column("memory_rss_bytes", sa.BigInteger()),
        sa.Column("disk_read_bytes_per_second", sa.Float()),
        sa.Column("disk_write_bytes_per_second", sa.Float()),
        sa.Column("network_sent_bytes_per_second", sa.Float()),
        sa.Column("network_received_bytes_per_second", sa.Float()),
        sa.Column("gpu_percent", sa.Float()),
        sa.Column("gpu_memory_percent", sa.Float()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resources")),
    )
    op.create_index(op.f("ix_resources_at"), "resources", ["at"])
    op.create_table(
        "rollups",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("start", TIME, nullable=False),
        sa.Column("seconds", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("segment", sa.String(), nullable=False),
        sa.Column("writer", sa.String(), nullable=False),
        sa.Column("layout_id", BIG_ID, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("timeouts", sa.BigInteger(), nullable=False),
        sa.Column("bins", sa.LargeBinary(), nullable=False),
        sa.Column("moments", sa.LargeBinary(), nullable=False),
        sa.Column("classes", sa.LargeBinary(), nullable=False),
        sa.Column("latency", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint(
            "model", "kind", "version", "start", "seconds", "role", "segment", "writer", name=op.f("pk_rollups")
        ),
    )
    op.create_table(
        "segment_values",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("field", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("model", "field", "value", name=op.f("pk_segment_values")),
    )
    op.create_table(
        "silences",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("matchers", JSON, nullable=False),
        sa.Column("starts_at", TIME, nullable=False),
        sa.Column("ends_at", TIME, nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("ended_by", sa.String()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_silences")),
    )
    op.create_index(op.f("ix_silences_ends_at"), "silences", ["ends_at"])
    op.create_table(
        "spools",
        sa.Column("writer", sa.String(), nullable=False),
        sa.Column("segment", sa.String(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("writer", name=op.f("pk_spools")),
    )
    op.create_table(
        "versions",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("format", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("signature", JSON, nullable=False),
        sa.Column("layout_id", BIG_ID, nullable=False),
        sa.Column("alias", sa.String()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("archived_at", TIME),
        sa.Column("details", JSON, nullable=False),
        sa.PrimaryKeyConstraint("model", "version", name=op.f("pk_versions")),
    )
