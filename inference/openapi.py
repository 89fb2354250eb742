"""How OpenAPI describes the bodies that the sidecar decodes by hand."""

from __future__ import annotations

from typing import Any

_TEXT: dict[str, Any] = {"type": "string"}
_VALUE: dict[str, Any] = {"description": "A number, text, boolean, or null where missing values are allowed."}
_ROW: dict[str, Any] = {
    "oneOf": [
        {"type": "object", "additionalProperties": _VALUE, "description": "Each feature by name."},
        {"type": "array", "items": _VALUE, "description": "All features in the order of the signature."},
    ]
}
_LABEL: dict[str, Any] = {"oneOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]}
_PROBABILITY: dict[str, Any] = {
    "type": ["number", "null"],
    "description": "Of the last class of two, or the largest of more; null for regression.",
}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _rows(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema}


_ENVELOPE = {
    "subject": {**_TEXT, "maxLength": 256, "description": "Who this is about: the same subject always meets the same version."},
    "ids": {"type": "array", "items": _TEXT, "description": "Ids of the predictions, one per row; sent again they count once."},
    "version": {**_TEXT, "description": "Asks for this version instead of the deployed ones."},
    "segments": {"type": "object", "additionalProperties": _TEXT, "description": "Groups to tell apart later, such as country."},
}

PREDICT = _object(["instances"], instances=_rows(_ROW), **_ENVELOPE)
PREDICT_ONE = _object(["features"], features=_ROW, subject=_ENVELOPE["subject"])
LABELS = _object(["labels"], labels=_rows(_object(["id", "label"], id=_TEXT, label=_LABEL, at={**_TEXT, "format": "date-time"})))
LOG = _object(
    ["predictions"],
    predictions=_rows(
        _object(
            ["version", "features", "prediction"],
            id=_TEXT,
            at={**_TEXT, "format": "date-time"},
            version=_TEXT,
            features=_ROW,
            prediction=_LABEL,
            probabilities=_rows({"type": "number"}),
            latency_ms={"type": "number"},
        )
    ),
)
PREDICTIONS = _object(
    ["model", "predictions"],
    model=_TEXT,
    predictions=_rows(
        _object(
            ["id", "version", "role", "prediction"],
            id=_TEXT,
            version=_TEXT,
            role={"enum": ["champion", "challenger", "pinned"]},
            prediction=_LABEL,
            probabilities={"type": "array", "items": {"type": "number"}, "description": "In the order of the model's classes."},
        )
    ),
)
PREDICTION_ONE = _object(["prediction", "probability"], prediction=_LABEL, probability=_PROBABILITY)
PREDICTION_BATCH = _object(
    ["predictions"],
    predictions=_rows(_object(["id", "prediction", "probability"], id=_TEXT, prediction=_LABEL, probability=_PROBABILITY)),
)
RECEIPT = _object(
    ["accepted", "duplicates", "unknown"],
    accepted={"type": "integer"},
    duplicates={"type": "integer"},
    unknown={"type": "integer", "description": "Accepted ones whose prediction is not known yet."},
)
ERROR = _object(
    ["error"],
    error=_TEXT,
    details=_rows(
        _object(["row", "field", "reason"], row={"type": ["integer", "null"]}, field={"type": ["string", "null"]}, reason=_TEXT)
    ),
)


def body(schema: dict[str, Any]) -> dict[str, Any]:
    """What ``openapi_extra`` of a route takes for a JSON body."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def answers(schema: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """What ``responses`` of a route takes."""
    error = {"content": {"application/json": {"schema": ERROR}}}
    return {
        200: {"description": "Done.", "content": {"application/json": {"schema": schema}}},
        400: {"description": "The body is not JSON.", **error},
        401: {"description": "No key, or a wrong one.", **error},
        404: {"description": "No such model or version.", **error},
        413: {"description": "Too large.", **error},
        422: {"description": "The body does not fit; `details` says where.", **error},
        503: {"description": "Try again after `Retry-After` seconds.", **error},
    }
