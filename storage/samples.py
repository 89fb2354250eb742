"""Rows for the statistics that counts are not enough for: a version's reference sample, and a bounded sample of its log."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import pandas as pd
from sqlalchemy import Connection, select

from storage.records import PREDICTION_COLUMN, SCORE_COLUMN, Profile, Role, Scalar, Status
from storage.schema import predictions

SLICES = 10
LIVE_ROLES = tuple(role.value for role in Role if role is not Role.SHADOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledRow:
    """One logged prediction: when, which, and its features in the order of the signature."""

    at: datetime
    id: str
    features: tuple[Scalar, ...]


def reference_columns(profile: Profile) -> dict[str, list[Any]]:
    """The reference's sample by column, None where missing, without what the version answered; empty without a sample."""
    if not profile.sample:
        return {}
    frame = pd.read_parquet(io.BytesIO(profile.sample))
    return plain_columns(frame.drop(columns=[PREDICTION_COLUMN, SCORE_COLUMN], errors="ignore"))


def plain_columns(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """The frame's columns as lists of plain Python values, None where missing."""
    return {str(name): _plain(frame[name]) for name in frame.columns}


def _plain(column: pd.Series[Any]) -> list[Any]:
    missing = column.isna().to_numpy()
    return [None if absent else value for value, absent in zip(column.tolist(), missing, strict=True)]


def sample_rows(
    c: Connection,
    model: str,
    version: str,
    start: datetime,
    end: datetime,
    *,
    limit: int,
    roles: Sequence[str],
    slices: int = SLICES,
) -> list[SampledRow]:
    """At most ``limit`` answered rows of these roles in ``[start, end)``, oldest first, spread over the time.

    The time is cut into ``slices``, and the newest rows of each are taken, so that busy hours cost no more than quiet ones
    and the last seconds do not stand for the whole.
    """
    width = (end - start) / slices
    rows: list[SampledRow] = []
    for number in range(slices):
        share = (number + 1) * limit // slices - number * limit // slices
        # The last slice ends exactly at the end, whatever rounding does.
        until = end if number == slices - 1 else start + (number + 1) * width
        rows += _newest(c, model, version, start + number * width, until, share, roles)
    return rows


def _newest(
    c: Connection, model: str, version: str, start: datetime, end: datetime, limit: int, roles: Sequence[str]
) -> list[SampledRow]:
    table = predictions.c
    query = (
        select(table.at, table.id, table.features)
        .where(table.model == model, table.version == version, table.at >= start, table.at < end)
        .where(table.status == Status.OK, table.role.in_(roles))
        .order_by(table.at.desc(), table.id.desc())
        .limit(limit)
    )
    found = [SampledRow(at=row.at, id=row.id, features=_decoded(row.features)) for row in c.execute(query)]
    return found[::-1]


def _decoded(features: Any) -> tuple[Scalar, ...]:
    return tuple(msgspec.json.decode(features) if isinstance(features, str) else features)
