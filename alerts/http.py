"""The alerts service over HTTP: what it says to Prometheus, what people and programs ask of it, and Slack's buttons.

Everything under ``/v1`` wants a key once there is one: `read` to look, `admin` to change. ``/slack/actions`` wants Slack's
signature instead, ``/metrics`` and ``/health`` nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException

from alerts import operations
from alerts.channels.slack_actions import carry_out, genuine, read_form
from alerts.http_limits import BoundedBodies, ImpatientProtocol
from alerts.lifecycle import LIVE
from alerts.operations import NotPossible
from storage import actions, alerts, incidents, keys, silences
from storage.engine import DatabaseUnavailable, reading, writing
from storage.matchers import Matchers
from storage.records import AlertRow, AlertState, Incident, Scope, Silence
from storage.service import bound_socket, export_address

_ORDER = list(Scope)


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("a text cannot hold the character NUL")
    return text


Line = Annotated[str, AfterValidator(_without_nul)]
"""A text that every database takes."""


class Ack(BaseModel):
    """Who takes care, and what they say."""

    model_config = ConfigDict(extra="forbid")

    by: Line = Field("", max_length=200)
    note: Line = Field("", max_length=2000)


class NewSilence(BaseModel):
    """What to keep quiet, for how long, and why."""

    model_config = ConfigDict(extra="forbid")

    matchers: dict[Line, Line | list[Line]] = Field(min_length=1)
    minutes: float = Field(gt=0, le=90 * 24 * 60)
    comment: Line = Field(min_length=1, max_length=2000)
    by: Line = Field("", max_length=200)
    starts_at: datetime | None = None


class Decision(BaseModel):
    """Who agrees or refuses."""

    model_config = ConfigDict(extra="forbid")

    by: Line = Field("", max_length=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the calls work with. ``signing_secret`` is Slack's, "" where its buttons come another way."""

    engine: Engine
    registry: CollectorRegistry
    signing_secret: str
    clock: Callable[[], datetime]


def make_app(
    engine: Engine,
    registry: CollectorRegistry,
    *,
    signing_secret: str = "",
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FastAPI:
    """The application; its pages of documentation are left out, since they fetch scripts from elsewhere."""
    app = FastAPI(title="modelwatch alerts", docs_url=None, redoc_url=None)
    app.state.service = Service(engine=engine, registry=registry, signing_secret=signing_secret, clock=clock)
    app.add_exception_handler(NotPossible, _not_possible)
    app.add_exception_handler(DatabaseUnavailable, _database_away)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(StarletteHTTPException, _http_error)
    app.include_router(router)
    app.add_middleware(BoundedBodies)
    return app


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Here = Annotated[Service, Depends(_service)]


def _reader(request: Request, here: Here) -> str:
    return _caller(request, here, Scope.READ)


def _admin(request: Request, here: Here) -> str:
    return _caller(request, here, Scope.ADMIN)


def _caller(request: Request, here: Service, scope: Scope) -> str:
    """The caller's name for the audit ("" as long as there never was a key). Raises HTTPException."""
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    with reading(here.engine) as c:
        if not keys.any_made(c):
            return ""
        key = keys.authenticate(c, text.strip()) if kind.lower() == "bearer" else None
    if key is None:
        raise HTTPException(401, "this service needs an API key: `Authorization: Bearer …`", {"WWW-Authenticate": "Bearer"})
    if _ORDER.index(key.scope) < _ORDER.index(scope):
        raise HTTPException(403, f"the API key has the scope {key.scope}; this call needs {scope}")
    return f"key:{key.id}"


Reader = Annotated[str, Depends(_reader)]
Admin = Annotated[str, Depends(_admin)]
router = APIRouter()


@router.get("/metrics", include_in_schema=False)
def metrics(here: Here) -> Response:
    return Response(generate_latest(here.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/health")
def health() -> dict[str, str]:
    """Whether the service runs."""
    return {"status": "healthy"}


@router.get("/v1/alerts")
def list_alerts(here: Here, _: Reader, state: Annotated[list[AlertState] | None, Query()] = None) -> list[dict[str, Any]]:
    """The alerts in the given states; without any, those that are not over."""
    with reading(here.engine) as c:
        return [alert_json(alert) for alert in alerts.load_alerts(c, states=state or LIVE)]


@router.get("/v1/incidents")
def list_incidents(
    here: Here, _: Reader, every: bool = False, limit: Annotated[int, Query(ge=1, le=1000)] = 200
) -> list[dict[str, Any]]:
    """The incidents that are not over, or every one, newest first."""
    with reading(here.engine) as c:
        found = incidents.list_incidents(c, limit=limit) if every else incidents.load_open(c)[::-1][:limit]
    return [incident_json(incident) for incident in found]


@router.post("/v1/incidents/{incident_id}/ack")
def acknowledge(incident_id: int, ack: Ack, here: Here, caller: Admin) -> dict[str, Any]:
    """Takes care of an incident: repeats and escalation stop."""
    with writing(here.engine) as c:
        by = _signed(ack.by, caller)
        return incident_json(operations.acknowledge(c, incident_id, by=by, note=ack.note, now=here.clock()))


@router.get("/v1/silences")
def list_silences(here: Here, _: Reader, every: bool = False) -> list[dict[str, Any]]:
    """The silences in force or to come, or every one, newest first."""
    with reading(here.engine) as c:
        return [silence_json(one) for one in silences.list_silences(c, since=None if every else here.clock())]


@router.post("/v1/silences", status_code=201)
def add_silence(wanted: NewSilence, here: Here, caller: Admin) -> dict[str, Any]:
    """Keeps matching alerts quiet for a while."""
    with writing(here.engine) as c:
        made = operations.silence(
            c,
            wanted.matchers,
            lasts=timedelta(minutes=wanted.minutes),
            by=_signed(wanted.by, caller),
            comment=wanted.comment,
            now=here.clock(),
            starts_at=_in_utc(wanted.starts_at),
        )
    return silence_json(made)


@router.post("/v1/silences/preview")
def preview_silence(matchers: dict[str, str | list[str]], here: Here, _: Reader) -> dict[str, Any]:
    """What a silence would hide at this moment."""
    with reading(here.engine) as c:
        found = operations.preview(c, Matchers.of(matchers))
    return {"hidden": [alert_json(alert) for alert in found.hidden], "others": found.others}


@router.delete("/v1/silences/{silence_id}")
def end_silence(silence_id: int, here: Here, caller: Admin, by: Line = "") -> dict[str, Any]:
    """Ends a silence now."""
    with writing(here.engine) as c:
        return silence_json(operations.unsilence(c, silence_id, by=_signed(by, caller), now=here.clock()))


@router.get("/v1/actions")
def list_actions(here: Here, _: Reader) -> list[dict[str, Any]]:
    """What alerts wanted done, newest first."""
    with reading(here.engine) as c:
        return [_plain(action) for action in actions.list_actions(c)]


@router.post("/v1/actions/{action_id}/{decision}")
def decide(action_id: int, decision: str, said: Decision, here: Here, caller: Admin) -> dict[str, Any]:
    """Agrees to an action (`confirm`) or does not (`refuse`)."""
    if decision not in ("confirm", "refuse"):
        raise HTTPException(404, "an action can be confirmed or refused")
    with writing(here.engine) as c:
        by = _signed(said.by, caller)
        return _plain(operations.decide(c, action_id, confirm=decision == "confirm", by=by, now=here.clock()))


@router.post("/slack/actions", include_in_schema=False)
async def slack(request: Request, here: Here) -> Response:
    """A button that was pressed in Slack."""
    body = await request.body()
    headers = {name.lower(): value for name, value in request.headers.items()}
    if not genuine(here.signing_secret, headers, body, here.clock()):
        raise HTTPException(401, "the request is not signed by Slack, or too long ago")
    press = read_form(body)
    if press is not None:
        await run_in_threadpool(carry_out, here.engine, press, here.clock())
    return Response()


@contextmanager
def serving(app: FastAPI, host: str, port: int, *, trusted: bool, variable: str) -> Iterator[int]:
    """Serves while the block runs, and gives the port. Raises SettingsError, with the ``variable`` of the port, where it cannot be had."""
    socket = bound_socket(export_address(host, trusted=trusted), port, variable)
    config = uvicorn.Config(
        app, http=ImpatientProtocol, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, name="http", daemon=True)
    thread.start()
    try:
        yield int(socket.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(10)
        socket.close()


# ---------------------------------------------------------------------------------------------- as JSON


def alert_json(alert: AlertRow) -> dict[str, Any]:
    """An alert as the API and the command show it."""
    return _plain(alert)


def incident_json(incident: Incident) -> dict[str, Any]:
    """An incident without what only the service needs."""
    hidden = ("told", "route", "due_at")
    firing = sum(state != "resolved" for state in incident.told.values())
    return {**{name: value for name, value in _plain(incident).items() if name not in hidden}, "firing": firing}


def silence_json(silence: Silence) -> dict[str, Any]:
    """A silence as the API and the command show it."""
    return _plain(silence)


def _plain(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def _signed(by: str, caller: str) -> str:
    """Who did it: the name that was given, with the key that vouches for it."""
    return f"{by} ({caller})" if by and caller else by or caller or "http"


def _in_utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


# ---------------------------------------------------------------------------------------------- errors


def _not_possible(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 422)


def _database_away(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": "The database is away; try again."}, 503, {"Retry-After": "5"})


def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    said = str(error.detail)
    return JSONResponse({"error": f"{said[:1].upper()}{said[1:].rstrip('.')}."}, error.status_code, error.headers)


def _not_valid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    details = [{"field": ".".join(map(str, one["loc"][1:])), "reason": one["msg"]} for one in error.errors()]
    unreadable = any(one["type"] == "json_invalid" for one in error.errors())
    return JSONResponse({"error": "The request is not right.", "details": details}, 400 if unreadable else 422)
