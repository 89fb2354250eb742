"""Which versions answer, who changed it, and the way back."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from storage import audit, deployments, registry
from storage.deployments import DeploymentError
from storage.engine import reading, writing
from storage.records import Deployment, Mode
from tests.factories import NOW, register_model

WHO: dict[str, Any] = {"actor": "ana", "reason": "because", "now": NOW}


def promote(c: Connection, version: str) -> Deployment:
    return deployments.promote(c, "churn", version, **WHO)


def rollback(c: Connection) -> str:
    return deployments.rollback(c, "churn", **WHO).champion


def split(
    c: Connection, champion: str = "1", challenger: str | None = "2", weight: float = 0.1, mode: Mode = Mode.AB
) -> Deployment:
    return deployments.deploy(c, "churn", mode=mode, champion=champion, challenger=challenger, weight=weight, **WHO)


def test_a_promoted_version_gets_all_traffic(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c)
        assert deployments.current(c, "churn") is None
        assert deployments.newest_id(c) == 0
        deployment = promote(c, "1")

        assert deployments.current(c, "churn") == deployment
        assert (deployment.mode, deployment.champion, deployment.challenger, deployment.weight) == (Mode.SINGLE, "1", None, 0.0)
        assert deployments.newest_id(c) == deployment.id > 0


def test_each_change_is_in_the_history_and_the_audit_log(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2"))
        promote(c, "1")
        split(c)
        promote(c, "2")
        rollback(c)

        history = deployments.history(c, "churn")
        entries = audit.entries(c, target="churn")
    assert [(entry.action, entry.champion) for entry in history] == [
        ("rollback", "1"),
        ("promote", "2"),
        ("deploy", "1"),
        ("promote", "1"),
    ]
    assert [entry.action for entry in entries] == ["rollback", "promote", "deploy", "promote"]
    assert entries[0].details["previous_champion"] == "2"
    assert (entries[0].actor, entries[0].reason) == ("ana", "because")


def test_all_current_has_the_newest_of_each_model(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2"))
        register_model(c, "fraud")
        promote(c, "1")
        deployments.promote(c, "fraud", "1", **WHO)
        newest = promote(c, "2")

        assert deployments.all_current(c)["churn"] == newest
        assert set(deployments.all_current(c)) == {"churn", "fraud"}


def test_rolling_back_goes_back_along_the_champions(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2", "3", "4"))
        for version in ("1", "2", "2", "3"):
            promote(c, version)
        split(c, champion="3", challenger="4")

        assert [rollback(c), rollback(c)] == ["2", "1"]
        with pytest.raises(DeploymentError, match="churn has no earlier champion"):
            rollback(c)
        promote(c, "4")
        assert rollback(c) == "1"


def test_rolling_back_passes_archived_versions_over(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2", "3"))
        for version in ("1", "2", "3"):
            promote(c, version)
        registry.archive_version(c, "churn", "2", NOW)

        assert rollback(c) == "1"


def test_a_champion_may_return_and_be_rolled_back(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2"))
        for version in ("1", "2", "1"):
            promote(c, version)

        assert [rollback(c), rollback(c)] == ["2", "1"]
        with pytest.raises(DeploymentError):
            rollback(c)


def test_a_model_that_was_never_deployed_has_nothing_to_roll_back_to(engine: Engine) -> None:
    with writing(engine) as c, pytest.raises(DeploymentError, match="no earlier champion"):
        rollback(c)


def test_the_salt_stays_while_the_pair_stays(engine: Engine) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2", "3"))
        grown = [split(c, weight=weight).salt for weight in (0.1, 0.5, 1.0)]
        canary = split(c, mode=Mode.CANARY, weight=0.2).salt
        other = split(c, challenger="3").salt
        again = split(c).salt

    assert len({*grown, canary}) == 1
    assert len({canary, other, again}) == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"weight": 1.5}, "share from 0 to 1, not 1.5"),
        ({"weight": -0.1}, "share from 0 to 1"),
        ({"weight": float("nan")}, "share from 0 to 1"),
        ({"challenger": None}, "needs a challenger"),
        ({"challenger": "1"}, "both version 1"),
        ({"mode": Mode.SINGLE}, "Mode single sends all traffic"),
        ({"challenger": "9"}, "churn has no version 9; it has 1, 2"),
        ({"champion": "9"}, "churn has no version 9"),
        ({"challenger": "old"}, "Version old of churn is archived"),
    ],
)
def test_a_split_that_cannot_be_is_refused_and_changes_nothing(engine: Engine, options: dict[str, Any], says: str) -> None:
    with writing(engine) as c:
        register_model(c, versions=("1", "2", "old"))
        registry.archive_version(c, "churn", "old", NOW)
        before = promote(c, "1")

        with pytest.raises(DeploymentError, match=says):
            split(c, **options)

        assert deployments.current(c, "churn") == before


def test_an_unknown_model_is_refused(engine: Engine) -> None:
    with writing(engine) as c, pytest.raises(DeploymentError, match="no model nothing"):
        deployments.promote(c, "nothing", "1", **WHO)


def test_whoever_sees_the_newest_id_has_seen_all_before_it(postgresql_engine: Engine) -> None:
    with writing(postgresql_engine) as c:
        register_model(c)
        register_model(c, "fraud")

    def fast() -> None:
        with writing(postgresql_engine) as c:
            deployments.promote(c, "fraud", "1", **WHO)

    thread = threading.Thread(target=fast)
    with writing(postgresql_engine) as slow:
        promote(slow, "1")
        thread.start()
        while thread.is_alive() and not somebody_waits_for_a_lock(postgresql_engine):
            thread.join(0.01)
        with reading(postgresql_engine) as c:
            assert deployments.newest_id(c) == 0
    thread.join()

    with reading(postgresql_engine) as c:
        assert deployments.newest_id(c) == deployments.all_current(c)["fraud"].id


def test_a_version_cannot_be_archived_while_it_is_being_promoted(postgresql_engine: Engine) -> None:
    with writing(postgresql_engine) as c:
        register_model(c, versions=("1", "2"))
    refused: list[registry.RegistryError] = []

    def archive() -> None:
        try:
            with writing(postgresql_engine) as c:
                registry.archive_version(c, "churn", "2", NOW)
        except registry.RegistryError as error:
            refused.append(error)

    thread = threading.Thread(target=archive)
    with writing(postgresql_engine) as slow:
        promote(slow, "2")
        thread.start()
        while thread.is_alive() and not somebody_waits_for_a_lock(postgresql_engine):
            thread.join(0.01)
    thread.join()

    assert len(refused) == 1


def somebody_waits_for_a_lock(engine: Engine) -> bool:
    with reading(engine) as c:
        return bool(c.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))
