"""Answers that are not predictions: one error body for every endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TypedDict

import msgspec
from starlette.responses import Response

MAX_DETAILS = 20


class Detail(TypedDict):
    """Where in the body something is wrong, and what; never the value itself."""

    row: int | None
    field: str | None
    reason: str


class Problem(Exception):
    """The request cannot be answered; ``error`` is one sentence for the caller."""

    def __init__(
        self, status: int, error: str, details: Sequence[Detail] = (), *, kind: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.details = details
        self.kind = kind or _KINDS.get(status, "internal")
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        content: dict[str, object] = {"error": self.error}
        if self.details:
            content["details"] = self.details[:MAX_DETAILS]
        return msgspec.json.encode(content)


_KINDS: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: "unreadable",
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too_large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "invalid",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable",
}


def unavailable(error: str, *, kind: str = "unavailable", retry_after: int = 1) -> Problem:
    """A 503 that the caller should try again."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, error, kind=kind, headers={"Retry-After": str(retry_after)})


def response(problem: Problem) -> Response:
    return Response(problem.body(), problem.status, problem.headers, media_type="application/json")
