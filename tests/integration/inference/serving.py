"""A home folder with real registered models, and the application over it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx
import joblib
import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sqlalchemy import Engine

from inference.app import Sidecar, create_app
from inference.registration import register
from inference.settings import InferenceSettings
from storage.records import Version
from tests.factories import NOW

CANCER_FEATURES = 5
T = TypeVar("T")


@cache
def cancer() -> pd.DataFrame:
    """Five features of the breast-cancer table and its target."""
    frame: pd.DataFrame = load_breast_cancer(as_frame=True).frame
    return frame[[*frame.columns[:CANCER_FEATURES], "target"]]


@cache
def people() -> pd.DataFrame:
    """Numbers, a boolean and a category, some missing, with a target of two words."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": random.integers(18, 80, 400),
            "income": random.normal(size=400),
            "member": random.random(400) < 0.5,
            "region": random.choice(["north", "south", "west"], 400),
        }
    )
    frame["left"] = np.where(frame.age + 10 * frame.income > 50, "yes", "no")
    frame.loc[::20, "income"] = None
    frame.loc[::30, "region"] = None
    return frame


@cache
def cancer_onnx(penalty: float = 1.0) -> bytes:
    """A logistic regression as ONNX, without feature names."""
    frame = cancer()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty)).fit(
        frame.drop(columns="target").to_numpy(), frame.target
    )
    return bytes(to_onnx(model, np.zeros((1, CANCER_FEATURES), np.float32), options={"zipmap": False}).SerializeToString())


@cache
def diabetes_onnx() -> bytes:
    frame = load_diabetes(as_frame=True).frame
    model = LinearRegression().fit(frame.drop(columns="target").to_numpy(), frame.target)
    return bytes(to_onnx(model, np.zeros((1, 10), np.float32)).SerializeToString())


def save_people_model(path: Path) -> None:
    """A pipeline that needs named columns, as joblib."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    encoder = make_column_transformer((numbers, ["age", "income", "member"]), (OneHotEncoder(handle_unknown="ignore"), ["region"]))
    frame = people()
    joblib.dump(make_pipeline(encoder, LogisticRegression()).fit(frame.drop(columns="left"), frame.left), path)


def settings_for(engine: Engine, home: Path, **changes: Any) -> InferenceSettings:
    url = engine.url.render_as_string(hide_password=False)
    return InferenceSettings.load(**{"home": home, "database_url": url, "poll_seconds": 0.1, "drain_seconds": 0, **changes})


def register_cancer(engine: Engine, settings: InferenceSettings, *, penalty: float = 1.0, **changes: Any) -> Version:
    """A version of the model ``cancer``."""
    settings.home.mkdir(parents=True, exist_ok=True)
    file, reference = settings.home / "cancer.onnx", settings.home / "cancer.csv"
    file.write_bytes(cancer_onnx(penalty))
    cancer().to_csv(reference, index=False)
    return register(engine, settings, "cancer", file, reference=reference, target="target", actor="ana", now=NOW, **changes)


def register_people(engine: Engine, settings: InferenceSettings) -> Version:
    """A version of the joblib model ``people``."""
    file, reference = settings.home / "people.joblib", settings.home / "people.csv"
    save_people_model(file)
    people().to_csv(reference, index=False)
    return register(engine, settings, "people", file, reference=reference, target="left", allow_pickle=True, actor="ana", now=NOW)


@asynccontextmanager
async def serving(settings: InferenceSettings, **options: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Sidecar]]:
    """The application, started, and a client of it."""
    app = create_app(settings, **options)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://sidecar") as client:
            yield client, app


def with_client(settings: InferenceSettings, story: Callable[[httpx.AsyncClient], Awaitable[T]], **options: Any) -> T:
    """Runs a story of requests against the application."""

    async def run() -> T:
        async with serving(settings, **options) as (client, _):
            return await story(client)

    return asyncio.run(run())


def upload(engine: Engine, settings: InferenceSettings) -> None:
    """Everything in the spool into the database."""
    from datetime import UTC, datetime

    from inference.uploader import Uploader

    uploader = Uploader(engine, settings.spool_folder, bucket_seconds=settings.rollup_seconds, segments=settings.segment_fields)
    while not uploader.step(datetime.now(UTC)).is_idle:
        pass


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    """Waits until the condition holds."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


ROW = [14.0, 19.0, 92.0, 650.0, 0.1]
"""An ordinary row of ``cancer``."""
