"""Every page in every state of the database and in both languages, without a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import streamlit as st
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from dashboard.links import PAGES
from dashboard.texts import Texts, catalogue
from storage.engine import writing
from tests.conftest import with_statement
from tests.integration.dashboard import stories
from tests.integration.dashboard.conftest import SHORT, OpenPage, Place

LOCALES = {"en": "en-US", "zh": "zh-CN"}
MARKS = {
    "normal": {
        "overview": "overview.versions",
        "drift": "drift.detail",
        "performance": "performance.quality",
        "compare": "compare.differences",
        "alerts": "alerts.deliveries",
    },
    "one row": {
        "overview": "overview.versions",
        "drift": "drift.detail",
        "performance": "performance.service",
        "compare": "empty.second",
        "alerts": "alerts.deliveries",
    },
    "stale": {
        "overview": "overview.versions",
        "drift": "empty.points",
        "performance": "empty.range",
        "compare": "empty.range",
        "alerts": "alerts.deliveries",
    },
}
FIRST = dict.fromkeys(PAGES, "first.title")


def seen(app: AppTest) -> str:
    """All the words of a page."""
    kinds = (
        app.markdown,
        app.caption,
        app.subheader,
        app.header,
        app.error,
        app.warning,
        app.info,
        app.success,
        app.text,
        app.metric,
    )
    return "\n".join(str(element.value) + "\n" + str(getattr(element, "label", "")) for kind in kinds for element in kind)


def mark(state: str, page: str, language: str) -> str:
    """The beginning of what must be on the page, up to its first name."""
    key = MARKS.get(state, FIRST if state == "empty" else MARKS["normal"])[page]
    return re.split(r"[{*`]", Texts(language=language)(key))[0]


@pytest.mark.parametrize("language", LOCALES)
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("state", ["empty", "one row", "normal", "many features", "stale", "hostile"])
def test_a_page_shows_what_it_is_for(
    place_of: Callable[[str], Place], open_page: OpenPage, state: str, page: str, language: str
) -> None:
    app = open_page(place_of(state).home, page, locale=LOCALES[language])

    assert not app.exception
    assert mark(state, page, language) in seen(app)
    assert catalogue(language)["error.panel"].split("{")[0] not in seen(app)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_bears_points_without_a_value(place_of: Callable[[str], Place], open_page: OpenPage, page: str) -> None:
    app = open_page(place_of("nan").home, page)

    assert not app.exception
    assert not re.search(r"\bnan\b|NaT|None", seen(app))
    assert catalogue("en")["error.panel"].split("{")[0] not in seen(app)


@pytest.mark.parametrize("page", ["overview", "drift", "performance"])
def test_a_regression_has_its_own_metrics(place_of: Callable[[str], Place], open_page: OpenPage, page: str) -> None:
    app = open_page(place_of("regression").home, page)

    assert not app.exception
    assert page != "performance" or "Mean absolute error" in seen(app)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("locale", LOCALES.values())
def test_a_database_that_is_down_is_one_sentence(open_page: OpenPage, tmp_path: Path, page: str, locale: str) -> None:
    app = open_page(tmp_path, page, locale=locale, url="postgresql+psycopg://nobody:hidden@127.0.0.1:9/none")

    assert not app.exception
    assert len(app.error) == 1
    assert "cannot be used" in app.error[0].value
    assert "hidden" not in seen(app)
    assert "Traceback" not in seen(app)


def test_a_database_without_tables_says_how_to_make_them(open_page: OpenPage, tmp_path: Path) -> None:
    app = open_page(tmp_path, "overview")

    assert not app.exception
    assert "modelwatch db upgrade" in app.error[0].value


@pytest.mark.parametrize("page", PAGES)
def test_pages_read_the_same_from_both_databases(
    engine: Engine, database_url: str, home: Path, open_page: OpenPage, page: str
) -> None:
    with writing(engine) as c:
        stories.tell(c, stories.Story(hours=0.5, rows_per_step=60), datetime.now(UTC))

    app = open_page(home, page, url=database_url)

    assert not app.exception
    assert mark("normal", page, "en") in seen(app)
    assert catalogue("en")["error.panel"].split("{")[0] not in seen(app)


def test_the_database_may_go_away_between_two_looks(
    postgresql_url: str, postgresql_server: str, home: Path, open_page: OpenPage
) -> None:
    app = open_page(home, "overview", url=postgresql_url)
    assert not app.error
    name = postgresql_url.rsplit("/", 1)[1].split("?")[0]

    with_statement(postgresql_server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    with_statement(postgresql_server, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    st.cache_data.clear()
    app.run()
    with_statement(postgresql_server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    assert not app.exception
    assert "cannot be used" in app.error[0].value


# ---------------------------------------------------------------------------------------------- content


def test_the_overview_lists_the_worst_version_first(place_of: Callable[[str], Place], open_page: OpenPage) -> None:
    app = open_page(place_of("normal").home, "overview")

    fleet = app.dataframe[0].value
    assert fleet["Status"].tolist()[0] == "✖ Alert"
    assert fleet["Version"].tolist() == ["1", "2"]
    assert fleet["Role"].tolist() == ["champion", "challenger"]
    assert fleet["Drifted features"].iloc[0] == "4 of 11"


def test_what_is_unknown_is_empty_and_not_zero(place_of: Callable[[str], Place], open_page: OpenPage) -> None:
    app = open_page(place_of("stale").home, "overview")

    fleet = app.dataframe[0].value
    assert fleet["Predictions"].isna().all()
    assert fleet["Errors"].isna().all()
    assert "0.00%" not in [metric.value for metric in app.metric]


def test_old_figures_are_announced(place_of: Callable[[str], Place], open_page: OpenPage) -> None:
    app = open_page(place_of("stale").home, "overview")

    assert any(re.search(r"Figures are 3 d.* old", warning.value) for warning in app.warning)


def test_names_of_others_are_shown_as_text(place_of: Callable[[str], Place], open_page: OpenPage) -> None:
    home = place_of("hostile").home

    for page in PAGES:
        app = open_page(home, page, feature=stories.HOSTILE)
        for element in [*app.markdown, *app.caption]:
            assert "<img src=x" not in element.value
            assert "[a](javascript" not in element.value


# ---------------------------------------------------------------------------------------------- links


def test_a_link_opens_model_version_feature_and_time(place_of: Callable[[str], Place], open_page: OpenPage) -> None:
    end = datetime.now(UTC).replace(microsecond=0)
    start = end - timedelta(minutes=40)

    app = open_page(
        place_of("normal").home,
        "drift",
        model="churn",
        version="2",
        feature="income",
        from_=f"{start:%Y-%m-%dT%H:%M:%SZ}",
        to=f"{end:%Y-%m-%dT%H:%M:%SZ}",
    )

    assert not app.exception
    assert app.selectbox(key="choice_version").value == "2"
    assert app.selectbox(key="choice_feature").value == "income"
    assert f"{start:%Y-%m-%d %H:%M:%S}" in seen(app)


@pytest.mark.parametrize(
    ("page", "params"),
    [
        ("drift", {"model": "no-such"}),
        ("drift", {"version": "99"}),
        ("drift", {"feature": "no such"}),
        ("drift", {"statistic": "zzz", "window": "7y", "sort": "?", "current": "?", "at": "?"}),
        ("performance", {"model": "no-such", "metric": "zzz"}),
        ("compare", {"a": "7", "b": "8"}),
        ("compare", {"a": "1", "b": "1"}),
        ("alerts", {"range": "0s"}),
        ("overview", {"from": "x", "to": "y", "lang": "tlh", "refresh": "never", "other": "1"}),
    ],
)
def test_values_that_nobody_knows_stay_in_the_address_and_are_explained(
    place_of: Callable[[str], Place], open_page: OpenPage, page: str, params: dict[str, str]
) -> None:
    app = open_page(place_of("normal").home, page, **params)

    assert not app.exception
    assert catalogue("en")["error.panel"].split("{")[0] not in seen(app)
    for name, value in params.items():
        assert app.query_params[name] in (value, [value])


def test_choosing_a_feature_is_written_into_the_address(place_of: Callable[[str], Place], open_page: OpenPage) -> None:
    app = open_page(place_of("normal").home, "drift")

    app.selectbox(key="choice_feature").set_value("age").run()

    assert not app.exception
    assert app.query_params["feature"] in ("age", ["age"])
    assert "Kolmogorov\\-Smirnov" in "".join(str(table.value) for table in app.table)


def test_choosing_another_language_changes_the_words(place_of: Callable[[str], Place], open_page: OpenPage) -> None:
    app = open_page(place_of("normal").home, "overview")

    app.selectbox(key="choice_lang").set_value("zh").run()

    assert "模型版本" in seen(app)


def test_a_custom_time_can_be_typed(place_of: Callable[[str], Place], open_page: OpenPage) -> None:
    app = open_page(place_of("normal").home, "overview")

    app.segmented_control(key="choice_range").set_value("custom").run()

    assert not app.exception
    assert "from" in app.query_params
    assert "to" in app.query_params
    assert SHORT.model == "churn"
