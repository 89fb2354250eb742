"""The SQL view of each version, with one column per feature, so that people can query predictions with plain SQL."""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection

from storage.dialects import is_postgresql
from storage.records import Feature, FeatureType, Signature

FIXED_COLUMNS = (
    "id",
    "at",
    "role",
    "subject",
    "prediction",
    "score",
    "latency_ms",
    "status",
    "error",
    "segment",
    "label",
)
MOST_FEATURES = 1500
"""PostgreSQL has no views of more than 1,600 columns; features beyond this are only in ``predictions.features``."""
_NAME_BYTES = 63


def view_name(model: str, version: str) -> str:
    """``<model>_v<version>``; a name too long for PostgreSQL, or one that another pair could have, ends in ``~`` and a hash.

    >>> view_name("churn", "2")
    'churn_v2'
    """
    plain = f"{model}_v{version}"
    if len(plain) <= _NAME_BYTES and "_v" not in version.lower():
        return plain
    return f"{plain[: _NAME_BYTES - 9]}~{hashlib.sha256(f'{model}/{version}'.encode()).hexdigest()[:8]}"


def feature_columns(signature: Signature) -> tuple[str, ...]:
    """The view's column of each feature: its name, cut to 63 bytes, with ``_2``, ``_3``… where that is taken.

    Upper and lower case do not tell columns apart, because they don't in SQLite.
    """
    taken = {name.lower() for name in FIXED_COLUMNS}
    columns = []
    for name in signature.names[:MOST_FEATURES]:
        column, number = _cut(name, ""), 1
        while column.lower() in taken:
            number += 1
            column = _cut(name, f"_{number}")
        taken.add(column.lower())
        columns.append(column)
    return tuple(columns)


def create_view(c: Connection, model: str, version: str, signature: Signature) -> None:
    """Makes the view of a version."""
    # Without parameters in the driver's sense, or a % in a feature's name would be taken for a place holder.
    c.exec_driver_sql(
        _definition(model, version, signature, postgresql=is_postgresql(c)), execution_options={"no_parameters": True}
    )


def _definition(model: str, version: str, signature: Signature, *, postgresql: bool) -> str:
    value = _postgresql_value if postgresql else _sqlite_value
    fixed = [f"p.{_quoted(name)}" for name in FIXED_COLUMNS if name != "label"]
    features = [
        f"{value(feature, index)} AS {_quoted(column)}"
        for index, (feature, column) in enumerate(zip(signature.features, feature_columns(signature), strict=False))
    ]
    return (
        f"CREATE VIEW {_quoted(view_name(model, version))} AS\n"
        f"SELECT {', '.join([*fixed, 'l.label AS label', *features])}\n"
        "FROM predictions AS p LEFT JOIN labels AS l ON l.prediction_id = p.id AND l.model = p.model\n"
        f"WHERE p.model = {_text(model)} AND p.version = {_text(version)}"
    )


def _postgresql_value(feature: Feature, index: int) -> str:
    text = f"(p.features ->> {index})"
    if feature.type is FeatureType.CATEGORY:
        return text
    return f"{text}::boolean" if feature.type is FeatureType.BOOLEAN else f"{text}::double precision"


def _sqlite_value(feature: Feature, index: int) -> str:
    path = f"'$[{index}]'"
    value = f"json_extract(p.features, {path})"
    if feature.type is FeatureType.BOOLEAN:
        return value
    if feature.type is not FeatureType.CATEGORY:
        return f"CAST({value} AS REAL)"
    # SQLite gives a JSON true as 1.
    return f"CASE json_type(p.features, {path}) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE CAST({value} AS TEXT) END"


def _cut(name: str, suffix: str) -> str:
    room = _NAME_BYTES - len(suffix)
    clean = name.replace("\0", "").encode("utf-8", "replace")
    return (clean[:room].decode("utf-8", "ignore") or "feature") + suffix


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
