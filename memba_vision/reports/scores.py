"""Runs of one suite, backbone and metric, in the order of tables and figures."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean

from memba_vision.datasets.benchmarks import Benchmark, benchmarks_of
from memba_vision.errors import UserError
from memba_vision.reports.collect import Run
from memba_vision.reports.differences import Difference, paired_difference
from memba_vision.reports.statistics import (
    Mean,
    Scores,
    best_first,
    mean_over_groups,
    mean_over_tasks,
    part_of,
)
from memba_vision.runs.backbone import Backbone
from memba_vision.runs.method_names import spelled_as_preset
from memba_vision.runs.metrics import TEST, Metric
from memba_vision.runs.result import Result
from memba_vision.zoo.methods import Published, all_methods, method_of

#: Baselines of a report for which none is given: the first of these that was measured.
BASELINES = ('lora', 'lora_in_proj', 'linear_probing')


@dataclass(frozen=True)
class SuiteScores:
    """Measurements on a suite with one backbone and one metric.

    Attributes:
        suite: the suite.
        runs: all its runs, with those without a result.
        seeds: seeds of the runs.
        tasks: tasks of the runs, in the order of the suite. These are what a mean is over: a part
            of a suite that was chosen is whole.
        suite_title: title of the suite, with the number of the tasks if they are a part of it.
        title: the same, with backbone and metric if the report has several.
        metric: the metric.
    """

    suite: Benchmark
    runs: tuple[Run, ...]
    seeds: tuple[int | None, ...]
    tasks: tuple[str, ...]
    suite_title: str
    title: str
    metric: Metric

    @property
    def backbone(self) -> Backbone:
        """Backbone of all runs. Some runs may not know its base weights."""
        return self.runs[0].backbone

    @cached_property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Tasks of the runs by group; groups without any are left out."""
        groups: dict[str, tuple[str, ...]] = {}
        for task in self.tasks:
            group = self.suite.tasks[task].group
            groups[group] = (*groups.get(group, ()), task)
        return groups

    @cached_property
    def runs_of(self) -> dict[str, list[Run]]:
        """Runs by method, also of those without a result."""
        runs = defaultdict(list)
        for run in self.runs:
            runs[run.method].append(run)
        return runs

    @cached_property
    def _scores(self) -> dict[str, Scores]:
        return {method: _scores_of(runs) for method, runs in self.runs_of.items()}

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Methods of the runs, the best first, as in all tables and figures."""
        return tuple(best_first(self._scores, self.metric.higher_is_better))

    def results(self, method: str) -> list[Result]:
        """Return the results of one method."""
        return [run.result for run in self.runs_of[method] if run.result]

    def scores(self, method: str) -> Scores:
        """Return the values of one method by task and seed."""
        return self._scores[method]

    def mean(self, method: str, tasks: Sequence[str]) -> Mean | None:
        """Return the mean value of one method; None if nothing was measured."""
        return mean_over_tasks(self.scores(method), tasks, self.seeds)

    def mean_of_groups(self, method: str) -> Mean | None:
        """Return the mean of one method over the groups of the suite; None of nothing."""
        return mean_over_groups(self.scores(method), [*self.groups.values()], self.seeds)

    def difference(self, method: str, baseline: str, tasks: Sequence[str]) -> Difference | None:
        """Return the advantage of a method over a baseline; None if no run has a partner."""
        pair = self.scores(method), self.scores(baseline)
        better_first = pair if self.metric.higher_is_better else pair[::-1]
        return paired_difference(*better_first, tasks, self.seeds)

    def published(self, method: str) -> Published | None:
        """Return the published results of a method, if there are any for suite and backbone."""
        known = method_of(method) if self.compares_with_published else None
        return known.published.get(self.backbone.arch) if known else None

    def published_mean(self, method: str, over: str) -> float | None:
        """Return what is published of a method; None where not all of its tasks were measured.

        Args:
            method: the method.
            over: the name of a group, or 'average'.
        """
        known, groups = self.published(method), self.suite.groups
        tasks = groups.get(over, self.suite.tasks)
        return getattr(known, over.lower()) if known and set(tasks) <= set(self.tasks) else None

    @property
    def compares_with_published(self) -> bool:
        """True if there are published results, for whichever methods."""
        arch = self.backbone.arch
        is_same = self.suite.published and self.metric == Metric()
        return is_same and any(arch in method.published for method in all_methods())

    def baseline(self, wanted: str | None) -> str:
        """Return the method that others are compared with: the wanted one, or else a usual one."""
        measured = [method for method in self.methods if self.results(method)]
        preferred = [spelled_as_preset(wanted or ''), *BASELINES]
        return next((name for name in preferred if name in measured), measured[0])


def scores_by_suite(runs: Sequence[Run]) -> list[SuiteScores]:
    """Return the runs of each suite, those of each backbone and metric apart."""
    several = len({run.backbone_name for run in runs}) > 1
    metrics = {run.result.measure for run in runs if run.result}
    found = []
    for suite in benchmarks_of(run.task for run in runs):
        own = [run for run in runs if run.task in suite.tasks]
        for (backbone, metric), same in _comparable(own).items():
            parts = [backbone] if several else []
            parts += [metric.label] if len(metrics) > 1 or metric.split != TEST else []
            found.append(_of_suite(suite, same, parts, metric))
    return found


def _comparable(runs: Sequence[Run]) -> dict[tuple[str, Metric], list[Run]]:
    """Group runs by backbone and metric.

    One without a result goes with the other runs on its task and split.
    """
    measures: dict[tuple[str, str], list[Metric]] = {}
    for run in runs:
        known = measures.setdefault((run.task, run.split), [])
        if run.result and run.result.measure not in known:
            known.append(run.result.measure)
    usual = {metric.split: metric for known in measures.values() for metric in known[:1]}
    groups: dict[tuple[str, Metric], list[Run]] = {}
    for run in runs:
        known = measures[run.task, run.split] or [usual.get(run.split, Metric(split=run.split))]
        of_run = [run.result.measure] if run.result else known
        for metric in of_run:
            groups.setdefault((run.backbone_name, metric), []).append(run)
    return groups


def check_baseline(runs: Sequence[Run], name: str | None) -> None:
    """Raise a UserError if nothing was measured with the method ``name``."""
    measured = sorted({run.method for run in runs if run.result})
    if name is not None and spelled_as_preset(name) not in measured:
        raise UserError(f'--baseline {name}: no such method here; there are {", ".join(measured)}')


def mean_cost(
    results: Sequence[Result], cost: Callable[[Result], float | None]
) -> tuple[float, int] | None:
    """Return the mean cost of runs, and the number of runs whose cost is known; None for none."""
    known = [value for result in results if (value := cost(result)) is not None]
    return (mean(known), len(known)) if known else None


def _of_suite(
    suite: Benchmark, runs: list[Run], beside: Sequence[str], metric: Metric
) -> SuiteScores:
    seeds = sorted({run.seed for run in runs}, key=lambda seed: (seed is None, seed))
    present = {run.task for run in runs}
    tasks = tuple(task for task in suite.tasks if task in present)
    title = part_of(suite.title, tasks, suite.tasks)
    return SuiteScores(
        suite=suite,
        runs=tuple(runs),
        seeds=tuple(seeds),
        tasks=tasks,
        suite_title=title,
        title=', '.join([title, *beside]),
        metric=metric,
    )


def _scores_of(runs: Iterable[Run]) -> Scores:
    """Return the values of runs by task and seed."""
    table: dict[str, dict[int | None, float]] = defaultdict(dict)
    for run in runs:
        if run.result:
            table[run.task][run.seed] = run.result.value
    return table
