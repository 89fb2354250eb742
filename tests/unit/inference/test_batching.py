"""Micro-batches: every caller gets exactly its rows, batches form under load, and a bad caller fails alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from inference.batching import MAX_BATCH_ROWS, MicroBatcher
from inference.models.contract import Outputs, PredictionFailed
from storage.records import Scalar


class Echo:
    """Predicts the first value of each row; refuses negative ones. ``gate`` holds a call up."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def predict(self, rows: Sequence[Sequence[Scalar]]) -> Outputs:
        self.calls.append(len(rows))
        self.entered.set()
        self.gate.wait(60)
        values = [float(row[0]) for row in rows]  # type: ignore[arg-type]
        if any(value == -2 for value in values):
            raise KeyError("a bug of the model")
        if min(values) < 0:
            raise PredictionFailed("negative")
        return Outputs(predictions=values, probabilities=[[1 - value, value] for value in values], scores=values)


def test_gathered_requests_go_in_one_call_and_come_back_apart() -> None:
    async def story() -> tuple[list[Outputs], list[int]]:
        model, batcher = _held()
        first = asyncio.create_task(batcher.predict([(0,)]))
        await asyncio.to_thread(model.entered.wait, 10)
        others = [asyncio.create_task(batcher.predict([(number,), (number + 0.5,)])) for number in range(1, 6)]
        await asyncio.sleep(0)
        model.gate.set()
        return [await first, *[await other for other in others]], model.calls

    outputs, calls = asyncio.run(story())

    assert calls == [1, 10]
    assert [item.predictions for item in outputs] == [[0.0], *[[float(n), n + 0.5] for n in range(1, 6)]]
    assert [item.scores for item in outputs] == [item.predictions for item in outputs]
    assert all(item.probabilities == [[1 - value, value] for value in item.predictions] for item in outputs)


def test_a_bad_caller_fails_alone() -> None:
    async def story() -> list[Outputs | BaseException]:
        model, batcher = _held()
        first = asyncio.create_task(batcher.predict([(0,)]))
        await asyncio.to_thread(model.entered.wait, 10)
        others = [asyncio.create_task(batcher.predict([(value,)])) for value in (1, -1, -2, 2)]
        await asyncio.sleep(0)
        model.gate.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    outcomes = asyncio.run(story())

    kinds = [item.predictions if isinstance(item, Outputs) else type(item) for item in outcomes]
    assert kinds == [[0.0], [1.0], PredictionFailed, PredictionFailed, [2.0]]


def test_a_batch_stays_within_its_limit_unless_one_request_is_larger() -> None:
    async def story() -> list[int]:
        model, batcher = _held()
        first = asyncio.create_task(batcher.predict([(0,)]))
        await asyncio.to_thread(model.entered.wait, 10)
        sizes = [MAX_BATCH_ROWS + 1, MAX_BATCH_ROWS - 1, 1, 1]
        others = [asyncio.create_task(batcher.predict([(0,)] * size)) for size in sizes]
        await asyncio.sleep(0)
        model.gate.set()
        await asyncio.gather(first, *others)
        return model.calls

    assert asyncio.run(story()) == [1, MAX_BATCH_ROWS + 1, MAX_BATCH_ROWS, 1]


def test_a_caller_that_leaves_does_not_disturb_the_others() -> None:
    async def story() -> Outputs:
        model, batcher = _held()
        first = asyncio.create_task(batcher.predict([(0,)]))
        await asyncio.to_thread(model.entered.wait, 10)
        leaves, stays = (asyncio.create_task(batcher.predict([(value,)])) for value in (1, 2))
        await asyncio.sleep(0)
        leaves.cancel()
        model.gate.set()
        await first
        with pytest.raises(asyncio.CancelledError):
            await leaves
        return await stays

    assert asyncio.run(story()).predictions == [2.0]


def test_a_model_that_miscounts_is_an_error_and_no_mixup() -> None:
    class Short:
        def predict(self, rows: Sequence[Sequence[Scalar]]) -> Outputs:
            return Outputs(predictions=[1.0], probabilities=None, scores=[1.0])

    async def story() -> None:
        await MicroBatcher(Short(), "short").predict([(1,), (2,)])

    with pytest.raises(PredictionFailed, match="another number"):
        asyncio.run(story())


def _held() -> tuple[Echo, MicroBatcher]:
    model = Echo()
    model.gate.clear()
    return model, MicroBatcher(model, "echo")
