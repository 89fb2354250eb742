"""What piled up while a channel was held, as one message."""

from __future__ import annotations

from dataclasses import replace

from alerts.digests import digest_of
from alerts.messages import Kind, Message
from alerts.renderings import plain_text
from tests.unit.alerts.rows import NOW


def message(incident: int, kind: Kind = Kind.FIRING, **changes: str) -> Message:
    made = Message(
        kind=kind,
        key=f"incident:{incident}:{kind}",
        title=f"FeatureDrift: model{incident}",
        summary=f"{kind.value} {incident}",
        at=NOW,
        severity="warning",
        incident=incident,
        incident_key=f"incident:{incident}",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_each_incident_is_told_once_worst_first_and_what_is_over_last() -> None:
    found = digest_of(
        [message(1), message(2, severity="critical"), message(3), message(1, Kind.RESOLVED), message(3, Kind.UPDATE)],
        key="digest:1",
        now=NOW,
    )

    assert found.title == "3 incidents, 1 of them resolved"
    assert found.severity == "critical"
    assert [(line.state, line.title, line.detail) for line in found.lines] == [
        ("firing", "FeatureDrift: model2", "firing 2"),
        ("firing", "FeatureDrift: model3", "update: update 3"),
        ("resolved", "FeatureDrift: model1", "fired and ended meanwhile. resolved 1"),
    ]


def test_end_of_what_was_told_before_is_told_as_that() -> None:
    found = digest_of([message(1, Kind.RESOLVED), message(2), message(3)], key="digest:1", now=NOW)

    assert found.lines[-1].detail == "resolved 1"


def test_hundreds_of_messages_are_one_bounded_text() -> None:
    text = plain_text(digest_of([message(number) for number in range(500)], key="digest:1", now=NOW))

    assert "500 incidents" in text
    assert "… and 480 more" in text
    assert len(text) < 5000
