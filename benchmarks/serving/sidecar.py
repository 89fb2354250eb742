"""The sidecar as an application factory, with logging as the variable ``LOGGING`` says."""

from __future__ import annotations

import os

from inference.app import Sidecar, create_app
from inference.settings import InferenceSettings


def create() -> Sidecar:
    return create_app(InferenceSettings.load(), log_predictions=os.environ["LOGGING"] == "on")
