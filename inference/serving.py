"""The hot path: from the bytes of a request to the bytes of its answer, with the record in the spool between them.

Plain ASGI, because a framework's routing and body handling cost more than a cheap model does. The steps: parse the
envelope, choose the version, parse the rows for its signature, call it, append the record, answer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, NamedTuple

import msgspec

from inference.catalogue import ModelInService, VersionInService
from inference.identifiers import IdMaker
from inference.log_record import LogRecord, encode
from inference.metrics import Meters
from inference.models.contract import Outputs, PredictionFailed
from inference.problems import Detail, Problem, unavailable
from inference.routing import Route, pinned, split
from inference.rows import Row, parse_json
from inference.security import Gate
from inference.settings import InferenceSettings
from inference.spool import Spool, SpoolUnavailable
from inference.turns import Turns
from storage.records import Scalar, Scope, Status

log = logging.getLogger(__name__)

Scope_ = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

RECORD_ROWS = 5000
"""Rows of one spool record; a larger request makes several."""
MAX_SEGMENTS = 8
_perf_counter = time.perf_counter

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Subject = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
ShortText = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class PredictRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The body of ``predict`` and ``/predict/batch``."""

    instances: msgspec.Raw
    subject: Subject | None = None
    ids: list[Id] | None = None
    version: str | None = None
    segments: dict[ShortText, ShortText] | None = None


class FeaturesRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The body of ``/predict``: one row."""

    features: msgspec.Raw
    subject: Subject | None = None


class Prediction(msgspec.Struct, omit_defaults=True, gc=False):
    """One answered row; ``probabilities`` in the order of the model's classes."""

    id: str
    version: str
    role: str
    prediction: Scalar
    probabilities: list[float] | None = None


class PredictResponse(msgspec.Struct, gc=False):
    model: str
    predictions: list[Prediction]


class ShortPrediction(msgspec.Struct, gc=False):
    prediction: Scalar
    probability: float | None


class BatchPrediction(msgspec.Struct, gc=False):
    id: str
    prediction: Scalar
    probability: float | None


class BatchResponse(msgspec.Struct, gc=False):
    predictions: list[BatchPrediction]


class Call(NamedTuple):
    """A request that is ready for its model."""

    model: str
    version: VersionInService
    route: Route
    rows: list[Row]
    ids: list[str]
    subject: str | None
    segment: str


_encode_json = msgspec.json.Encoder().encode


class PredictionService:
    """What the hot endpoints share. ``spool`` None leaves out logging, to measure what it costs."""

    def __init__(self, settings: InferenceSettings, gate: Gate, meters: Meters, spool: Spool | None) -> None:
        self.settings = settings
        self.gate = gate
        self.meters = meters
        self.max_rows = settings.max_rows
        self.max_body_bytes = int(settings.max_body_bytes)
        self._spool = spool
        self._is_durable = spool is not None and spool.durability == "power"
        self._turns = Turns(spool.append_all if spool is not None else lambda items: [None] * len(items))
        self._make_ids = IdMaker()

    def choose(
        self, model: ModelInService, pinned_version: str | None, subject: str | None, ids: list[str] | None
    ) -> tuple[Route, VersionInService, str]:
        """The route, its version, and the id of the first row. Raises Problem."""
        first = ids[0] if ids else self._make_ids.make()
        if pinned_version is not None:
            return pinned(pinned_version), pinned_to(model, pinned_version), first
        route = model.only_route or split(model.deployment, subject, first)
        return route, model.versions[route.version], first

    def prepare(self, model: ModelInService, body: bytes) -> Call:
        """Parses and checks the body of ``predict``. Raises Problem."""
        request = decode(_predict_decoder, body)
        ids = checked_ids(request.ids) if request.ids is not None else None
        route, version, first = self.choose(model, request.version, request.subject, ids)
        rows = version.reader.read(request.instances)
        count = len(rows)
        if count > self.max_rows:
            raise Problem(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The request has {count} rows and the limit is {self.max_rows}; send it in parts.",
            )
        if ids is None:
            ids = [first] if count == 1 else [first, *self._make_ids.make_many(count - 1)] if count else []
        if not count or len(ids) != count:
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "instances is empty; send at least one row." if not count else f"There are {len(ids)} ids for {count} rows.",
            )
        segment = segment_text(request.segments) if request.segments else ""
        return Call(model.name, version, route, rows, ids, request.subject, segment)

    def prepare_one(self, model: ModelInService, body: bytes) -> Call:
        """Parses and checks the body of ``/predict``. Raises Problem."""
        request = decode(_features_decoder, body)
        route, version, first = self.choose(model, None, request.subject, None)
        return Call(model.name, version, route, version.reader.read_one(request.features), [first], request.subject, "")

    async def run(self, call: Call, at: float, began: float) -> tuple[Outputs, bool]:
        """Calls the model and logs what it answered; the flag says whether it was logged. Raises Problem."""
        version, rows = call.version, call.rows
        started = _perf_counter()
        try:
            outputs = version.model.predict(rows) if version.is_quick(len(rows)) else await version.batcher.predict(rows)
        except PredictionFailed as error:
            await self._log_failure(call, at, began, error)
            raise unavailable(
                f"Version {call.route.version} of {call.model} could not predict: {error}.", kind="prediction_failed"
            ) from error
        finished = _perf_counter()
        odd = version.watch.odd(rows)
        version.meter.add_predictions(call.route.role, len(rows), len(odd) if odd else 0, finished - started)
        if self._spool is None:
            await self._turns.add(b"", 0)  # so that logging is measured against the same turns
            return outputs, True
        record = LogRecord(
            at=at,
            model=call.model,
            version=call.route.version,
            role=call.route.role,
            reason=call.route.reason,
            subject=call.subject,
            segment=call.segment,
            ids=call.ids,
            features=rows,  # type: ignore[arg-type] # tuples encode as lists do
            predictions=version.texts(outputs),
            scores=outputs.scores,  # type: ignore[arg-type]
            probabilities=outputs.probabilities,
            latency_ms=(finished - began) * 1000.0,
            warnings=odd,
        )
        return outputs, await self._append(record)

    async def _log_failure(self, call: Call, at: float, began: float, error: PredictionFailed) -> None:
        log.warning("Version %s of %s could not predict: %s.", call.route.version, call.model, error, exc_info=error.__cause__)
        if self._spool is None:
            return
        nothing: list[None] = [None] * len(call.rows)
        await self._append(
            LogRecord(
                at=at,
                model=call.model,
                version=call.route.version,
                role=call.route.role,
                reason=call.route.reason,
                subject=call.subject,
                segment=call.segment,
                ids=call.ids,
                features=call.rows,  # type: ignore[arg-type]
                predictions=list(nothing),
                scores=list(nothing),
                probabilities=None,
                latency_ms=(_perf_counter() - began) * 1000.0,
                status=Status.ERROR,
                error=str(error),
            )
        )

    async def _append(self, record: LogRecord) -> bool:
        """Whether the record is in the spool. Raises Problem when it is not and must be."""
        count = len(record.ids)
        try:
            if count > RECORD_ROWS:
                for part in parts(record, RECORD_ROWS):
                    await self.append(encode(part), len(part.ids))
            elif self._is_durable:
                await self.append(encode(record), count)
            else:
                await self._turns.add(encode(record), count)
        except SpoolUnavailable as error:
            if error.serve_unlogged:
                return False
            raise unavailable(f"Predictions cannot be logged now, so none are made: {error}", kind="spool") from error
        return True

    async def append(self, payload: bytes, records: int) -> None:
        """One payload into the spool, as durable as the settings say. Raises SpoolUnavailable."""
        assert self._spool is not None
        if self._is_durable:
            await self._spool.append_durable(payload, records)
        else:
            self._spool.append(payload, records)

    def make_id(self) -> str:
        return self._make_ids.make()


# ---------------------------------------------------------------------------------------------- parsing

_predict_decoder = msgspec.json.Decoder(PredictRequest)
_features_decoder = msgspec.json.Decoder(FeaturesRequest)


def decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """The body as the decoder's type. Raises Problem: 400 for what is no JSON, 422 for JSON of another shape."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"The body is not as this endpoint takes it: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(body, error) from error


def _unreadable(body: bytes, error: Exception) -> Problem:
    """NaN and Infinity are no JSON, but some clients write them: they are told where these stand. Raises Problem."""
    if not (b"NaN" in body or b"Infinity" in body):
        reason = str(error) if isinstance(error, msgspec.DecodeError) else "it is not UTF-8 text or nests too deeply"
        return Problem(HTTPStatus.BAD_REQUEST, f"The body is not readable as JSON: {reason}.")
    content = parse_json(body)
    if not isinstance(content, dict):
        return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The body must be a JSON object.")
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The body holds NaN or Infinity, which are not JSON; send null for a missing value.",
        list(_not_finite(content.get("instances", [content.get("features")]))),
    )


def _not_finite(rows: Any) -> Iterator[Detail]:
    for index, row in enumerate(rows if isinstance(rows, list) else []):
        cells = row.items() if isinstance(row, dict) else enumerate(row) if isinstance(row, list) else []
        for field, value in cells:
            if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
                yield Detail(row=index, field=str(field)[:64], reason="must be a finite number")


def checked_ids(ids: list[str]) -> list[str]:
    """The caller's ids. Raises Problem when one stands twice or is not printable."""
    if len(set(ids)) != len(ids):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The ids of a request must differ from each other.")
    if not all(map(str.isprintable, ids)):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "An id is 1 to 128 printable characters.")
    return ids


def segment_text(segments: dict[str, str]) -> str:
    """One text per set of segments, whatever their order: ``country=de,plan=free``. Raises Problem."""
    if len(segments) > MAX_SEGMENTS:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"A request has at most {MAX_SEGMENTS} segments.")
    for text in (*segments, *segments.values()):
        if "," in text or "=" in text or not text.isprintable():
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "Names and values of segments are printable and hold neither a comma nor an equals sign.",
            )
    return ",".join(f"{name}={segments[name]}" for name in sorted(segments))


def pinned_to(model: ModelInService, version: str) -> VersionInService:
    """The version that the caller asks for. Raises Problem: 404 when there is none, 503 when it cannot be loaded."""
    found = model.versions.get(version)
    if found is not None:
        return found
    if version in model.problems:
        raise unavailable(f"Version {version} of {model.name} cannot be loaded: {model.problems[version]}", retry_after=10)
    raise Problem(HTTPStatus.NOT_FOUND, f"{model.name} has no such version in service; GET /v1/models/{model.name} lists them.")


def parts(record: LogRecord, size: int) -> list[LogRecord]:
    """A record of many rows as several."""
    found = []
    for start in range(0, len(record.ids), size):
        end = start + size
        warnings = {index - start: odd for index, odd in (record.warnings or {}).items() if start <= index < end}
        found.append(
            msgspec.structs.replace(
                record,
                ids=record.ids[start:end],
                features=record.features[start:end],
                predictions=record.predictions[start:end],
                scores=record.scores[start:end],
                probabilities=None if record.probabilities is None else record.probabilities[start:end],
                warnings=warnings or None,
            )
        )
    return found


# ---------------------------------------------------------------------------------------------- answers


def answer_predict(call: Call, outputs: Outputs) -> bytes:
    version, role = call.route.version, call.route.role
    predictions, probabilities = outputs.predictions, outputs.probabilities
    if len(predictions) == 1:
        row = Prediction(call.ids[0], version, role, predictions[0], None if probabilities is None else probabilities[0])
        return _encode_json(PredictResponse(call.model, [row]))
    lists: Sequence[list[float] | None] = [None] * len(predictions) if probabilities is None else probabilities
    rows = [
        Prediction(*row)
        for row in zip(call.ids, [version] * len(predictions), [role] * len(predictions), predictions, lists, strict=True)
    ]
    return _encode_json(PredictResponse(call.model, rows))


def answer_one(call: Call, outputs: Outputs) -> bytes:
    return _encode_json(ShortPrediction(outputs.predictions[0], None if call.version.is_regression else outputs.scores[0]))


def answer_batch(call: Call, outputs: Outputs) -> bytes:
    scores: Sequence[float | None] = [None] * len(call.ids) if call.version.is_regression else outputs.scores
    rows = [BatchPrediction(*row) for row in zip(call.ids, outputs.predictions, scores, strict=True)]
    return _encode_json(BatchResponse(rows))


# ---------------------------------------------------------------------------------------------- ASGI


class HotEndpoint:
    """One hot path of one state of one model, as an ASGI application."""

    def __init__(
        self,
        service: PredictionService,
        model: ModelInService,
        prepare: Callable[[ModelInService, bytes], Call],
        answer: Callable[[Call, Outputs], bytes],
        *,
        sends_id: bool,
    ) -> None:
        self._service = service
        self._model = model
        self._prepare = prepare
        self._answer = answer
        self._sends_id = sends_id

    async def __call__(self, scope: Scope_, receive: Receive, send: Send) -> None:
        service = self._service
        meter = None
        began = _perf_counter()
        try:
            if service.gate.needs_key:
                await service.gate.check(scope["headers"], Scope.PREDICT)
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body = message.get("body", b"")
            if message.get("more_body") or len(body) > service.max_body_bytes:
                body = await read_rest(message, receive, service.max_body_bytes)
            at, began = time.time(), _perf_counter()
            call = self._prepare(self._model, body)
            meter = call.version.meter
            outputs, is_logged = await service.run(call, at, began)
            content = self._answer(call, outputs)
        except Disconnected:
            return
        except Problem as problem:
            (meter or service.meters.of(self._model.name, "")).add_request(str(problem.status), _perf_counter() - began)
            service.meters.add_error(self._model.name, problem.kind)
            await send_problem(problem, send)
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        if self._sends_id:
            headers.append((b"x-modelwatch-id", call.ids[0].encode()))
        if not is_logged:
            headers.append((b"x-modelwatch-logged", b"false"))
        meter.add_request("200", _perf_counter() - began)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def endpoints(service: PredictionService, models: Mapping[str, ModelInService], default: str) -> dict[str, HotEndpoint]:
    """Every hot path of this state of the models; ``default`` answers the paths without a model's name."""
    found = {}
    for name, model in models.items():
        found[f"/v1/models/{name}/predict"] = HotEndpoint(service, model, service.prepare, answer_predict, sends_id=False)
    short = models.get(default) if default else next(iter(models.values())) if len(models) == 1 else None
    if short is not None:
        found["/predict"] = HotEndpoint(service, short, service.prepare_one, answer_one, sends_id=True)
        found["/predict/batch"] = HotEndpoint(service, short, service.prepare, answer_batch, sends_id=False)
    return found


class Disconnected(Exception):
    """The caller went away before its request was complete."""


async def read_rest(message: MutableMapping[str, Any], receive: Receive, limit: int) -> bytes:
    """The whole body. Raises Problem (413) beyond ``limit`` bytes, after reading on a little so that the caller hears it."""
    chunks = [message.get("body", b"")]
    size = len(chunks[0])
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        elif size > 8 * limit:
            break
    if size > limit:
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The body is larger than {limit} bytes (MODELWATCH_MAX_BODY_BYTES); send fewer rows at once.",
            headers={"Connection": "close"},
        )
    return b"".join(chunks)


async def send_problem(problem: Problem, send: Send) -> None:
    content = problem.body()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    headers += [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    await send({"type": "http.response.start", "status": int(problem.status), "headers": headers})
    await send({"type": "http.response.body", "body": content})
