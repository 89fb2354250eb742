"""The endpoints that are not hot, as FastAPI routes, and the description of those that are.

Bodies are decoded with msgspec here too, so that every endpoint refuses with the same words and the same error body.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from inference import openapi
from inference.intake import LabelsRequest, LogRequest, canonical_labels, records_of
from inference.problems import Problem, unavailable
from inference.runtime import Runtime
from inference.serving import decode, read_rest
from inference.spool import SpoolUnavailable
from storage import predictions, registry
from storage.engine import reading, writing
from storage.labels import record_labels
from storage.records import Deployment, LabelReceipt, Scope, Task, Version

_labels_decoder = msgspec.json.Decoder(LabelsRequest)
_log_decoder = msgspec.json.Decoder(LogRequest)


def runtime_of(request: Request) -> Runtime:
    """The runtime of the application that serves this request."""
    runtime: Runtime = request.app.state.runtime
    return runtime


def needs(scope: Scope) -> Any:
    """A dependency that lets the request through when its key's scope is wide enough."""

    async def check(request: Request) -> None:
        await runtime_of(request).gate.check(request.scope["headers"], scope)

    return Depends(check)


async def _body(request: Request) -> bytes:
    message = {"type": "http.request", "body": b"", "more_body": True}
    return await read_rest(message, request.receive, int(runtime_of(request).settings.max_body_bytes))


router = APIRouter()

# ---------------------------------------------------------------------------------------------- predictions
# The front of the application answers these paths for every model that is served (inference.serving). What arrives here
# is for a model that is not.


async def _not_served(request: Request) -> Response:
    runtime = runtime_of(request)
    model = request.path_params.get("model")
    if model is None and runtime.settings.default_model:
        model = runtime.settings.default_model
    if model is None and runtime.snapshot.is_loaded and len(runtime.snapshot.models) != 1:
        raise Problem(
            HTTPStatus.NOT_FOUND, "No default model is set; set MODELWATCH_DEFAULT_MODEL, or use /v1/models/{model}/predict."
        )
    status, error = runtime.unknown_model(model or "")
    runtime.meters.add_error("", "unknown_model" if status == HTTPStatus.NOT_FOUND else "unavailable")
    raise Problem(status, error) if status == HTTPStatus.NOT_FOUND else unavailable(error)


def _describe_hot(path: str, summary: str, taken: dict[str, Any], given: dict[str, Any]) -> None:
    router.add_api_route(
        path,
        _not_served,
        methods=["POST"],
        summary=summary,
        openapi_extra=openapi.body(taken),
        responses=openapi.answers(given),
        dependencies=[needs(Scope.PREDICT)],
        tags=["predict"],
        operation_id=summary.lower().replace(" ", "_").replace("'", ""),
    )


_describe_hot("/v1/models/{model}/predict", "Predict", openapi.PREDICT, openapi.PREDICTIONS)
_describe_hot("/predict", "Predict one row with the default model", openapi.PREDICT_ONE, openapi.PREDICTION_ONE)
_describe_hot("/predict/batch", "Predict rows with the default model", openapi.PREDICT, openapi.PREDICTION_BATCH)


@router.post(
    "/v1/models/{model}/labels",
    summary="Report what really happened",
    tags=["predict"],
    dependencies=[needs(Scope.PREDICT)],
    openapi_extra=openapi.body(openapi.LABELS),
    responses=openapi.answers(openapi.RECEIPT),
)
async def labels(model: str, request: Request) -> Response:
    runtime = runtime_of(request)
    receipt = await asyncio.to_thread(_record_labels, runtime, model, await _body(request))
    return JSONResponse({"accepted": receipt.accepted, "duplicates": receipt.duplicates, "unknown": receipt.unknown})


def _record_labels(runtime: Runtime, model: str, body: bytes) -> LabelReceipt:
    task = _task(runtime, model)
    content: LabelsRequest = decode(_labels_decoder, body)
    now = datetime.now(UTC)
    new = canonical_labels(content, task, now)
    with writing(runtime.engine) as c:
        return record_labels(
            c,
            model,
            new,
            registry.LayoutLookup(c, runtime.layouts),
            writer=runtime.label_writer,
            bucket_seconds=runtime.settings.rollup_seconds,
            now=now,
            segments=runtime.settings.segment_fields,
        )


def _task(runtime: Runtime, model: str) -> Task:
    known = runtime.snapshot.registered.get(model)
    if known:
        return known[0].signature.task
    with reading(runtime.engine) as c:
        found = registry.get_model(c, model) if model.isprintable() else None
    if found is None:
        raise Problem(HTTPStatus.NOT_FOUND, "There is no model of this name; GET /v1/models lists the models.")
    return found.task


@router.post(
    "/v1/models/{model}/log",
    summary="Log predictions made elsewhere",
    tags=["predict"],
    dependencies=[needs(Scope.PREDICT)],
    openapi_extra=openapi.body(openapi.LOG),
)
async def log_elsewhere(model: str, request: Request) -> Response:
    runtime = runtime_of(request)
    body = await _body(request)
    served = runtime.snapshot.models.get(model)
    if served is None:
        status, error = runtime.unknown_model(model)
        raise Problem(status, error) if status == HTTPStatus.NOT_FOUND else unavailable(error)
    content: LogRequest = decode(_log_decoder, body)
    now = datetime.now(UTC)
    records = records_of(content, served, now, runtime.service.make_id, runtime.settings.max_rows)
    try:
        for payload, count in records:
            await runtime.service.append(payload, count)
    except SpoolUnavailable as error:
        raise unavailable(f"The predictions cannot be logged now: {error}", kind="spool") from error
    return JSONResponse({"accepted": len(content.predictions)})


# ---------------------------------------------------------------------------------------------- what there is


@router.get("/v1/models", summary="List the models", tags=["models"], dependencies=[needs(Scope.READ)])
async def list_models(request: Request) -> Response:
    runtime = runtime_of(request)
    names = sorted(runtime.snapshot.registered)
    return JSONResponse({"models": [_model_summary(runtime, name) for name in names]})


@router.get(
    "/v1/models/{model}", summary="One model: versions, signature, deployment", tags=["models"], dependencies=[needs(Scope.READ)]
)
async def show_model(model: str, request: Request) -> Response:
    runtime = runtime_of(request)
    if model not in runtime.snapshot.registered:
        status, error = runtime.unknown_model(model)
        raise Problem(status, error) if status == HTTPStatus.NOT_FOUND else unavailable(error)
    return JSONResponse(_model_summary(runtime, model))


def _model_summary(runtime: Runtime, name: str) -> dict[str, Any]:
    snapshot = runtime.snapshot
    served = snapshot.models.get(name)
    versions = snapshot.registered[name]
    return {
        "name": name,
        "task": str(versions[-1].signature.task),
        "deployment": None if served is None else _deployment(served.deployment),
        "versions": [
            _version(
                version,
                "loaded" if served and version.version in served.versions else snapshot.problems.get((name, version.version)),
            )
            for version in versions
        ],
    }


def _deployment(deployment: Deployment) -> dict[str, Any]:
    return {
        "mode": str(deployment.mode),
        "champion": deployment.champion,
        "challenger": deployment.challenger,
        "weight": deployment.weight,
        "at": deployment.at.isoformat(),
        "actor": deployment.actor,
        "reason": deployment.reason,
    }


def _version(version: Version, state: str | None) -> dict[str, Any]:
    signature = version.signature
    return {
        "version": version.version,
        "state": state or "not deployed",
        "format": str(version.format),
        "digest": version.digest,
        "alias": version.alias,
        "created_at": version.created_at.isoformat(),
        "created_by": version.created_by,
        "signature": registry.signature_to_json(signature) | {"task": str(signature.task)},
    }


@router.get(
    "/v1/predictions/{prediction_id}", summary="One prediction, with its label", tags=["models"], dependencies=[needs(Scope.READ)]
)
async def show_prediction(prediction_id: str, request: Request) -> Response:
    runtime = runtime_of(request)
    found = await asyncio.to_thread(_stored, runtime, prediction_id)
    return Response(msgspec.json.encode(found), media_type="application/json")


def _stored(runtime: Runtime, prediction_id: str) -> dict[str, Any]:
    stored = signature = None
    if prediction_id.isprintable():
        with reading(runtime.engine) as c:
            stored = predictions.get_prediction(c, prediction_id)
            version = registry.get_version(c, stored.row.model, stored.row.version) if stored else None
            signature = version.signature if version else None
    if stored is None:
        raise Problem(
            HTTPStatus.NOT_FOUND, "There is no prediction with this id; a new one can be read about a second after its answer."
        )
    row, label = stored.row, stored.label
    values = msgspec.json.decode(row.features)
    return msgspec.structs.asdict(row) | {
        "features": dict(zip(signature.names, values, strict=False)) if signature else values,
        "probabilities": msgspec.json.decode(row.probabilities) if row.probabilities else None,
        "warnings": msgspec.json.decode(row.warnings) if row.warnings else [],
        "label": None if label is None else {"label": label.label, "at": label.at},
    }


# ---------------------------------------------------------------------------------------------- operation


@router.get("/health", summary="Whether the process lives", tags=["operation"])
async def health() -> Response:
    return JSONResponse({"status": "healthy"})


@router.get("/ready", summary="Whether it should get traffic", tags=["operation"])
async def ready(request: Request) -> Response:
    runtime = runtime_of(request)
    reasons = runtime.not_ready()
    if reasons:
        return JSONResponse({"status": "not ready", "reasons": reasons}, HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"})
    troubles = runtime.troubles()
    return JSONResponse({"status": "ready", "problems": troubles} if troubles else {"status": "ready"})


@router.get("/metrics", summary="Prometheus text", tags=["operation"])
async def metrics(request: Request) -> Response:
    return Response(await asyncio.to_thread(runtime_of(request).metrics), headers={"Content-Type": CONTENT_TYPE_LATEST})
