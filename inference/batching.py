"""Natural micro-batches for models that are dear to call: while one call runs, requests gather; the next takes them all.

No timer and no size to tune: an idle model answers at once, a busy one in batches as large as its own slowness makes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from inference.models.contract import LoadedModel, Outputs, PredictionFailed
from storage.records import Scalar

Rows = Sequence[Sequence[Scalar]]
MAX_BATCH_ROWS = 4096
"""A call takes no more than this unless a single request is larger, so that one request's wait stays bounded."""


class _Waiting(NamedTuple):
    rows: Rows
    future: asyncio.Future[Outputs]


class MicroBatcher:
    """One model in one thread of its own; ``predict`` is called from the event loop."""

    def __init__(self, model: LoadedModel, name: str) -> None:
        self._model = model
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"model-{name}")
        self._waiting: list[_Waiting] = []
        self._runner: asyncio.Task[None] | None = None

    async def predict(self, rows: Rows) -> Outputs:
        """The predictions for these rows, however they were batched. Raises PredictionFailed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outputs] = loop.create_future()
        self._waiting.append(_Waiting(rows, future))
        if self._runner is None:
            self._runner = loop.create_task(self._run(loop))
        return await future

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while self._waiting:
                batch = self._take()
                answers = await loop.run_in_executor(self._thread, self._call, [item.rows for item in batch])
                for item, answer in zip(batch, answers, strict=True):
                    if item.future.done():
                        continue  # the caller has gone
                    if isinstance(answer, Outputs):
                        item.future.set_result(answer)
                    else:
                        item.future.set_exception(answer)
        finally:
            self._runner = None

    def _take(self) -> list[_Waiting]:
        rows = count = 0
        for item in self._waiting:
            rows += len(item.rows)
            if count and rows > MAX_BATCH_ROWS:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    def _call(self, groups: list[Rows]) -> list[Outputs | Exception]:
        """One call for all groups; when it fails, one per group, so that a bad caller fails alone."""
        if len(groups) == 1:
            return [self._try(groups[0])]
        together = self._try([row for rows in groups for row in rows])
        if isinstance(together, Exception):
            return [self._try(rows) for rows in groups]
        return split_outputs(together, [len(rows) for rows in groups])

    def _try(self, rows: Rows) -> Outputs | Exception:
        try:
            outputs = self._model.predict(rows)
            if len(outputs.predictions) != len(rows):
                raise PredictionFailed("the model gave another number of predictions than it was given rows")
            return outputs
        except PredictionFailed as error:
            return error
        except Exception as error:  # noqa: BLE001 - a model is foreign code: what it raises belongs to this call alone
            failed = PredictionFailed(f"the model raised {type(error).__name__}")
            failed.__cause__ = error
            return failed


def split_outputs(outputs: Outputs, sizes: Sequence[int]) -> list[Outputs | Exception]:
    """Each caller's part of the predictions for all their rows in a row."""
    parts: list[Outputs | Exception] = []
    start = 0
    for size in sizes:
        end = start + size
        parts.append(
            Outputs(
                predictions=outputs.predictions[start:end],
                probabilities=None if outputs.probabilities is None else outputs.probabilities[start:end],
                scores=outputs.scores[start:end],
            )
        )
        start = end
    return parts
