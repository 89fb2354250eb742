"""Evidence for small changes that last: exact bets, how often they are wrong, and how soon they are right."""

from __future__ import annotations

import numpy as np
import pytest

from collector.statistics.dependence import Dependence
from collector.statistics.floors import Floors
from collector.statistics.sequence import CAP, Bets, column_bets, course, practical, starts, strongest, thresholds
from storage.records import Bins, Floats, Ints

NUMBER = Bins(name="x", edges=tuple(np.linspace(-2, 2, 41).tolist()))
CATEGORY = Bins(name="c", categories=("a", "b", "c", "d", "e"), is_categorical=True)
SHARES = np.array([0.5, 0.25, 0.2, 0.02, 0.02, 0.01, 0.0])
ALLOWED = 1 / 720 / 20


def uniform(rows: int = 40_000) -> Ints:
    """A reference with as many rows in every bin."""
    return np.asarray(np.append(np.full(NUMBER.size - 1, rows // (NUMBER.size - 1)), 0), np.int64)


def bets_on(bins: Bins, reference: Ints, floors: Floors | None = None, dependence: Dependence | None = None) -> Bets:
    found = column_bets(bins, reference, floors or Floors(), dependence or Dependence())
    assert found is not None
    return found


def category(rows: int = 20_000) -> Ints:
    return np.asarray(np.rint(SHARES * rows), np.int64)


@pytest.mark.parametrize(
    ("bins", "reference"),
    [(NUMBER, uniform()), (NUMBER, np.append(np.arange(NUMBER.size - 1) ** 3, 50)), (CATEGORY, category())],
)
def test_a_bet_gains_nothing_on_average_while_nothing_changes(bins: Bins, reference: Ints) -> None:
    """Whatever the distribution: the mean likelihood ratio is 1, and a row costs the information."""
    bets = bets_on(bins, reference)
    shares = reference[:-1] / reference[:-1].sum()

    assert shares @ np.exp(bets.gains[:-1]) == pytest.approx(np.ones(len(bets.names)), abs=1e-9)
    assert shares @ bets.gains[:-1] == pytest.approx(-bets.information, rel=1e-6)
    assert not bets.gains[-1].any()


def test_numbers_are_bet_on_for_a_shift_of_two_floors() -> None:
    """A normal column that moves by two floors wins what it loses without: the bet is made for it."""
    edges = np.linspace(-3, 3, 101)
    bins = Bins(name="x", edges=tuple(edges.tolist()))
    random = np.random.default_rng(0)
    counts = [np.bincount(np.searchsorted(edges, random.normal(by, 1, 400_000)), minlength=bins.size) for by in (0.0, 0.2, 0.1)]
    bets = bets_on(bins, counts[0])

    gained = [count @ bets.gains[:, 0] / count.sum() for count in counts]

    assert bets.names == ("higher", "lower")
    assert bets.information[0] == pytest.approx(0.2**2 / 2, rel=0.06)
    assert gained[1] == pytest.approx(-gained[0], rel=0.05)
    assert gained[2] == pytest.approx(0.0, abs=0.0015)


def test_only_frequent_categories_are_bet_on_and_unknown_ones_are_others() -> None:
    assert bets_on(CATEGORY, category()).names == ("more a", "more b", "more c", "more others")
    assert bets_on(CATEGORY, np.array([500, 500, 0, 0, 0, 0, 0])).names == ("more a", "more b")


@pytest.mark.parametrize(
    ("bins", "reference"),
    [
        (NUMBER, np.zeros(NUMBER.size, np.int64)),
        (NUMBER, np.append(np.zeros(NUMBER.size - 1, np.int64), 900)),
        (NUMBER, np.eye(NUMBER.size, dtype=np.int64)[7] * 900),
        (CATEGORY, np.array([900, 0, 0, 0, 0, 0, 5])),
    ],
)
def test_there_is_nothing_to_bet_on_in_a_column_that_is_empty_or_constant(bins: Bins, reference: Ints) -> None:
    assert column_bets(bins, reference, Floors()) is None


def test_a_small_reference_makes_bets_for_larger_changes() -> None:
    small, large = (bets_on(NUMBER, uniform(rows)).information[0] for rows in (420, 42_000))

    assert small == pytest.approx(80 / 420)
    assert small > 5 * large


def test_dependent_rows_gain_less() -> None:
    independent, dependent = bets_on(NUMBER, uniform()), bets_on(NUMBER, uniform(), dependence=Dependence(shift=4.0))

    assert dependent.gains == pytest.approx(independent.gains / 4)
    assert dependent.information == pytest.approx(independent.information / 4)


def plain_course(gains: list[float], cap: float) -> list[float]:
    level, found = 0.0, []
    for gain in gains:
        level = min(max(level + gain, 0.0), cap)
        found.append(level)
    return found


def test_the_course_is_that_of_a_cusum_with_a_cap() -> None:
    gains = np.random.default_rng(1).normal(size=(200, 3))

    found = course(gains, np.array([1.0, 2.0, 9.0]))

    for column, cap in enumerate((1.0, 2.0, 9.0)):
        assert found[:, column] == pytest.approx(plain_course(gains[:, column].tolist(), cap))


def test_a_course_starts_after_its_last_loss_of_everything() -> None:
    assert starts(np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [2.0, 0.0, 2.0], [1.0, 0.0, 2.0]])).tolist() == [2, 4, 1]
    assert starts(np.array([[1.0], [1.0]])).tolist() == [0]


def test_a_threshold_rises_with_the_budget_and_with_what_the_reference_does_not_know() -> None:
    loose, strict = (thresholds(bets_on(NUMBER, uniform()), allowed, 17, 12)[0] for allowed in (20 * ALLOWED, ALLOWED))
    held = [thresholds(bets_on(NUMBER, uniform(rows)), ALLOWED, 17, 12)[0] for rows in (10_000, 10_000_000)]

    assert strict - loose == pytest.approx(np.log(20), rel=0.1)
    assert held[0] > held[1] + 0.3


def test_large_windows_need_half_a_window_of_what_is_bet_on() -> None:
    bets = bets_on(NUMBER, uniform())

    found = thresholds(bets, ALLOWED, 10_000, 12)

    assert found.tolist() == practical(bets, 120_000).tolist()
    assert found == pytest.approx(bets.information * 60_000)


def months_of(bets: Bets, shares: Floats, months: int, random: np.random.Generator, rows: int = 17) -> Floats:
    """The gains of months of steps without change, (steps, bets months)."""
    drawn = random.choice(shares.size, size=(8640 * rows, months), p=shares)
    gained = bets.gains[drawn].reshape(8640, rows, months, -1).sum(axis=1)
    return np.asarray(gained.reshape(8640, -1))


@pytest.mark.parametrize(("bins", "reference"), [(NUMBER, uniform(10_000_000)), (CATEGORY, category(10_000_000))])
def test_a_bet_is_wrong_about_as_often_as_it_is_allowed(bins: Bins, reference: Ints) -> None:
    """Each weight of 1 is allowed twice a month; crossings of 12 months, within four deviations and the reserve."""
    bets, months, random = bets_on(bins, reference), 12, np.random.default_rng(2)
    limit = np.tile(thresholds(bets, 2 / 720, 17, 12), months)

    levels = course(months_of(bets, reference / reference.sum(), months, random), CAP * limit) > limit
    crossings = int(np.count_nonzero(levels[1:] & ~np.roll(levels, 1, axis=0)[1:]))

    # A crossing is followed by others while the level hovers about its threshold; hysteresis counts them once.
    allowed = 2 * months * bets.weights.sum()
    assert 0.4 * allowed < crossings < 4 * allowed


def drawn(shares: Floats, steps: int, rows: int, seed: int) -> Ints:
    return np.random.default_rng(seed).multinomial(rows, shares, size=steps)


def test_a_category_that_grows_is_found_with_its_name_and_since_when() -> None:
    bets, grown = bets_on(CATEGORY, category()), np.array([0.44, 0.22, 0.29, 0.02, 0.02, 0.01, 0.0])
    counts = np.vstack((drawn(SHARES, 100, 20, 3), drawn(grown, 60, 20, 4)))

    (found,) = strongest([(bets, counts)], ALLOWED, 12)

    assert found.value > found.threshold
    assert found.name == "more c"
    assert 95 <= found.since <= 115
    assert (found.n, found.m, found.is_practical) == (3200, 20_000, False)


def test_columns_are_followed_apart_and_steps_without_rows_do_not_matter() -> None:
    number, other = bets_on(NUMBER, uniform()), bets_on(CATEGORY, category())
    moved = uniform() / uniform().sum() * np.append(np.linspace(0.6, 1.4, NUMBER.size - 1), 0)
    counts = drawn(moved / moved.sum(), 80, 20, 5), drawn(SHARES, 80, 20, 6)
    gaps = [np.insert(each, 30, 0, axis=0) for each in counts]

    both = strongest([(number, counts[0]), (other, counts[1])], ALLOWED, 12)
    apart = [strongest([pair], ALLOWED, 12)[0] for pair in ((number, counts[0]), (other, counts[1]))]
    gapped = strongest([(number, gaps[0]), (other, gaps[1])], ALLOWED, 12)

    assert both == apart
    assert both[0].name == "higher"
    assert [each.value for each in gapped] == pytest.approx([each.value for each in both])
    assert both[0].value > both[0].threshold
    assert both[1].value < both[1].threshold
    assert strongest([], ALLOWED, 12) == []


def test_evidence_is_forgotten_within_a_window_or_two_once_a_change_is_over() -> None:
    bets = bets_on(CATEGORY, category())
    grown = np.array([0.3, 0.15, 0.5, 0.02, 0.02, 0.01, 0.0])
    counts = np.vstack((drawn(grown, 200, 20, 7), drawn(SHARES, 24, 20, 8)))

    during, after = strongest([(bets, counts[:200])], ALLOWED, 12)[0], strongest([(bets, counts)], ALLOWED, 12)[0]

    assert during.value == pytest.approx(CAP * during.threshold)
    assert after.value < 0.75 * after.threshold
