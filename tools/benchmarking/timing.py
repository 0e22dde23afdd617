"""Paired timing: contestants in turn, ratios within a round, medians over rounds.

Machines get faster and slower while they measure. What one round measures one after the other met
much the same machine, so a ratio is taken within a round, and the median of such ratios stands.
"""

import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

MAX_ROUNDS = 33
MIN_ROUNDS = 3
#: Seconds that one measurement lasts at the least; a shorter call is repeated within it.
SHORTEST = 0.01


@dataclass(frozen=True)
class Timing:
    """Measurements of one contestant.

    Attributes:
        first_call: seconds of its very first call, with what is compiled or loaded in it.
        rounds: seconds of one call, by the number of the round; slow ones skip rounds.
    """

    first_call: float
    rounds: dict[int, float]

    def median(self) -> float:
        """Seconds of a usual call."""
        return statistics.median(self.rounds.values())


@dataclass(frozen=True)
class Spread:
    """The median of some values, their quartiles, and how many there are."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> 'Spread':
        """Summarise one value or more."""
        values = list(values)
        if len(values) == 1:
            return cls(values[0], values[0], values[0], 1)
        low, median, high = statistics.quantiles(values, n=4, method='inclusive')
        return cls(median, low, high, len(values))


def ratio(timing: Timing, reference: Timing) -> Spread:
    """The times of ``timing`` over those of ``reference``, over the rounds that measured both."""
    shared = timing.rounds.keys() & reference.rounds.keys()
    return Spread.of(timing.rounds[number] / reference.rounds[number] for number in sorted(shared))


def measure(
    calls: Mapping[str, Callable[[], object]],
    seconds: float,
    max_rounds: int = MAX_ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[int, float]]:
    """Time contestants against each other, in rounds.

    Each round calls all contestants in turn, in an order of its own. The first round tells how
    many there can be, and in how many of them the slow ones take part: in every second, fourth, …
    so that what a slow one shares with another is not left to chance. All take part in the first,
    and in ``MIN_ROUNDS`` at the least.

    Args:
        calls: the calls to time, by name; each has been called before.
        seconds: time limit of the rounds, shared by the contestants; ``MIN_ROUNDS`` are run even
            if it takes longer.
        max_rounds: the most rounds there can be.
        clock: seconds as they pass; on a device that works on by itself, it waits for that.

    Returns:
        For each contestant the seconds of one call, by the number of the round.
    """
    if not calls:
        return {}
    rounds = {name: {} for name in calls}
    order, generator = list(calls), random.Random(0)
    generator.shuffle(order)
    for name in order:
        rounds[name][0] = seconds_of(calls[name], 1, clock)

    costs = {name: rounds[name][0] for name in calls}
    repeats = {name: math.ceil(SHORTEST / max(cost, 1e-6)) for name, cost in costs.items()}
    at_least = {name: max(cost, SHORTEST) for name, cost in costs.items()}
    count, every = _plan(at_least, seconds, max_rounds)
    for number in range(1, count):
        generator.shuffle(order)
        for name in order:
            if number % every[name] == 0:
                rounds[name][number] = seconds_of(calls[name], repeats[name], clock)
    return rounds


def _plan(
    costs: Mapping[str, float], seconds: float, max_rounds: int
) -> tuple[int, dict[str, int]]:
    """The number of rounds, and for each contestant a power of two: it runs in each n-th round.

    What the fast ones leave of their shares goes to the slower ones. Costs that differ little get
    the same power, or few of their rounds would be shared.
    """
    seconds = max(seconds, SHORTEST)
    count = int(seconds / len(costs) / min(costs.values()))
    count = max(MIN_ROUNDS, min(max_rounds, count))
    rarest = int(math.log2((count - 1) / (MIN_ROUNDS - 1)))
    every, left = {}, seconds
    for number, name in enumerate(sorted(costs, key=costs.get)):
        share = max(left, 0.01 * seconds) / (len(costs) - number)
        power = round(math.log2(costs[name] * count / share))
        every[name] = 2 ** max(0, min(power, rarest))
        left -= costs[name] * count / every[name]
    return count, every


def seconds_of(
    call: Callable[[], object], repeats: int = 1, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of one call, over ``repeats`` of them."""
    started = clock()
    for _ in range(repeats):
        call()
    return (clock() - started) / repeats
