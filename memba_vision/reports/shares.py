"""Intervals and tests of shares, such as the accuracy on few photos."""

from memba_vision.reports.statistics import CONFIDENCE


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson (1927), which holds for few and for all right.

    Args:
        right: number of successes.
        total: number of trials, 1 or more.
    """
    from scipy.stats import binomtest  # takes half a second to import

    interval = binomtest(right, total).proportion_ci(CONFIDENCE, method='wilson')
    return interval.low, interval.high


def sign_test(first: int, second: int) -> float:
    """Return the two-sided p of a sign test (McNemar's, exact) on cases where two methods differ.

    Args:
        first: cases that the first method alone had right.
        second: cases that the second one alone had right.
    """
    from scipy.stats import binomtest

    return float(binomtest(first, first + second).pvalue) if first + second else 1.0
