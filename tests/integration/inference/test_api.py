"""The endpoints over a real application, a real spool and both databases."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from inference.settings import InferenceSettings
from storage import deployments, registry, rollups
from storage.engine import reading, writing
from storage.predictions import list_predictions
from storage.records import Mode, Role
from storage.schema import labels as labels_table
from storage.segments import counted_segments
from tests.factories import NOW
from tests.integration.inference.serving import (
    ROW,
    cancer,
    register_cancer,
    register_people,
    serving,
    settings_for,
    upload,
    with_client,
)

NAMES = list(cancer().columns[:-1])
NAMED = dict(zip(NAMES, ROW, strict=True))


@pytest.fixture
def settings(engine: Engine, home: Path) -> InferenceSettings:
    """Settings of a home where ``cancer`` version 1 is registered."""
    settings = settings_for(engine, home)
    register_cancer(engine, settings)
    return settings


def post(settings: InferenceSettings, path: str, body: Any, **options: Any) -> httpx.Response:
    async def story(client: httpx.AsyncClient) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await client.post(path, content=content)

    return with_client(settings, story, **options)


# ---------------------------------------------------------------------------------------------- answers


def test_objects_and_arrays_are_answered_in_order_and_logged_once(engine: Engine, settings: InferenceSettings) -> None:
    body = {"instances": [NAMED, ROW, [1000, 19.0, 92.0, 650.0, 0.1]], "subject": "s-1", "segments": {"b": "2", "a": "1"}}

    answer = post(settings, "/v1/models/cancer/predict", body)

    content = answer.json()
    rows = content["predictions"]
    assert (answer.status_code, content["model"], len(rows)) == (200, "cancer", 3)
    assert rows[0]["probabilities"] == rows[1]["probabilities"]
    assert sum(rows[0]["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert {(row["version"], row["role"]) for row in rows} == {("1", "champion")}
    upload(engine, settings)
    with reading(engine) as c:
        stored = {row.id: row for row in list_predictions(c, "cancer")}
    assert set(stored) == {row["id"] for row in rows}
    first, odd = stored[rows[0]["id"]], stored[rows[2]["id"]]
    assert json.loads(first.features) == ROW
    assert (first.subject, first.segment, first.status, first.prediction) == ("s-1", "a=1,b=2", "ok", str(rows[0]["prediction"]))
    assert first.score == pytest.approx(rows[0]["probabilities"][1])
    assert first.warnings is None
    assert json.loads(odd.warnings or "") == [{"field": NAMES[0], "reason": "out of range"}]


def test_the_short_paths_ask_the_only_model(engine: Engine, settings: InferenceSettings) -> None:
    async def story(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        one = await client.post("/predict", json={"features": ROW})
        return one, await client.post("/predict/batch", json={"instances": [ROW, ROW]})

    one, batch = with_client(settings, story)

    assert set(one.json()) == {"prediction", "probability"}
    assert [row["probability"] for row in batch.json()["predictions"]] == [one.json()["probability"]] * 2
    upload(engine, settings)
    with reading(engine) as c:
        assert {row.id for row in list_predictions(c, "cancer")} == {
            one.headers["x-modelwatch-id"],
            *(row["id"] for row in batch.json()["predictions"]),
        }


def test_the_short_paths_want_a_default_among_several_models(engine: Engine, settings: InferenceSettings) -> None:
    register_people(engine, settings)

    without = post(settings, "/predict", {"features": ROW})
    with_default = post(settings_for(engine, settings.home, default_model="cancer"), "/predict", {"features": ROW})

    assert (without.status_code, with_default.status_code) == (404, 200)
    assert "MODELWATCH_DEFAULT_MODEL" in without.json()["error"]


def test_a_pipeline_of_named_columns_takes_text_booleans_and_missing_values(engine: Engine, settings: InferenceSettings) -> None:
    register_people(engine, settings)
    rows = [
        {"age": 30, "income": None, "member": True, "region": "north"},
        {"age": 70.0, "income": 2, "member": False, "region": None},
        [70, 2.0, False, "nowhere"],
    ]

    answer = post(settings, "/v1/models/people/predict", {"instances": rows})

    assert answer.status_code == 200
    assert [row["prediction"] for row in answer.json()["predictions"]] == ["no", "yes", "yes"]


def test_an_id_of_the_caller_counts_once_however_often_it_is_sent(engine: Engine, settings: InferenceSettings) -> None:
    async def story(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.post("/v1/models/cancer/predict", json={"instances": [ROW], "ids": ["order-7"]}) for _ in range(3)]

    answers = with_client(settings, story)

    assert {answer.json()["predictions"][0]["id"] for answer in answers} == {"order-7"}
    upload(engine, settings)
    with reading(engine) as c:
        assert [row.id for row in list_predictions(c, "cancer")] == ["order-7"]


# ---------------------------------------------------------------------------------------------- routing


def deploy_split(engine: Engine, weight: float, mode: Mode = Mode.AB) -> None:
    with writing(engine) as c:
        deployments.deploy(c, "cancer", mode=mode, champion="1", challenger="2", weight=weight, actor="ana", reason="try", now=NOW)


def test_a_split_is_sticky_and_has_its_share(engine: Engine, settings: InferenceSettings) -> None:
    register_cancer(engine, settings, penalty=0.01)
    deploy_split(engine, 0.25)

    async def story(client: httpx.AsyncClient) -> list[list[str]]:
        return [[await _version(client, f"subject-{number}") for number in range(400)] for _ in range(2)]

    first, again = with_client(settings, story)

    assert first == again
    assert 60 <= first.count("2") <= 140  # 100 expected; five standard errors are 43
    upload(engine, settings)
    with reading(engine) as c:
        rows = list_predictions(c, "cancer", limit=1000)
    assert {(row.version, row.role) for row in rows} == {("1", Role.CHAMPION.value), ("2", Role.CHALLENGER.value)}
    assert all("weight 0.25" in row.reason for row in rows)


async def _version(client: httpx.AsyncClient, subject: str) -> str:
    answer = await client.post("/v1/models/cancer/predict", json={"instances": [ROW], "subject": subject})
    return str(answer.json()["predictions"][0]["version"])


def test_a_version_may_be_pinned_and_must_exist(engine: Engine, settings: InferenceSettings) -> None:
    register_cancer(engine, settings, penalty=0.01)

    pinned = post(settings, "/v1/models/cancer/predict", {"instances": [ROW], "version": "2"})
    unknown = post(settings, "/v1/models/cancer/predict", {"instances": [ROW], "version": "9"})

    assert (pinned.json()["predictions"][0]["version"], pinned.json()["predictions"][0]["role"]) == ("2", "pinned")
    assert unknown.status_code == 404


# ---------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"instances": [{**NAMED, "extra": 1}]}, 422),
        ({"instances": [[*ROW[:-1], "x"]]}, 422),
        ({"instances": [ROW[:-1]]}, 422),
        ({"instances": [[*ROW[:-1], None]]}, 422),
        ({"instances": []}, 422),
        ({"instances": {}}, 422),
        ({"instances": [ROW], "ids": ["a", "b"]}, 422),
        ({"instances": [ROW, ROW], "ids": ["a", "a"]}, 422),
        ({"instances": [[*ROW[:-1], float("nan")]]}, 422),
        (b"{", 400),
        (b"", 400),
    ],
)
def test_bad_input_is_refused_with_one_sentence_and_logged_nowhere(
    sqlite_engine: Engine, home: Path, body: Any, status: int
) -> None:
    settings = settings_for(sqlite_engine, home)
    register_cancer(sqlite_engine, settings)

    answer = post(settings, "/v1/models/cancer/predict", body)

    assert answer.status_code == status
    assert answer.json()["error"].endswith(".")
    upload(sqlite_engine, settings)
    with reading(sqlite_engine) as c:
        assert list_predictions(c, "cancer") == []


def test_too_much_is_413(sqlite_engine: Engine, home: Path) -> None:
    settings = settings_for(sqlite_engine, home, max_rows=2, max_body_bytes=1000)
    register_cancer(sqlite_engine, settings)

    rows = post(settings, "/v1/models/cancer/predict", {"instances": [ROW] * 3})
    size = post(settings, "/v1/models/cancer/predict", b" " * 1001)
    labels = post(settings, "/v1/models/cancer/labels", b" " * 1001)

    assert [answer.status_code for answer in (rows, size, labels)] == [413, 413, 413]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/models/nope/predict", 404),
        ("POST", "/v1/models/nope/labels", 404),
        ("POST", "/v1/models/nope/log", 404),
        ("GET", "/v1/models/nope", 404),
        ("GET", "/v1/predictions/nope", 404),
        ("GET", "/v1/predictions/%00", 404),
        ("GET", "/nope", 404),
        ("GET", "/predict", 405),
    ],
)
def test_every_refusal_has_the_same_body(sqlite_engine: Engine, home: Path, method: str, path: str, status: int) -> None:
    settings = settings_for(sqlite_engine, home)
    register_cancer(sqlite_engine, settings)

    async def story(client: httpx.AsyncClient) -> httpx.Response:
        return await client.request(method, path, content=b'{"labels": [], "predictions": []}' if method == "POST" else None)

    answer = with_client(settings, story)

    assert answer.status_code == status
    assert set(answer.json()) == {"error"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from([*NAMES, "x", ""]) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=12,
)
bodies = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda parts: json.dumps(parts).encode("utf-8", "surrogatepass"),
        st.fixed_dictionaries(
            {},
            optional={
                "instances": st.lists(st.lists(st.floats() | st.none() | st.integers(), min_size=5, max_size=5), max_size=3)
                | json_values,
                "features": json_values,
                "subject": st.text(max_size=8) | json_values,
                "ids": st.lists(st.text(max_size=5), max_size=3) | json_values,
                "version": st.text(max_size=3) | json_values,
                "segments": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3) | json_values,
                "labels": st.lists(st.fixed_dictionaries({"id": st.text(max_size=4), "label": json_values}), max_size=3)
                | json_values,
                "predictions": json_values,
            },
        ),
    ),
)
paths = st.sampled_from(
    ["/v1/models/cancer/predict", "/predict", "/predict/batch", "/v1/models/cancer/labels", "/v1/models/cancer/log"]
)


def test_no_body_whatever_is_a_fault_of_the_server(sqlite_engine: Engine, home: Path) -> None:
    settings = settings_for(sqlite_engine, home)
    register_cancer(sqlite_engine, settings)

    async def story(client: httpx.AsyncClient) -> None:
        loop = asyncio.get_running_loop()

        @hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(paths, bodies)
        def ask(path: str, body: bytes) -> None:
            answer = asyncio.run_coroutine_threadsafe(client.post(path, content=body), loop).result(30)
            assert answer.status_code < 500, (answer.status_code, answer.text)
            assert answer.status_code == 200 or set(answer.json()) <= {"error", "details"}

        await asyncio.to_thread(ask)

    with_client(settings, story)
    upload(sqlite_engine, settings)


# ---------------------------------------------------------------------------------------------- labels, log, reading


def test_labels_are_counted_once_and_may_come_first(engine: Engine, settings: InferenceSettings) -> None:
    async def story(client: httpx.AsyncClient) -> list[dict[str, int]]:
        path = "/v1/models/cancer/labels"
        early = await client.post(path, json={"labels": [{"id": "p1", "label": 1}, {"id": "p2", "label": 0}]})
        await client.post("/v1/models/cancer/predict", json={"instances": [ROW], "ids": ["p1"]})
        await asyncio.to_thread(upload, engine, settings)
        again = await client.post(path, json={"labels": [{"id": "p1", "label": 0}]})
        return [early.json(), again.json()]

    assert with_client(settings, story) == [
        {"accepted": 2, "duplicates": 0, "unknown": 2},
        {"accepted": 0, "duplicates": 1, "unknown": 0},
    ]
    with reading(engine) as c:
        assert dict(c.execute(select(labels_table.c.prediction_id, labels_table.c.label)).all()) == {"p1": "1", "p2": "0"}


def test_a_prediction_can_be_read_whole(engine: Engine, settings: InferenceSettings) -> None:
    async def story(client: httpx.AsyncClient) -> dict[str, Any]:
        row = [1000, *ROW[1:]]
        await client.post("/v1/models/cancer/predict", json={"instances": [row], "ids": ["p1"], "subject": "anna"})
        await asyncio.to_thread(upload, engine, settings)
        await client.post("/v1/models/cancer/labels", json={"labels": [{"id": "p1", "label": 1, "at": "2026-03-02T12:00:00Z"}]})
        return dict((await client.get("/v1/predictions/p1")).json())

    found = with_client(settings, story)

    assert found["features"] == dict(zip(NAMES, [1000.0, *ROW[1:]], strict=True))
    assert found["label"] == {"label": "1", "at": "2026-03-02T12:00:00Z"}
    assert (found["model"], found["version"], found["role"], found["subject"], found["reason"]) == (
        "cancer",
        "1",
        "champion",
        "anna",
        "all traffic",
    )
    assert found["warnings"] == [{"field": NAMES[0], "reason": "out of range"}]
    assert found["latency_ms"] > 0


def test_predictions_made_elsewhere_are_logged(engine: Engine, settings: InferenceSettings) -> None:
    items = [
        {
            "version": "1",
            "features": ROW,
            "prediction": 1,
            "probabilities": [0.2, 0.8],
            "id": "e1",
            "at": "2026-03-02T12:00:00Z",
            "latency_ms": 3,
        },
        {"version": "1", "features": NAMED, "prediction": 0},
    ]

    answer = post(settings, "/v1/models/cancer/log", {"predictions": items})
    refused = post(
        settings,
        "/v1/models/cancer/log",
        {"predictions": [items[1], {**items[0], "version": "9"}, {**items[0], "id": "e2", "features": [1]}]},
    )

    assert answer.json() == {"accepted": 2}
    assert [(item["row"], item["field"]) for item in refused.json()["details"]] == [(1, "version"), (2, None)]
    upload(engine, settings)
    with reading(engine) as c:
        rows = {row.id: row for row in list_predictions(c, "cancer")}
    assert len(rows) == 2
    assert (rows["e1"].at, rows["e1"].score, rows["e1"].latency_ms, rows["e1"].prediction) == (NOW, 0.8, 3.0, "1")


def test_models_are_listed_with_signature_and_deployment(settings: InferenceSettings) -> None:
    async def story(client: httpx.AsyncClient) -> tuple[Any, Any]:
        return (await client.get("/v1/models")).json(), (await client.get("/v1/models/cancer")).json()

    listed, shown = with_client(settings, story)

    assert listed["models"] == [shown]
    assert shown["deployment"]["champion"] == "1"
    assert [feature["name"] for feature in shown["versions"][0]["signature"]["features"]] == NAMES
    assert shown["versions"][0]["state"] == "loaded"


def test_health_ready_metrics_and_openapi(settings: InferenceSettings) -> None:
    async def story(client: httpx.AsyncClient) -> list[httpx.Response]:
        await client.post("/v1/models/cancer/predict", json={"instances": [ROW, ROW]})
        return [await client.get(path) for path in ("/health", "/ready", "/metrics", "/openapi.json")]

    health, ready, metrics, description = with_client(settings, story)

    assert health.json() == {"status": "healthy"}
    assert ready.json() == {"status": "ready"}
    assert 'model_predictions_total{model="cancer",role="champion",version="1"} 2.0' in metrics.text
    assert "modelwatch_spool_records_total 2.0" in metrics.text
    assert {"/v1/models/{model}/predict", "/predict", "/predict/batch", "/v1/models/{model}/labels"} <= set(
        description.json()["paths"]
    )


# ---------------------------------------------------------------------------------------------- logging and its limits


def test_a_full_spool_refuses_unless_told_otherwise(sqlite_engine: Engine, home: Path) -> None:
    tiny = settings_for(sqlite_engine, home, spool_max_bytes=1)
    register_cancer(sqlite_engine, tiny)

    refused = post(tiny, "/predict", {"features": ROW})
    unlogged = post(
        settings_for(sqlite_engine, home, spool_max_bytes=1, spool_full="serve_unlogged"), "/predict", {"features": ROW}
    )

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert (unlogged.status_code, unlogged.headers["x-modelwatch-logged"]) == (200, "false")


def test_power_durability_answers_after_the_disk_has_confirmed(sqlite_engine: Engine, home: Path) -> None:
    settings = settings_for(sqlite_engine, home, durability="power", max_rows=6000)
    register_cancer(sqlite_engine, settings)

    answer = post(settings, "/v1/models/cancer/predict", {"instances": [ROW] * 6000})

    assert answer.status_code == 200
    upload(sqlite_engine, settings)
    with reading(sqlite_engine) as c:
        assert len(list_predictions(c, "cancer", limit=10_000)) == 6000


def test_without_logging_the_same_answers_come(sqlite_engine: Engine, home: Path) -> None:
    settings = settings_for(sqlite_engine, home)
    register_cancer(sqlite_engine, settings)

    logged = post(settings, "/predict", {"features": ROW})
    unlogged = post(settings, "/predict", {"features": ROW}, log_predictions=False)

    assert unlogged.json() == logged.json()


def test_a_model_that_fails_is_503_and_a_row_with_its_error(engine: Engine, settings: InferenceSettings) -> None:
    from inference.models.contract import Outputs, PredictionFailed

    class Broken:
        def predict(self, rows: Any) -> Outputs:
            raise PredictionFailed("the model answered with a value that is not a number")

    async def story() -> httpx.Response:
        async with serving(settings) as (client, app):
            app.runtime.snapshot.models["cancer"].versions["1"].model = Broken()
            return await client.post("/predict", json={"features": ROW})

    answer = asyncio.run(story())

    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    upload(engine, settings)
    with reading(engine) as c:
        (row,) = list_predictions(c, "cancer")
    assert (row.status, row.prediction, row.error) == ("error", None, "the model answered with a value that is not a number")


def test_registered_but_not_served_is_503(engine: Engine, settings: InferenceSettings) -> None:
    with reading(engine) as c:
        version = registry.list_versions(c)[0]
    (settings.models_folder / version.path).write_bytes(b"not this")

    async def story(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.post("/v1/models/cancer/predict", json={"instances": [ROW]}), await client.get("/ready")]

    predict, ready = with_client(settings, story)

    assert (predict.status_code, ready.status_code) == (503, 503)
    assert "is not the one that was registered" in predict.json()["error"]
    assert "is not the one that was registered" in ready.json()["reasons"][0]


def test_declared_segments_of_requests_are_counted_with_their_labels(engine: Engine, settings: InferenceSettings) -> None:
    declared = settings.model_copy(update={"segments": "country"})

    async def story(client: httpx.AsyncClient) -> None:
        for country, ids in (("de", ["a", "b"]), ("fr", ["c"])):
            body = {"instances": [ROW] * len(ids), "ids": ids, "segments": {"country": country, "device": ids[0]}}
            assert (await client.post("/v1/models/cancer/predict", json=body)).status_code == 200
        await client.post("/v1/models/cancer/labels", json={"labels": [{"id": "a", "label": 1}]})  # before its prediction
        await asyncio.to_thread(upload, engine, declared)
        await client.post("/v1/models/cancer/labels", json={"labels": [{"id": "c", "label": 0}]})

    with_client(declared, story)

    now = datetime.now(UTC)
    window = (now - timedelta(hours=1), now + timedelta(hours=1))
    with reading(engine) as c:
        layout = registry.LayoutLookup(c)("cancer", "1")
        assert counted_segments(c, "cancer", ["country"]) == ["country=de", "country=fr", "country=*other"]
        counts = {
            segment: (
                rollups.read_predictions(c, layout, "1", *window, segment=segment).rows,
                rollups.read_labels(c, layout, "1", *window, segment=segment).rows,
            )
            for segment in ("", "country=de", "country=fr", "country=*other")
        }
    assert counts == {"": (3, 2), "country=de": (2, 1), "country=fr": (1, 1), "country=*other": (0, 0)}
