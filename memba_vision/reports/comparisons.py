"""Comparison of all methods of a suite with one of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from memba_vision.reports.differences import Difference, holm
from memba_vision.reports.scores import SuiteScores


@dataclass(frozen=True)
class Comparison:
    """Advantage of a method over a baseline.

    Attributes:
        method: the method.
        by_task, by_group: by the names of what was measured; None if no run has a partner.
        average: over all tasks that were measured.
        holm: the p value of the average, adjusted for the number of methods that are compared.
    """

    method: str
    by_task: dict[str, Difference | None]
    by_group: dict[str, Difference | None]
    average: Difference
    holm: float | None


def compare(scores: SuiteScores, baseline: str) -> list[Comparison]:
    """Compare each method that has runs with a partner; the baseline itself is left out."""
    averages = {
        method: found
        for method in scores.methods
        if method != baseline and (found := scores.difference(method, baseline, scores.tasks))
    }
    adjusted = holm([average.p for average in averages.values()])
    return [
        Comparison(
            method,
            {task: scores.difference(method, baseline, [task]) for task in scores.tasks},
            {
                group: scores.difference(method, baseline, tasks)
                for group, tasks in scores.groups.items()
            },
            average,
            p,
        )
        for (method, average), p in zip(averages.items(), adjusted, strict=True)
    ]


def unpaired_in_words(difference: Difference, tasks: Sequence[str]) -> str:
    """Name the pairs that are missing of ``tasks``; those that lack the same seeds go together."""
    seeds = defaultdict(list)
    for task, seed in difference.unpaired:
        seeds[task].append(seed)
    same = defaultdict(list)
    for task, missing in seeds.items():
        same[tuple(missing)].append(task)
    parts = []
    for missing, names in same.items():
        where = 'every task' if len(names) == len(tasks) > 1 else ', '.join(names)
        parts.append(f'{where} with {_seeds(missing)}')
    return '; '.join(parts)


def _seeds(seeds: tuple[int | None, ...]) -> str:
    unit = 'seed' if len(seeds) == 1 else 'seeds'
    return f'{unit} {", ".join("unknown" if seed is None else str(seed) for seed in seeds)}'
