"""A spool record gives back what a request put into it, and says clearly when it is none."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.log_record import BadRecord, LogRecord, batch, decode, encode, read
from storage.records import PredictionRow


def make_record(**changes: Any) -> LogRecord:
    values: dict[str, Any] = {
        "at": 1_790_000_000.25,
        "model": "churn",
        "version": "2",
        "role": "champion",
        "reason": "weight",
        "subject": "user-7",
        "segment": "country=de",
        "ids": ["a", "b"],
        "features": [[30, 0.1, True, "north"], [41, None, False, "süd"]],
        "predictions": ["yes", "no"],
        "scores": [0.75, 0.1],
        "probabilities": [[0.25, 0.75], [0.9, 0.1]],
        "latency_ms": 1.5,
    }
    return LogRecord(**{**values, **changes})


def test_record_survives_encoding() -> None:
    record = make_record(warnings={1: ["unseen category"]}, shadow_of=["x", "y"], error="late", status="timeout")

    assert decode(encode(record)) == record


def test_each_row_of_a_record_becomes_a_prediction() -> None:
    found = batch([make_record(warnings={1: [{"field": "region", "reason": "unseen"}]})]).rows()

    assert found[0] == PredictionRow(
        id="a",
        at=datetime.fromtimestamp(1_790_000_000.25, UTC),
        model="churn",
        version="2",
        role="champion",
        features='[30,0.1,true,"north"]',
        prediction="yes",
        score=0.75,
        probabilities="[0.25,0.75]",
        latency_ms=1.5,
        status="ok",
        subject="user-7",
        segment="country=de",
        reason="weight",
    )
    assert json.loads(found[1].features) == [41, None, False, "süd"]
    assert json.loads(found[1].warnings or "") == [{"field": "region", "reason": "unseen"}]


def test_failed_call_has_rows_without_predictions() -> None:
    record = make_record(predictions=[None, None], scores=[None, None], probabilities=None, status="error", error="no answer")

    found = batch([decode(encode(record))]).rows()

    assert [(row.prediction, row.score, row.probabilities, row.status, row.error) for row in found] == [
        (None, None, None, "error", "no answer")
    ] * 2


def test_not_a_number_becomes_missing() -> None:
    record = decode(encode(make_record(features=[[float("nan"), float("inf")], [1.0, 2.0]])))

    assert batch([record]).row(0).features == "[null,null]"


def test_integer_beyond_64_bits_is_kept_as_a_float() -> None:
    record = decode(encode(make_record(features=[[10**30, -(10**30)], [1, 2]])))

    assert record.features == [[1e30, -1e30], [1, 2]]


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()


@given(st.lists(st.tuples(st.text(), st.lists(scalars, max_size=4), st.none() | st.text(), st.none() | st.floats(allow_nan=False))))
def test_any_values_survive_encoding(entries: list[tuple[str, list[Any], str | None, float | None]]) -> None:
    record = make_record(
        ids=[entry[0] for entry in entries],
        features=[entry[1] for entry in entries],
        predictions=[entry[2] for entry in entries],
        scores=[entry[3] for entry in entries],
        probabilities=None,
    )

    assert decode(encode(record)) == record


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00",
        b"not msgpack",
        msgspec.msgpack.encode([1]),
        msgspec.msgpack.encode([2, *msgspec.structs.astuple(make_record())]),
        msgspec.msgpack.encode(["text" for _ in range(14)]),
        encode(make_record())[:-1],
        encode(make_record()) + b"\x00",
        encode(make_record(ids=["only one"])),
        encode(make_record(scores=[])),
        encode(make_record(shadow_of=["x"])),
    ],
)
def test_anything_else_is_a_bad_record(payload: bytes) -> None:
    with pytest.raises(BadRecord):
        decode(payload)


@given(st.binary(max_size=300))
def test_bytes_are_a_record_or_a_bad_record(payload: bytes) -> None:
    try:
        record = decode(payload)
    except BadRecord:
        return
    assert isinstance(record, LogRecord)


def test_reader_of_today_reads_a_record_with_later_fields() -> None:
    payload = msgspec.msgpack.encode([1, *msgspec.structs.astuple(make_record()), "a field of tomorrow"])

    assert decode(payload) == make_record()


@pytest.mark.parametrize("at", [float("nan"), float("inf"), 1e300])
def test_time_out_of_range_is_a_bad_record(at: float) -> None:
    with pytest.raises(BadRecord):
        decode(encode(make_record(at=at)))


# ---------------------------------------------------------------------------------------------- many records


def alone(record: LogRecord) -> list[PredictionRow]:
    """The rows of a record, spelled out."""
    return [
        PredictionRow(
            id=record.ids[index],
            at=datetime.fromtimestamp(record.at, UTC),
            model=record.model,
            version=record.version,
            role=record.role,
            features=msgspec.json.encode(record.features[index]).decode(),
            prediction=record.predictions[index],
            score=record.scores[index],
            probabilities=msgspec.json.encode(record.probabilities[index]).decode() if record.probabilities else None,
            latency_ms=record.latency_ms,
            status=record.status,
            error=record.error,
            subject=record.subject,
            shadow_of=record.shadow_of[index] if record.shadow_of else None,
            segment=record.segment,
            reason=record.reason,
            warnings=msgspec.json.encode(record.warnings[index]).decode() if record.warnings and index in record.warnings else None,
        )
        for index in range(len(record.ids))
    ]


SINGLE = make_record(
    ids=["s"], features=[["line\nbreak\u2028\r", "\0"]], predictions=[None], scores=[0.5], probabilities=[[1.0]], shadow_of=["a"]
)
EMPTY = make_record(ids=[], features=[], predictions=[], scores=[], probabilities=[])


@pytest.mark.parametrize(
    "records",
    [
        [],
        [EMPTY],
        [SINGLE, SINGLE],
        [make_record()],
        [EMPTY, make_record(warnings={1: ["odd"]})],  # as many rows as records
        [
            make_record(probabilities=None, warnings={0: ["odd"], 7: ["of no row"]}),
            SINGLE,
            make_record(at=12.5, shadow_of=["x", "y"]),
        ],
        [make_record(version="3", subject=None, error="late", status="timeout", latency_ms=None), SINGLE],
    ],
    ids=["none", "empty", "singles", "several rows", "empty and several", "mixed", "failed and single"],
)
def test_batch_holds_the_rows_of_its_records_in_their_order(records: list[LogRecord]) -> None:
    found = batch(records)

    assert found.rows() == [row for record in records for row in alone(record)]
    assert found.values == [row for record in records for row in record.features]


def test_payloads_read_at_once_are_the_batch_of_their_records() -> None:
    records = [SINGLE, EMPTY, make_record(probabilities=None, shadow_of=["x", "y"]), make_record(at=12.5)]

    assert read([encode(record) for record in records]).rows() == batch(records).rows()
    assert len(read([])) == 0


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"\x00",
        encode(make_record()) + b"\x00",
        encode(make_record())[:-1],
        encode(make_record()) * 2,
        encode(make_record(scores=[])),
        encode(make_record(probabilities=[[1.0]])),
        encode(make_record(at=1e300)),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bad_record_among_payloads_is_not_read_over(odd: bytes, place: int) -> None:
    payloads = [encode(make_record()), encode(SINGLE)]

    with pytest.raises(BadRecord):
        read([*payloads[:place], odd, *payloads[place:]])


@given(st.floats(-62_135_596_800, 253_402_300_798))
def test_time_is_rounded_as_datetime_rounds(at: float) -> None:
    record = decode(encode(make_record(at=at)))

    assert batch([record]).row(0).at == datetime.fromtimestamp(at, UTC)
