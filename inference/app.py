"""create_app: the FastAPI application, with the hot paths answered in front of it."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from types import FrameType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from inference.api import router
from inference.problems import Detail, Problem, response, unavailable
from inference.runtime import Runtime
from inference.serving import Disconnected, HotEndpoint, Receive, Scope_, Send
from inference.settings import InferenceSettings
from storage.engine import DatabaseUnavailable

log = logging.getLogger(__name__)

UNKNOWN_MODEL_SECONDS = 0.25
"""How often requests for models that are not served may make the catalogue look for them."""


class Sidecar(FastAPI):
    """A FastAPI application whose hot paths never reach FastAPI."""

    def __init__(self, runtime: Runtime, **options: Any) -> None:
        super().__init__(**options)
        self.runtime = runtime
        self.state.runtime = runtime

    async def __call__(self, scope: Scope_, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            hot = self.runtime.hot.get(scope["path"]) or await self._hot_by_now(scope["path"])
            if hot is not None:
                await hot(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    async def _hot_by_now(self, path: str) -> HotEndpoint | None:
        """A model that is asked for right after its registration is looked for at once, though at most a few times a second."""
        if not path.endswith(("/predict", "/predict/batch")):
            return None
        await asyncio.to_thread(self.runtime.catalogue.poll, unless_within=UNKNOWN_MODEL_SECONDS)
        return self.runtime.hot.get(path)


def create_app(settings: InferenceSettings, *, log_predictions: bool = True) -> Sidecar:
    """The sidecar as an ASGI application; its lifespan opens the spool and loads the models.

    ``log_predictions`` False leaves out the spool. It is there to measure what logging costs, and for nothing else.
    """
    app = Sidecar(
        Runtime(settings, log_predictions=log_predictions),
        title="modelwatch sidecar",
        description="Serves models, and logs every prediction.",
        lifespan=_lifespan,
        redoc_url=None,
    )
    app.include_router(router)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(DatabaseUnavailable, _on_database_unavailable)
    app.add_exception_handler(Disconnected, _on_disconnected)
    app.add_exception_handler(Exception, _on_bug)
    return app


def create_from_environment() -> Sidecar:
    """The application of one worker process."""
    _follow_parent()
    return create_app(InferenceSettings.load())


def _follow_parent() -> None:
    """A worker whose server was killed would go on holding the port, so it ends too."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def end() -> None:
        parent.join()
        log.warning("The server of this worker is gone; the worker ends.")
        for _ in range(2):  # the second one does not wait for load balancers: whoever restarts the server wants the port
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.2)

    threading.Thread(target=end, name="parent", daemon=True).start()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    runtime: Runtime = app.state.runtime
    await asyncio.to_thread(runtime.start)
    _drain_on_sigterm(runtime)
    try:
        yield
    finally:
        await asyncio.to_thread(runtime.stop)


def _drain_on_sigterm(runtime: Runtime) -> None:
    """SIGTERM first turns /ready to 503, and reaches the server ``drain_seconds`` later; a second one at once."""
    server_stops = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(server_stops):
        return
    loop = asyncio.get_running_loop()

    def drain(number: int, frame: FrameType | None) -> None:
        if runtime.is_draining:
            server_stops(number, frame)
            return
        runtime.is_draining = True
        loop.call_soon_threadsafe(loop.call_later, runtime.settings.drain_seconds, server_stops, number, frame)

    signal.signal(signal.SIGTERM, drain)


# ---------------------------------------------------------------------------------------------- errors


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return response(error)


async def _on_http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentences = {
        HTTPStatus.NOT_FOUND: "There is nothing at this address; /docs lists the endpoints.",
        HTTPStatus.METHOD_NOT_ALLOWED: "This address does not take this method; /docs lists the endpoints.",
    }
    return response(
        Problem(error.status_code, sentences.get(HTTPStatus(error.status_code), str(error.detail)), headers=error.headers)
    )


async def _on_validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    details = [Detail(row=None, field=".".join(map(str, item["loc"])), reason=str(item["msg"])) for item in error.errors()]
    return response(Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not as this endpoint takes it.", details))


async def _on_database_unavailable(_: Request, error: Exception) -> Response:
    log.warning("%s", error)
    return response(unavailable("The database is away; try again."))


async def _on_disconnected(_: Request, __: Exception) -> Response:
    return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody reads it


async def _on_bug(_: Request, __: Exception) -> Response:
    return response(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The server made a mistake; its log says more."))
