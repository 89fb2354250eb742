"""Which window and which shares a comparison assumes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cli.comparison import parse_since
from cli.errors import UsageProblem
from storage.records import Deployment, Mode
from storage.splits import share_of

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SPLIT = Deployment(
    model="churn",
    mode=Mode.AB,
    champion="1",
    challenger="2",
    weight=0.2,
    salt="s",
    at=NOW,
    actor="ann",
    action="deploy",
    reason="",
)


@pytest.mark.parametrize(("a", "b", "share"), [("1", "2", 0.2), ("2", "1", 0.8), ("1", "3", None)])
def test_expected_share_follows_from_the_split_in_force(a: str, b: str, share: float | None) -> None:
    assert share_of(SPLIT, a, b) == share


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("24h", NOW - timedelta(days=1)),
        ("2026-11-20T10:00:00Z", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
    ],
)
def test_since_is_a_moment_or_a_duration(text: str, moment: datetime) -> None:
    assert parse_since(text, NOW) == moment


def test_since_that_is_neither_is_refused() -> None:
    with pytest.raises(UsageProblem, match="--since yesterday is neither"):
        parse_since("yesterday", NOW)
