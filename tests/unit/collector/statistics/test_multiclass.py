"""Qualities of several classes from counts, against scikit-learn on the rows, within the bounds that they state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn import metrics as quality

from collector.statistics.measures import Measure, measures
from collector.statistics.multiclass import (
    concept_changes,
    macro_average_precision,
    macro_roc_auc,
    mean_brier,
    mean_log_loss,
    sides,
    top_calibration_error,
)
from collector.statistics.probabilities import Binned, has_probabilities
from storage.layouts import build_layout, count_labels
from storage.records import Floats, LabelCounts, Layout, Signature, Task

NAMES = tuple("abcd")
_Rows = tuple[Floats, list[str]]


def drawn(n: int, *, sharpness: float = 2.0, classes: int = 4, moved: float = 0.0, seed: int = 0) -> _Rows:
    """Probabilities and labels; without ``moved`` they are true, with it some labels of the first class turn into the second."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, classes)) * sharpness + np.linspace(1.5, 0, classes)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = names_of(classes)
    places = np.minimum((random.random((n, 1)) > probabilities.cumsum(axis=1)).sum(axis=1), classes - 1)
    places = np.where((places == 0) & (random.random(n) < moved), 1, places)
    return probabilities, [names[place] for place in places]


def names_of(classes: int) -> tuple[str, ...]:
    return tuple(f"{number:02d}" for number in range(classes))


def layout_of(probabilities: Floats) -> Layout:
    names = names_of(probabilities.shape[1])
    signature = Signature(task=Task.CLASSIFICATION, features=(), classes=names)
    return build_layout("m", signature, [], probabilities.max(axis=1), probabilities.tolist())


def counted(layout: Layout, rows: _Rows) -> LabelCounts:
    probabilities, actual = rows
    called = [layout.classes[place] for place in probabilities.argmax(axis=1)]
    return count_labels(layout, probabilities.max(axis=1).tolist(), called, actual, [0.0] * len(actual), probabilities.tolist())


def value_of(found: Binned | None) -> float:
    assert found is not None
    return found.value


@pytest.mark.parametrize("sharpness", [0.5, 2.0, 8.0])
@pytest.mark.parametrize("seed", range(3))
def test_areas_are_within_their_bounds_of_the_exact_ones(sharpness: float, seed: int) -> None:
    layout = layout_of(drawn(4000, sharpness=sharpness, seed=9)[0])
    rows = drawn(2000, sharpness=sharpness, seed=seed)
    one_hot = np.array(rows[1])[:, None] == np.array(layout.classes)

    roc, area = (macro(layout, counted(layout, rows)) for macro in (macro_roc_auc, macro_average_precision))

    assert roc is not None
    assert area is not None
    assert abs(roc.value - quality.roc_auc_score(one_hot, rows[0], average="macro")) <= roc.bound + 1e-12
    assert abs(area.value - quality.average_precision_score(one_hot, rows[0], average="macro")) <= area.bound + 1e-12
    assert abs(area.value - quality.average_precision_score(one_hot, rows[0], average="macro")) < 0.01
    assert roc.bound < 0.012
    assert area.bound < 0.045


def test_losses_are_exact() -> None:
    rows = drawn(3000)
    layout = layout_of(rows[0])
    losses = counted(layout, rows).losses
    each = -np.log(rows[0][np.arange(3000), [layout.classes.index(name) for name in rows[1]]])

    log, brier = mean_log_loss(losses), mean_brier(losses)

    assert value_of(log) == pytest.approx(quality.log_loss(rows[1], rows[0], labels=layout.classes), rel=1e-12)
    assert value_of(brier) == pytest.approx(quality.brier_score_loss(rows[1], rows[0], labels=layout.classes), rel=1e-12)
    assert log is not None
    assert log.error == pytest.approx(each.std(ddof=1) / np.sqrt(3000), rel=1e-9)
    assert log.bound == 0.0


def test_calibration_error_tells_an_overconfident_model_from_a_true_one() -> None:
    true, layout = drawn(20_000), layout_of(drawn(20_000)[0])
    sharper = true[0] ** 3 / (true[0] ** 3).sum(axis=1, keepdims=True)
    confident = counted(layout_of(sharper), (sharper, true[1]))
    exact = abs(
        sharper.max(axis=1).mean()
        - np.mean([names_of(4)[place] == name for place, name in zip(sharper.argmax(axis=1), true[1], strict=True)])
    )

    good, bad = top_calibration_error(layout, counted(layout, true)), top_calibration_error(layout_of(sharper), confident)

    assert good is not None
    assert bad is not None
    assert good.value < 0.02
    assert bad.value == pytest.approx(exact, abs=bad.bound + 0.01)
    assert bad.value > 0.1


@pytest.mark.parametrize("n", [300, 2000])
def test_intervals_hold_what_many_more_rows_show(n: int) -> None:
    layout = layout_of(drawn(4000, seed=99)[0])
    wide = {m.name: m.value for m in measures(layout, counted(layout, drawn(100_000, seed=77)))}
    held: dict[str, int] = dict.fromkeys(("roc_auc", "pr_auc", "log_loss", "brier"), 0)
    for seed in range(100):
        for measure in measures(layout, counted(layout, drawn(n, seed=seed))):
            if measure.name in held:
                assert measure.interval is not None
                held[measure.name] += measure.interval[0] <= wide[measure.name] <= measure.interval[1]

    assert min(held.values()) >= 90, held


def test_all_qualities_of_several_classes_are_measured() -> None:
    found = measures_of(drawn(500), drawn(500)[0])

    assert [m.name for m in found] == [
        "accuracy",
        "precision",
        "recall",
        "f1",
        "roc_auc",
        "pr_auc",
        "log_loss",
        "brier",
        "calibration_error",
    ]
    assert {m.name for m in found if m.is_loss} == {"log_loss", "brier", "calibration_error"}
    assert all(m.error is not None for m in found if m.name in {"roc_auc", "pr_auc", "log_loss", "brier"})


def test_beyond_twenty_classes_there_are_no_areas() -> None:
    rows = drawn(500, classes=21)

    found = {m.name for m in measures_of(rows, rows[0])}

    assert found.isdisjoint({"roc_auc", "pr_auc"})
    assert found >= {"log_loss", "brier", "calibration_error"}


def test_a_model_without_probabilities_has_none_of_these() -> None:
    signature = Signature(task=Task.CLASSIFICATION, features=(), classes=NAMES)
    layout = build_layout("m", signature, [], np.ones(50))

    counts = count_labels(layout, [1.0] * 4, list("abcd"), list("abca"), [0.0] * 4, None)

    assert not has_probabilities(layout)
    assert [m.name for m in measures(layout, counts)] == ["accuracy", "precision", "recall", "f1"]


def test_a_class_without_labels_is_left_out_of_the_mean() -> None:
    rows = drawn(500)
    layout = layout_of(rows[0])
    kept = [place for place, name in enumerate(rows[1]) if name != "03"]
    some = counted(layout, (rows[0][kept], [rows[1][place] for place in kept]))
    one_hot = np.array([rows[1][place] for place in kept])[:, None] == np.array(layout.classes[:3])

    found = macro_roc_auc(layout, some)

    assert found is not None
    assert abs(found.value - quality.roc_auc_score(one_hot, rows[0][kept][:, :3], average="macro")) <= found.bound
    assert macro_roc_auc(layout, counted(layout, (rows[0][:0], []))) is None
    assert mean_brier(counted(layout, (rows[0][:0], [])).losses) is None


def test_concept_drift_is_found_in_the_classes_that_changed_places() -> None:
    layout = layout_of(drawn(5000, seed=5)[0])
    reference = counted(layout, drawn(5000, seed=5))

    changed = concept_changes(layout, reference, counted(layout, drawn(1000, moved=0.4)))

    by_p = sorted(changed, key=lambda name: changed[name].p_value)
    assert set(by_p[:2]) == {"00", "01"}
    assert changed[by_p[0]].p_value < 1e-8
    assert changed["03"].p_value > 1e-4


def test_without_concept_drift_p_values_are_not_too_small() -> None:
    layout = layout_of(drawn(5000, seed=5)[0])
    reference = counted(layout, drawn(5000, seed=5))
    least = [
        min(found.p_value for found in concept_changes(layout, reference, counted(layout, drawn(500, seed=seed))).values()) * 4
        for seed in range(200)
    ]

    assert np.mean(np.array(least) < 0.05) <= 0.09


def test_beyond_twenty_classes_concept_drift_is_that_of_the_largest_probability() -> None:
    layout = layout_of(drawn(5000, classes=21, seed=5)[0])
    reference = counted(layout, drawn(5000, classes=21, seed=5))

    rows = drawn(1000, classes=21)
    shifted = [layout.classes[(layout.classes.index(name) + (place % 3 == 0)) % 21] for place, name in enumerate(rows[1])]

    same, changed = (concept_changes(layout, reference, counted(layout, (rows[0], actual))) for actual in (rows[1], shifted))

    assert set(same) == set(changed) == {""}
    assert same[""].p_value > 1e-3
    assert changed[""].p_value < 1e-4
    assert sides(layout, reference) == {}


def measures_of(rows: _Rows, reference: Floats) -> Sequence[Measure]:
    layout = layout_of(reference)
    return measures(layout, counted(layout, rows))
