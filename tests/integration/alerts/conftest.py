"""Fixtures of the alerts tests: the outside world, and a stage."""

import os
from collections.abc import Iterator

import pytest
import trustme
from sqlalchemy import Engine

from tests.fakes import FakeMail, FakeSlack
from tests.integration.alerts.stage import Stage, settings_for


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MODELWATCH_"):
            monkeypatch.delenv(name)


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    with FakeSlack() as server:
        yield server


@pytest.fixture
def mail() -> Iterator[FakeMail]:
    with FakeMail() as server:
        yield server


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def stage(engine: Engine, slack: FakeSlack, mail: FakeMail) -> Stage:
    """An engine whose Slack and mail are the fakes."""
    return Stage(engine=engine, settings=settings_for(slack, mail))
