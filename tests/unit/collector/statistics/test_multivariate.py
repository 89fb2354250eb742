"""The domain classifier and the reconstruction error: quiet without drift, awake to what single features do not show."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from collector.statistics import multivariate
from collector.statistics.encoding import LARGEST, UNSEEN, Encoded, encode
from collector.statistics.multivariate import domain_drift, domain_error, domain_threshold, judge_domain
from collector.statistics.reconstruction import judge_reconstruction, reconstruction_drift, reconstruction_threshold
from storage.records import Feature, FeatureType, Floats, Verdict

ALPHA = 0.01


def sides(reference: Floats, current: Floats) -> Encoded:
    width = reference.shape[1]
    names = tuple(f"f{column}" for column in range(width))
    return Encoded(names=names, categorical=(False,) * width, reference=reference, current=current)


def verdicts(encoded: Encoded, *, min_samples: int = 100) -> tuple[Verdict, Verdict]:
    return (
        judge_domain(domain_drift(encoded), alpha=ALPHA, floor=0.55, min_samples=min_samples).verdict,
        judge_reconstruction(reconstruction_drift(encoded), alpha=ALPHA, floor=0.2, min_samples=min_samples).verdict,
    )


def factors(random: np.random.Generator, rows: int) -> Floats:
    """Eight features that two hidden ones drive."""
    mixing = np.random.default_rng(99).normal(size=(2, 8))
    return np.asarray(random.normal(size=(rows, 2)) @ mixing + 0.5 * random.normal(size=(rows, 8)))


# ---------------------------------------------------------------------------------------------- no drift


def test_without_drift_95_of_100_trials_are_ok_and_the_auc_scatters_as_it_is_said_to() -> None:
    found, z = [], []
    for seed in range(100):
        random = np.random.default_rng(seed)
        encoded = sides(factors(random, 200)[:, :5], factors(random, 120)[:, :5])
        domain, reconstruction = domain_drift(encoded), reconstruction_drift(encoded)
        found.append(
            (
                judge_domain(domain, alpha=ALPHA, floor=0.55, min_samples=100).verdict,
                judge_reconstruction(reconstruction, alpha=ALPHA, floor=0.2, min_samples=100).verdict,
            )
        )
        assert domain.auc is not None
        z.append((domain.auc - 0.5) / domain_error(120, 200))

    assert sum(domain_verdict is Verdict.OK for domain_verdict, _ in found) >= 95
    assert sum(reconstruction_verdict is Verdict.OK for _, reconstruction_verdict in found) >= 95
    assert 0.75 < float(np.std(z)) < 1.25
    assert abs(float(np.mean(z))) < 0.3


# ---------------------------------------------------------------------------------------------- drift


def test_both_find_features_that_come_apart_though_each_stays_as_it_is() -> None:
    random = np.random.default_rng(1)
    reference, other = factors(random, 600), factors(random, 600)
    apart = np.column_stack([random.permutation(column) for column in other.T])

    assert verdicts(sides(reference, apart)) == (Verdict.DRIFT, Verdict.DRIFT)


def test_classifier_finds_and_names_one_pair_that_becomes_correlated() -> None:
    random = np.random.default_rng(2)
    reference, current = random.normal(size=(1500, 8)), random.normal(size=(1500, 8))
    current[:, 5] = 0.8 * current[:, 2] + 0.6 * current[:, 5]

    found = domain_drift(sides(reference, current))

    assert judge_domain(found, alpha=ALPHA, floor=0.55, min_samples=100).verdict is Verdict.DRIFT
    assert {name for name, _ in found.importance[:2]} == {"f2", "f5"}


def test_most_telling_rows_are_the_strange_ones() -> None:
    random = np.random.default_rng(3)
    current = random.normal(size=(400, 3))
    current[40:80] += 4

    found = domain_drift(sides(random.normal(size=(800, 3)), current))

    assert len(found.rows) == multivariate.TELLING_ROWS
    assert set(found.rows) <= set(range(40, 80))


def test_missing_values_alone_tell_sides_apart() -> None:
    random = np.random.default_rng(4)
    current = random.normal(size=(500, 3))
    current[random.random(500) < 0.4, 1] = np.nan

    found = domain_drift(sides(random.normal(size=(500, 3)), current))

    assert found.importance[0][0] == "f1"
    assert found.auc is not None
    assert found.auc > 0.65


def test_auc_and_interval_agree_with_an_independent_computation() -> None:
    random = np.random.default_rng(5)
    low, high = random.normal(0, 1, 150).round(1), random.normal(0.5, 1, 90).round(1)

    auc, variance = multivariate._delong(low, high)

    truth = np.repeat([0, 1], [150, 90])
    wins = (high[:, None] > low) + 0.5 * (high[:, None] == low)
    assert auc == pytest.approx(roc_auc_score(truth, np.concatenate([low, high])))
    assert variance == pytest.approx(wins.mean(axis=1).var(ddof=1) / 90 + wins.mean(axis=0).var(ddof=1) / 150)


def test_reconstruction_errors_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(6)
    reference, current = factors(random, 400), factors(random, 300) * 1.5

    found = reconstruction_drift(sides(reference, current))

    mean, deviation = reference.mean(axis=0), reference.std(axis=0)
    a, b = (reference - mean) / deviation, (current - mean) / deviation
    pca = PCA(n_components=0.65, svd_solver="full").fit(a)
    expected = [np.linalg.norm(side - pca.inverse_transform(pca.transform(side)), axis=1).mean() for side in (a, b)]
    assert found.components == pca.n_components_
    assert [found.error_reference, found.error_current] == pytest.approx(expected, rel=0.02)


# ---------------------------------------------------------------------------------------------- judging


def test_threshold_is_the_floor_for_many_rows_and_chance_for_few() -> None:
    assert domain_threshold(5000, 5000, 0.001, 0.55) == 0.55
    assert 0.55 < domain_threshold(200, 200, 0.001, 0.55) < domain_threshold(100, 200, 0.001, 0.55) <= 1
    assert reconstruction_threshold(5000, 5000, 0.001, 0.2) == 0.2
    assert reconstruction_threshold(200, 200, 0.001, 0.2) > 0.3
    assert domain_threshold(0, 100, 0.001, 0.55) == 1
    assert math.isinf(reconstruction_threshold(0, 100, 0.001, 0.2))


def test_significance_without_a_practical_effect_is_ok() -> None:
    found = replace(domain_drift(sides(np.zeros((20, 1)), np.zeros((20, 1)))), n_reference=90_000, n_current=90_000, auc=0.52)

    assert judge_domain(found, alpha=ALPHA, floor=0.55, min_samples=100).verdict is Verdict.OK


def test_too_few_rows_are_insufficient_data_though_they_differ() -> None:
    random = np.random.default_rng(7)

    assert verdicts(sides(random.normal(size=(500, 2)), random.normal(9, 1, size=(40, 2)))) == (Verdict.INSUFFICIENT,) * 2


# ---------------------------------------------------------------------------------------------- odd input


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_a_handful_of_rows_has_no_value(rows: int) -> None:
    encoded = sides(np.random.default_rng(0).normal(size=(300, 3)), np.zeros((rows, 3)))

    assert domain_drift(encoded).auc is None
    assert reconstruction_drift(encoded).change is None
    assert verdicts(encoded) == (Verdict.INSUFFICIENT,) * 2


def test_no_column_has_no_value() -> None:
    assert domain_drift(sides(np.zeros((300, 0)), np.zeros((300, 0)))).auc is None
    assert reconstruction_drift(sides(np.zeros((300, 0)), np.zeros((300, 0)))).change is None


@pytest.mark.parametrize("value", [np.nan, 7.0, LARGEST, -LARGEST])
def test_columns_without_variation_are_no_drift_where_they_were_so_before(value: float) -> None:
    random = np.random.default_rng(8)
    reference, current = (np.column_stack([factors(random, rows), np.full(rows, value)]) for rows in (400, 300))

    assert verdicts(sides(reference, current)) == (Verdict.OK, Verdict.OK)


@pytest.mark.parametrize("value", [np.nan, 7.0, LARGEST])
def test_a_feature_that_vanished_is_found_by_the_classifier(value: float) -> None:
    random = np.random.default_rng(9)
    reference, current = factors(random, 400), factors(random, 300)
    current[:, 0] = value

    domain, _ = verdicts(sides(reference, current))

    assert domain is Verdict.DRIFT


def test_only_constant_columns_are_told_apart_by_nothing() -> None:
    encoded = sides(np.ones((300, 2)), np.ones((200, 2)))

    assert domain_drift(encoded).auc == 0.5
    assert reconstruction_drift(encoded).change is None


def test_same_input_gives_the_same_result() -> None:
    random = np.random.default_rng(10)
    encoded = sides(factors(random, 200), factors(random, 100))

    assert domain_drift(encoded) == domain_drift(encoded)


# ---------------------------------------------------------------------------------------------- encoding


def test_columns_are_encoded_by_the_reference() -> None:
    features = [
        Feature(name="age", type=FeatureType.NUMBER, missing_allowed=True),
        Feature(name="member", type=FeatureType.BOOLEAN, missing_allowed=True),
        Feature(name="plan", type=FeatureType.CATEGORY, missing_allowed=True),
    ]

    found = encode(
        features, [[1.0, None], [True, None], ["b", "b"]], [[math.inf, "x", None], [False, None, True], ["b", "z", None]]
    )

    assert found.names == ("age", "member", "plan")
    np.testing.assert_array_equal(found.reference, [[1, 1, 0], [np.nan, np.nan, 0]])
    np.testing.assert_array_equal(found.current, [[LARGEST, 0, 0], [np.nan, np.nan, UNSEEN], [np.nan, 1, np.nan]])


def test_unseen_categories_are_found() -> None:
    random = np.random.default_rng(11)
    plan = Feature(name="plan", type=FeatureType.CATEGORY, missing_allowed=True)
    other = replace(plan, name="other")
    reference = [random.choice(["a", "b", "c"], 600).tolist() for _ in range(2)]
    current = [random.choice(["a", "b", "new"], 400).tolist(), random.choice(["a", "b", "c"], 400).tolist()]

    found = domain_drift(encode([plan, other], reference, current))

    assert judge_domain(found, alpha=ALPHA, floor=0.55, min_samples=100).verdict is Verdict.DRIFT
    assert found.importance[0][0] == "plan"


def test_a_run_takes_less_than_three_seconds_of_processor_time() -> None:
    random = np.random.default_rng(12)
    encoded = sides(random.normal(size=(2000, 20)), random.normal(size=(2000, 20)))
    began = time.process_time()

    domain_drift(encoded)
    reconstruction_drift(encoded)

    assert time.process_time() - began < 3
