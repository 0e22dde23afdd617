import math

import pytest

from memba_vision.reports.shares import sign_test, wilson_interval


@pytest.mark.parametrize(('right', 'total'), [(0, 1), (1, 1), (0, 20), (44, 48), (48, 48)])
def test_wilson_interval(right, total):
    # Its ends solve |share - p| = z * sqrt(p * (1 - p) / total).
    low, high = wilson_interval(right, total)
    assert low <= right / total <= high
    for end in {low, high} - {0.0, 1.0}:
        deviation = math.sqrt(end * (1 - end) / total)
        assert abs(right / total - end) == pytest.approx(1.959964 * deviation, abs=1e-6)


@pytest.mark.parametrize(('first', 'second', 'p'), [(0, 0, 1), (3, 0, 0.25), (5, 5, 1)])
def test_sign_test(first, second, p):
    assert sign_test(first, second) == pytest.approx(p)
