"""Mode, challenger and weight must fit together."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cli.deployments import check_share, describe, parse_mode
from cli.errors import UsageProblem
from storage.records import Deployment, Mode


def test_shadow_comes_later() -> None:
    with pytest.raises(UsageProblem, match="come in a later version"):
        parse_mode("shadow")


def test_unknown_mode_lists_the_modes() -> None:
    with pytest.raises(UsageProblem, match="--mode blue is not one of single, ab and canary"):
        parse_mode("blue")


@pytest.mark.parametrize(
    ("mode", "challenger", "weight", "share"),
    [(Mode.SINGLE, None, None, 0.0), (Mode.AB, "2", 0.5, 0.5), (Mode.CANARY, "2", 0.0, 0.0)],
)
def test_share_of_the_challenger(mode: Mode, challenger: str | None, weight: float | None, share: float) -> None:
    assert check_share(mode, challenger, weight) == share


@pytest.mark.parametrize(
    ("mode", "challenger", "weight"),
    [(Mode.SINGLE, "2", None), (Mode.SINGLE, None, 0.5), (Mode.AB, None, 0.5), (Mode.AB, "2", None), (Mode.CANARY, "2", 1.5)],
)
def test_parts_that_do_not_fit_are_refused(mode: Mode, challenger: str | None, weight: float | None) -> None:
    with pytest.raises(UsageProblem):
        check_share(mode, challenger, weight)


def test_split_is_described_in_a_sentence() -> None:
    deployment = Deployment(
        model="churn",
        mode=Mode.CANARY,
        champion="1",
        challenger="2",
        weight=0.1,
        salt="s",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        actor="ann",
        action="deploy",
        reason="",
    )

    assert describe(deployment) == "Version 1 of churn answers 90% of the subjects, version 2 10% (canary)."
