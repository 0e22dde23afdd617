"""Means against the published table, and paired bootstrap intervals."""

import numpy as np
import pytest
from made_runs import with_group_means
from scipy.stats import binomtest

from memba_vision.datasets.tasks import VTAB1K_TASKS
from memba_vision.reports.statistics import (
    mean_over_tasks,
    paired_difference,
    sign_test,
    wilson_interval,
)
from memba_vision.zoo.methods import all_methods

PUBLISHED = {m.preset: m.published['vim_small'] for m in all_methods() if m.published}
#: Printed with a mean that does not follow from its groups; the table of methods says so.
ODD = 'full_fine_tuning'
ROUNDING = 0.0051


def of_one_seed(accuracies: dict[str, float]) -> dict:
    return {task: {0: accuracy} for task, accuracy in accuracies.items()}


@pytest.mark.parametrize('preset', [preset for preset in PUBLISHED if preset != ODD])
def test_printed_group_means_give_the_printed_average(preset):
    row = PUBLISHED[preset]
    accuracies = with_group_means(row.natural, row.specialized, row.structured)
    scores = of_one_seed(accuracies)
    for group, printed in [('Natural', row.natural), ('Structured', row.structured)]:
        tasks = [name for name, task in VTAB1K_TASKS.items() if task.group == group]
        assert mean_over_tasks(scores, tasks, [0]).value == pytest.approx(printed)
    average = mean_over_tasks(scores, list(VTAB1K_TASKS), [0])
    # The group means are rounded too, so that two roundings add up.
    assert average.value == pytest.approx(row.average, abs=2 * ROUNDING)
    of_groups = (row.natural + row.specialized + row.structured) / 3
    assert of_groups != pytest.approx(row.average, abs=2 * ROUNDING)


def test_one_row_is_printed_with_another_average():
    row = PUBLISHED[ODD]
    accuracies = with_group_means(row.natural, row.specialized, row.structured)
    average = mean_over_tasks(of_one_seed(accuracies), list(VTAB1K_TASKS), [0])
    assert (row.average, round(average.value, 2)) == (47.08, 50.82)


def test_deviation_is_of_the_means_from_seed_to_seed():
    scores = {'a': {0: 80.0, 1: 84.0, 2: 85.0}, 'b': {0: 50.0, 1: 46.0, 2: 45.0}}
    mean = mean_over_tasks(scores, ['a', 'b'], [0, 1, 2])
    assert (mean.value, mean.deviation, mean.remark()) == (65.0, 0.0, '')
    alone = mean_over_tasks(scores, ['a'], [0, 1, 2])
    assert alone.value == 83
    assert alone.deviation == pytest.approx(np.std([80, 84, 85], ddof=1))


def test_one_seed_has_no_deviation():
    mean = mean_over_tasks({'a': {7: 80.0}}, ['a'], [7])
    assert (mean.value, mean.deviation, mean.complete) == (80.0, None, True)


def test_what_is_missing_is_said():
    scores = {'a': {0: 80.0, 1: 82.0}, 'b': {0: 40.0}}
    assert mean_over_tasks(scores, ['a', 'b'], [0, 1]).remark() == '3 of 4 runs'
    assert mean_over_tasks(scores, ['b'], [0, 1]).remark() == '1 of 2 seeds'
    assert mean_over_tasks(scores, ['a', 'b', 'c'], [0, 1]).remark() == '2 of 3 tasks'
    assert mean_over_tasks(scores, ['c'], [0, 1]) is None


def test_a_missing_run_does_not_tilt_the_mean():
    """Each task weighs the same, and seeds without all tasks make no deviation."""
    scores = {'a': {0: 80.0, 1: 82.0, 2: 84.0}, 'b': {0: 40.0}}
    mean = mean_over_tasks(scores, ['a', 'b'], [0, 1, 2])
    assert mean.value == (82 + 40) / 2
    assert mean.deviation is None


def test_difference_is_paired():
    noise = np.random.default_rng(1).normal(0, 20, (6, 3))
    baseline = {t: dict(enumerate(row)) for t, row in enumerate(noise)}
    method = {t: dict(enumerate(row + 1 + 0.1 * t)) for t, row in enumerate(noise)}
    difference = paired_difference(method, baseline, range(6))
    assert difference.value == pytest.approx(1.25)
    assert 1.0 <= difference.low < 1.25 < difference.high <= 1.5
    assert difference.pairs == 18
    assert paired_difference(method, baseline, range(6)) == difference, 'not repeatable'


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        drawn = rng.normal(2, 1, (19, 1)) + rng.normal(0, 0.5, (19, 3))
        method = {t: dict(enumerate(row)) for t, row in enumerate(drawn)}
        zero = {t: dict.fromkeys(range(3), 0.0) for t in range(19)}
        difference = paired_difference(method, zero, range(19))
        hits += difference.low <= 2 <= difference.high
    assert 85 <= hits <= 100


def test_one_seed_gives_an_interval_over_tasks_alone():
    method, baseline = {'a': {0: 3.0}, 'b': {0: 1.0}}, {'a': {0: 1.0}, 'b': {0: 1.0}}
    both = paired_difference(method, baseline, ['a', 'b'])
    assert (both.value, both.low, both.high) == (1.0, 0.0, 2.0)
    one = paired_difference(method, baseline, ['a'])
    assert (one.value, one.low, one.high) == (2.0, None, None)


def test_runs_without_a_partner_do_not_count():
    method, baseline = {'a': {0: 3.0, 1: 90.0}, 'c': {0: 9.0}}, {'a': {0: 1.0}, 'b': {0: 1.0}}
    difference = paired_difference(method, baseline, ['a', 'b', 'c'])
    assert (difference.value, difference.pairs) == (2.0, 1)
    assert paired_difference(method, baseline, ['b']) is None


@pytest.mark.parametrize(('right', 'total'), [(0, 1), (1, 1), (0, 20), (44, 48), (48, 48)])
def test_wilson_interval(right, total):
    expected = binomtest(right, total).proportion_ci(method='wilson')
    assert wilson_interval(right, total) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(('first', 'second'), [(0, 0), (3, 0), (5, 5), (12, 3)])
def test_sign_test(first, second):
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert sign_test(first, second) == pytest.approx(expected)
