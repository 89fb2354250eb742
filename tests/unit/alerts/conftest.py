"""Tests of settings see none of the machine that they run on."""

import os

import pytest


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MODELWATCH_"):
            monkeypatch.delenv(name)
