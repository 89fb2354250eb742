"""All columns at once against one at a time."""

from __future__ import annotations

import doctest
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.statistics import layout_drift as module
from collector.statistics.drift import FeatureDrift, feature_drift
from collector.statistics.layout_drift import layout_drift
from storage.layouts import build_layout, count_predictions, layout_size, split_bins
from storage.records import Feature, FeatureType, Layout, PredictionCounts, Scalar, Signature, Task

N, C = FeatureType.NUMBER, FeatureType.CATEGORY
Column = list[Scalar]


def make_layout(kinds: list[FeatureType], columns: list[Column]) -> Layout:
    features = tuple(Feature(name=f"f{i}", type=kind, missing_allowed=True) for i, kind in enumerate(kinds))
    return build_layout("m", Signature(task=Task.REGRESSION, features=features), columns, np.arange(5.0))


def counted(layout: Layout, columns: list[Column]) -> PredictionCounts:
    rows = [list(row) for row in zip(*columns, strict=True)]
    return count_predictions(layout, rows, [0.5] * len(rows), [""] * len(rows))


def one_by_one(layout: Layout, reference: PredictionCounts, current: PredictionCounts) -> list[FeatureDrift]:
    found, numeric = [], 0
    for bins, left, right in zip(
        layout.features, split_bins(layout, reference.bins)[0], split_bins(layout, current.bins)[0], strict=True
    ):
        moments = () if bins.is_categorical else (reference.moments[numeric], current.moments[numeric])
        found.append(feature_drift(bins, left, right, *moments))
        numeric += not bins.is_categorical
    return found


def assert_same(together: list[FeatureDrift], alone: list[FeatureDrift]) -> None:
    assert len(together) == len(alone)
    for one, other in zip(together, alone, strict=True):
        for name, value in asdict(other).items():
            found = getattr(one, name)
            expected = pytest.approx(value, rel=1e-12, abs=1e-12) if isinstance(value, float | tuple) else value
            assert found == expected, name
            assert type(found) is type(value), name


def test_docstring_examples_run() -> None:
    assert doctest.testmod(module).failed == 0


cells = {
    N: st.none() | st.floats(-5, 5, width=16) | st.sampled_from([0.0, 1.0, float("inf"), 1e300]),
    C: st.none() | st.sampled_from("abcdef"),
}


@given(st.data())
def test_equals_the_function_for_one_column(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from([N, C]), min_size=1, max_size=5))
    sides = []
    for least in (1, 0):
        rows = data.draw(st.integers(least, 30))
        sides.append([data.draw(st.lists(cells[kind], min_size=rows, max_size=rows)) for kind in kinds])
    registered, current = sides
    layout = make_layout(kinds, registered)
    counts = counted(layout, registered), counted(layout, current)

    together = layout_drift(layout, counts[0].bins, counts[1].bins, counts[0].moments, counts[1].moments)

    assert_same(together, one_by_one(layout, *counts))


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_function_for_one_column_on_random_counts(seed: int) -> None:
    random = np.random.default_rng(seed)
    columns: list[Column] = [
        random.normal(size=3000).tolist(),
        random.poisson(2, 3000).tolist(),
        random.choice(list("abcdefgh"), 3000, p=random.dirichlet(np.ones(8))).tolist(),
        [None] * 3000,
        [1.0] * 3000,
        random.exponential(size=3000).tolist(),
        random.integers(0, 400, 3000).astype(str).tolist(),
    ]
    layout = make_layout([N, N, C, N, N, N, C], columns)
    reference = counted(layout, columns)
    reference.bins[:] = random.integers(0, 60, layout_size(layout)) * (random.random(layout_size(layout)) < 0.3)
    current = counted(layout, [column[:200] for column in columns])
    current.bins[:] = random.integers(0, 9, layout_size(layout)) * (random.random(layout_size(layout)) < 0.3)
    for counts in (reference, current):
        parts = split_bins(layout, counts.bins)[0]
        numeric = [part for bins, part in zip(layout.features, parts, strict=True) if not bins.is_categorical]
        held = np.array([part[:-1].sum() for part in numeric])
        counts.moments[:-1] = np.column_stack((held, held * random.normal(size=held.size), held * 9.0))

    together = layout_drift(layout, reference.bins, current.bins, reference.moments, current.moments)

    assert_same(together, one_by_one(layout, reference, current))
    assert together[0].wasserstein is not None


def test_without_moments_only_what_bins_allow() -> None:
    layout = make_layout([N], [[0.0, 1.0, 2.0]])
    counts = counted(layout, [[0.0, 1.0, 2.0]])

    [found] = layout_drift(layout, counts.bins, counts.bins)

    assert (found.ks, found.psi, found.mean_shift, found.wasserstein) == (0.0, 0.0, None, None)


def test_a_model_without_features_has_no_drifts() -> None:
    layout = make_layout([], [])

    assert layout_drift(layout, np.zeros(layout.score.size, np.int64), np.zeros(layout.score.size, np.int64)) == []
