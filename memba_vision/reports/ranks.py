"""Agreement of two orders, by Spearman's rank correlation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from memba_vision.reports.statistics import CONFIDENCE

RESAMPLES = 10_000
#: Two values agree or not, whatever they are.
FEWEST = 3


@dataclass(frozen=True)
class RankCorrelation:
    """Rank correlation of two lists of values.

    Attributes:
        count: length of the lists.
        rho: Spearman's rank correlation, from -1 to 1.
        low, high: ends of its bootstrap interval.
    """

    count: int
    rho: float
    low: float
    high: float


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> RankCorrelation | None:
    """Return Spearman's rank correlation of two lists of the same length.

    The interval is the middle 95 % of 10,000 correlations of pairs that are drawn with replacement;
    those draws that are all alike in one of the lists are left out.

    Returns:
        The correlation; None of fewer than three pairs, or where a list is all alike.
    """
    values = np.array([first, second], dtype=float)
    count = values.shape[1]
    if count < FEWEST or not np.all(np.ptp(values, axis=1)):
        return None
    drawn = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    resampled = spearman(values[0][drawn], values[1][drawn])
    low, high = np.nanquantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return RankCorrelation(count, float(spearman(*values)), float(low), float(high))


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation (...,) of values (..., pairs); NaN if one is all alike."""
    ranks = [rankdata(values, axis=-1) for values in (first, second)]
    ranks = [one - one.mean(axis=-1, keepdims=True) for one in ranks]
    variances = [np.square(one).sum(axis=-1) for one in ranks]
    with np.errstate(invalid='ignore'):
        return (ranks[0] * ranks[1]).sum(axis=-1) / np.sqrt(variances[0] * variances[1])
