"""The pieces of the hot path that decide by values alone: ids, segments, parts of a record, bodies."""

from __future__ import annotations

import msgspec
import pytest

from inference.log_record import LogRecord
from inference.problems import Problem
from inference.serving import PredictRequest, checked_ids, decode, parts, segment_text

DECODER = msgspec.json.Decoder(PredictRequest)


def test_segments_have_one_text_whatever_their_order() -> None:
    assert (
        segment_text({"plan": "free", "country": "de"}) == segment_text({"country": "de", "plan": "free"}) == "country=de,plan=free"
    )


@pytest.mark.parametrize("segments", [{"a,b": "1"}, {"a": "1=2"}, {"a": "line\nbreak"}, {str(n): "x" for n in range(9)}])
def test_segments_that_could_not_be_told_apart_are_refused(segments: dict[str, str]) -> None:
    with pytest.raises(Problem) as caught:
        segment_text(segments)

    assert caught.value.status == 422


@pytest.mark.parametrize("ids", [["a", "a"], ["a\n"], ["\0"]])
def test_ids_that_are_no_keys_are_refused(ids: list[str]) -> None:
    with pytest.raises(Problem):
        checked_ids(ids)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"\xef\xbb\xbf{}", 400),
        (b"[" * 100_000, 422),
        (b'{"instances": ' + b"[" * 100_000, 400),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"instances": [], "subjects": "a"}', 422),
        (b'{"instances": [], "subject": 7}', 422),
        (b'{"instances": [], "subject": ""}', 422),
        (b'{"instances": [[1, NaN]]}', 422),
        (b'{"instances": [], "ids": ["' + b"x" * 129 + b'"]}', 422),
    ],
)
def test_a_body_of_another_shape_is_refused(body: bytes, status: int) -> None:
    with pytest.raises(Problem) as caught:
        decode(DECODER, body)

    assert caught.value.status == status


def test_a_long_record_is_cut_into_parts_that_hold_all_of_it() -> None:
    record = LogRecord(
        at=0.0,
        model="m",
        version="1",
        role="champion",
        reason="",
        subject=None,
        segment="",
        ids=[str(number) for number in range(12)],
        features=[[number] for number in range(12)],
        predictions=[str(number) for number in range(12)],
        scores=[float(number) for number in range(12)],
        probabilities=[[float(number)] for number in range(12)],
        latency_ms=1.0,
        warnings={3: ["a"], 5: ["b"], 11: ["c"]},
    )

    found = parts(record, 5)

    assert [len(part.ids) for part in found] == [5, 5, 2]
    assert [part.warnings for part in found] == [{3: ["a"]}, {0: ["b"]}, {1: ["c"]}]
    assert [text for part in found for text in part.ids] == record.ids
    assert [part.features[0] for part in found] == [[0], [5], [10]]
