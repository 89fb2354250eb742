"""Databases that tell a story, and pages on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard.serve import APP
from storage.engine import create_engine, writing
from storage.records import Task
from storage.rollups import bucket_start
from tests.integration.dashboard import stories
from tests.integration.dashboard.stories import Story

SHORT = Story(hours=1.5, window=timedelta(minutes=15), rows_per_step=40)
STORIES: dict[str, tuple[Story, ...]] = {
    "normal": (SHORT,),
    "regression": (Story(model="prices", task=Task.REGRESSION, versions=("1",), hours=1.0),),
    "one row": (Story(hours=1 / 60, rows_per_step=1, versions=("1",), weight=0.0, label_delay=timedelta()),),
    "many features": (Story(extra_features=190, hours=0.5, rows_per_step=200),),
    "stale": (Story(hours=1.0, age=timedelta(days=3)),),
    "hostile": (Story(hours=1.0, hostile=True, rows_per_step=60),),
}

OpenPage = Callable[..., AppTest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A home folder with a database that tells a story."""

    home: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.home / 'modelwatch.db'}"


@pytest.fixture(scope="session")
def place_of(tmp_path_factory: pytest.TempPathFactory, sqlite_template: bytes) -> Callable[[str], Place]:
    """The place where a story is told; each is told once."""
    told: dict[str, Place] = {}

    def place(name: str) -> Place:
        if name not in told:
            home = tmp_path_factory.mktemp("story")
            told[name] = Place(home=home)
            (home / "modelwatch.db").write_bytes(sqlite_template)
            _tell(told[name], name)
        return told[name]

    return place


def _tell(place: Place, name: str) -> None:
    now = datetime.now(UTC)
    stories.write_inbox(place.home / "inbox.jsonl", now)
    engine = create_engine(place.url)
    with writing(engine) as c:
        if name == "nan":
            layout = stories.register(c, SHORT, now)
            stories.nan_points(c, SHORT, layout, bucket_start(now, 60))
        for story in STORIES.get(name, ()):
            stories.tell(c, story, now)
    engine.dispose()


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenPage]:
    """Opens a page on a database as a reader of some language does; auto refresh is off."""

    def opened(home: Path, page: str, *, url: str | None = None, locale: str = "en-US", **params: str) -> AppTest:
        st.cache_data.clear()
        st.cache_resource.clear()
        monkeypatch.setenv("MODELWATCH_HOME", str(home))
        monkeypatch.setenv("MODELWATCH_DASHBOARD_REFRESH", "off")
        monkeypatch.setenv("MODELWATCH_DEMO_INBOX", str(home / "inbox.jsonl"))
        if url is not None:
            monkeypatch.setenv("MODELWATCH_DATABASE_URL", url)
        app = AppTest.from_file(APP, default_timeout=60)
        app.context["locale"] = locale
        app.context["timezone"] = "UTC"
        for name, value in params.items():
            app.query_params[name.rstrip("_")] = value
        app.run()
        if page != "overview":
            app.switch_page(f"views/{page}.py")
            for name, value in params.items():
                app.query_params[name.rstrip("_")] = value
            app.run()
        return app

    yield opened
    st.cache_data.clear()
    st.cache_resource.clear()
