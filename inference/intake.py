"""Labels and predictions that others bring: their bodies, checked and turned into what storage and spool take. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated

import msgspec

from inference.catalogue import ModelInService, VersionInService
from inference.log_record import LogRecord, encode
from inference.models.contract import scores_of, scores_of_labels
from inference.problems import MAX_DETAILS, Detail, Problem
from inference.serving import Id
from storage.layouts import category_text
from storage.records import Label, Role, Task

MAX_AHEAD = timedelta(days=1)
"""A time further in the future than this is a wrong clock or a wrong unit."""
EARLIEST = datetime(1980, 1, 1, tzinfo=UTC)
LabelText = Annotated[str, msgspec.Meta(max_length=1000)]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]


class LabelItem(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: Id
    label: LabelText | int | float | bool
    at: datetime | None = None


class LabelsRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``labels``."""

    labels: list[LabelItem]


class LogItem(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    version: str
    features: msgspec.Raw
    prediction: LabelText | int | float | bool
    id: Id | None = None
    at: datetime | None = None
    probabilities: list[Probability] | None = None
    latency_ms: Annotated[float, msgspec.Meta(ge=0)] | None = None


class LogRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``log``: predictions made elsewhere."""

    predictions: list[LogItem]


def canonical_labels(content: LabelsRequest, task: Task, now: datetime) -> list[Label]:
    """The labels in the words of storage. Raises Problem with the rows that are none."""
    found, details = [], []
    for index, item in enumerate(content.labels):
        try:
            found.append(Label(prediction_id=_checked_id(item.id), label=_label_text(item.label, task), at=_time(item.at, now)))
        except _WrongField as wrong:
            details.append(Detail(row=index, field=wrong.field, reason=wrong.reason))
            if len(details) >= MAX_DETAILS:
                break
    if details:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"Some labels cannot be taken, so none were: number {details[0]['row']}, {details[0]['field']} {details[0]['reason']}.",
            details,
        )
    return found


def records_of(
    content: LogRequest, model: ModelInService, now: datetime, make_id: Callable[[], str], max_rows: int
) -> list[tuple[bytes, int]]:
    """Spool payloads, each with its number of predictions. Raises Problem: all of the request is taken, or nothing."""
    if len(content.predictions) > max_rows:
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The request has {len(content.predictions)} predictions and the limit is {max_rows}; send it in parts.",
        )
    given = [item.id for item in content.predictions if item.id is not None]
    if len(set(given)) != len(given):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The ids of a request must differ from each other.")
    records, details = [], []
    for index, item in enumerate(content.predictions):
        try:
            records.append((encode(_record(item, model, now, make_id)), 1))
        except _WrongField as wrong:
            details.append(Detail(row=index, field=wrong.field, reason=wrong.reason))
        except Problem as problem:
            details += [Detail(row=index, field=detail["field"], reason=detail["reason"]) for detail in problem.details]
        if len(details) >= MAX_DETAILS:
            break
    if details:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"Some predictions cannot be logged, so none were: number {details[0]['row']}, "
            f"{details[0]['field'] or 'features'} {details[0]['reason']}.",
            details,
        )
    return records


class _WrongField(Exception):
    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason


def _record(item: LogItem, model: ModelInService, now: datetime, make_id: Callable[[], str]) -> LogRecord:
    version = model.versions.get(item.version)
    if version is None:
        raise _WrongField("version", "is not a version in service")
    rows = version.reader.read_one(item.features)
    classes = version.version.signature.classes
    text = _label_text(item.prediction, version.version.signature.task, "prediction")
    if item.probabilities is not None and len(item.probabilities) != len(classes):
        raise _WrongField("probabilities", f"has {len(item.probabilities)} values, the model has {len(classes)} classes")
    return LogRecord(
        at=_time(item.at, now).timestamp(),
        model=model.name,
        version=item.version,
        role=_role(model, item.version),
        reason="logged by the caller",
        subject=None,
        segment="",
        ids=[_checked_id(item.id) if item.id is not None else make_id()],
        features=rows,  # type: ignore[arg-type] # tuples encode as lists do
        predictions=[text],
        scores=[_score(item, version, text)],
        probabilities=None if item.probabilities is None else [item.probabilities],
        latency_ms=item.latency_ms,
        warnings=version.watch.odd(rows),
    )


def _score(item: LogItem, version: VersionInService, text: str) -> float:
    if version.is_regression:
        return float(text)
    if item.probabilities:
        return scores_of([item.probabilities])[0]
    return scores_of_labels([text], version.version.signature.classes)[0]


def _role(model: ModelInService, version: str) -> Role:
    if version == model.deployment.champion:
        return Role.CHAMPION
    return Role.CHALLENGER if version == model.deployment.challenger else Role.PINNED


def _label_text(value: str | float | bool, task: Task, field: str = "label") -> str:
    if task is Task.CLASSIFICATION:
        return category_text(value)
    if isinstance(value, bool):
        raise _WrongField(field, "must be a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise _WrongField(field, "must be a number") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise _WrongField(field, "must be a finite number")
    return repr(number)


def _checked_id(text: str) -> str:
    if not text.isprintable():
        raise _WrongField("id", "must be printable characters")
    return text


def _time(at: datetime | None, now: datetime) -> datetime:
    if at is None:
        return now
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    try:
        at = at.astimezone(UTC)
    except OverflowError:
        raise _WrongField("at", "is out of range") from None
    if not EARLIEST <= at <= now + MAX_AHEAD:
        raise _WrongField("at", "is in the future" if at > now else "is before 1980")
    return at
