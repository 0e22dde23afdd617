"""Paired differences: their intervals, p values and missing pairs."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from memba_vision.reports.differences import holm, paired_difference, student_interval


def table(values: np.ndarray) -> dict:
    """Scores of an array (tasks, seeds)."""
    return {task: dict(enumerate(row)) for task, row in enumerate(values.tolist())}


def test_difference_is_paired():
    noise = np.random.default_rng(1).normal(50, 20, (6, 3))
    gain = np.arange(6)[:, None] * 0.1 + 1
    difference = paired_difference(table(noise + gain), table(noise), range(6), range(3))
    assert difference.value == pytest.approx(1.25)
    assert 1.0 <= difference.low < 1.25 < difference.high <= 1.5
    assert (difference.pairs, difference.of_pairs, difference.remark()) == (18, 18, '')


def test_interval_and_p_value_are_those_of_a_t_test_over_tasks():
    rng = np.random.default_rng(2)
    ours, theirs = rng.normal(51, 3, (9, 5)), rng.normal(50, 3, (9, 5))
    found = paired_difference(table(ours), table(theirs), range(9), range(5))
    test = stats.ttest_1samp((ours - theirs).mean(axis=1), 0)
    interval = test.confidence_interval(0.95)
    assert (found.low, found.high, found.p) == pytest.approx((*interval, test.pvalue))
    one = paired_difference(table(ours), table(theirs), [4], range(5))
    test = stats.ttest_rel(ours[4], theirs[4])
    interval = test.confidence_interval(0.95)
    assert (one.low, one.high, one.p) == pytest.approx((*interval, test.pvalue))


@pytest.mark.parametrize(('tasks', 'seeds'), list(product((3, 9, 19), (3, 5))))
def test_intervals_cover_the_truth_as_often_as_they_say(tasks, seeds):
    """With effects of tasks and noise of seeds, in points, as two methods differ by."""
    rng = np.random.default_rng(tasks * 10 + seeds)
    for of_tasks, of_seeds in product((1.0, 2.5, 5.0), (0.5, 1.0)):
        effects = 2 + of_tasks * rng.normal(size=(8000, tasks))
        noise = of_seeds * np.sqrt(2) * rng.normal(size=(8000, tasks, seeds))
        low, high, p = student_interval(effects + noise.mean(axis=-1))
        assert 0.93 <= np.mean((low <= 2) & (high >= 2)) <= 0.98
        assert np.array_equal(p < 0.05, (low > 0) | (high < 0))
        # A single task whose effect is given, over its seeds.
        low, high, _ = student_interval(effects[:, :1] + noise[:, 0])
        covered = (low <= effects[:, 0]) & (effects[:, 0] <= high)
        assert 0.93 <= covered.mean() <= 0.98


def test_intervals_of_heavy_tailed_effects_do_not_promise_too_much():
    rng = np.random.default_rng(0)
    for tasks in (3, 9, 19):
        low, high, _ = student_interval(rng.laplace(size=(8000, tasks)))
        assert 0.93 <= np.mean((low <= 0) & (high >= 0)) <= 0.98


def test_one_seed_gives_an_interval_over_tasks_alone():
    method, baseline = {'a': {0: 3.0}, 'b': {0: 1.0}}, {'a': {0: 1.0}, 'b': {0: 1.0}}
    both = paired_difference(method, baseline, ['a', 'b'], [0])
    assert (both.value, both.p) == pytest.approx((1.0, 0.5))
    assert (both.low, both.high) == pytest.approx((1 - 12.706, 1 + 12.706), abs=1e-3)
    one = paired_difference(method, baseline, ['a'], [0])
    assert (one.value, one.low, one.high, one.p) == (2.0, None, None, None)


@pytest.mark.parametrize('gain', [0.0, 0.1, 0.1255])
def test_differences_that_are_alike_have_no_interval(gain):
    """Neither does one that stems from rounding, as in a list of runs."""
    baseline = {'a': {0: 90.0878, 1: 89.9624, 2: 30.3}}
    method = {'a': {seed: value + gain for seed, value in baseline['a'].items()}}
    method['a'][1] += 0.0001
    found = paired_difference(method, baseline, ['a'], [0, 1, 2])
    assert found.value == pytest.approx(gain, abs=1e-4)
    assert (found.low, found.high, found.p) == (None, None, None)


def test_pairs_that_are_missing_are_said():
    method, baseline = {'a': {0: 3.0, 1: 90.0}, 'c': {0: 9.0}}, {'a': {0: 1.0}, 'b': {0: 1.0}}
    found = paired_difference(method, baseline, ['a', 'b', 'c'], [0, 1])
    assert (found.value, found.pairs, found.remark()) == (2.0, 1, '1 of 6 pairs')
    assert found.unpaired == (('a', 1), ('b', 0), ('b', 1), ('c', 0), ('c', 1))
    assert paired_difference(method, baseline, ['b'], [0, 1]) is None


def test_holm_adjusts_for_the_number_of_methods():
    assert holm([0.01, None, 0.04, 0.03, 0.005]) == pytest.approx([0.03, None, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
