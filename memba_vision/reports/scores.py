"""The runs of one suite, ordered for tables and figures."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from memba_vision.apis.results import Result
from memba_vision.datasets.benchmarks import Benchmark, benchmarks_of
from memba_vision.errors import UserError
from memba_vision.reports.collect import Run
from memba_vision.reports.statistics import Mean, Scores, mean_over_tasks
from memba_vision.zoo.methods import Published, all_methods, method_of

#: What a report compares with where nothing is asked for: the first of these that was measured.
BASELINES = ('lora', 'lora_in_proj', 'linear_probing')


@dataclass(frozen=True)
class SuiteScores:
    """What was measured on a suite.

    Attributes:
        suite: its tasks.
        runs: all runs of it, also those without a result.
        seeds: those that any run of the suite has.
        methods: in the order of the table of methods, then by name.
        tasks: those that any run is of, in the order of the suite.
    """

    suite: Benchmark
    runs: tuple[Run, ...]
    seeds: tuple[int | None, ...]
    methods: tuple[str, ...]
    tasks: tuple[str, ...]

    def results(self, method: str) -> list[Result]:
        """The results of one method."""
        return [run.result for run in self.runs if run.method == method and run.result]

    def scores(self, method: str) -> Scores:
        """Top-1 of one method by task and seed."""
        table = defaultdict(dict)
        for run in self.runs:
            if run.method == method and run.result:
                table[run.task][run.seed] = run.result.top1
        return table

    def mean(self, method: str, tasks: Sequence[str]) -> Mean | None:
        """Mean top-1 of one method; None where nothing was measured."""
        return mean_over_tasks(self.scores(method), tasks, self.seeds)

    def baseline(self, wanted: str | None) -> str:
        """The method that others are compared with; without a wish, a usual one."""
        measured = [method for method in self.methods if self.results(method)]
        names = {_preset(method): method for method in measured}
        usual = [names[name] for name in BASELINES if name in names]
        return names.get(_preset(wanted or ''), [*usual, *measured][0])


def scores_by_suite(runs: Sequence[Run]) -> list[SuiteScores]:
    """The runs of each suite."""
    suites = benchmarks_of(run.task for run in runs)
    return [_of_suite(suite, [run for run in runs if run.task in suite.tasks]) for suite in suites]


def check_baseline(runs: Sequence[Run], name: str | None) -> None:
    """Raise a UserError where nothing was measured with the method ``name``."""
    measured = sorted({run.method for run in runs if run.result})
    if name is not None and _preset(name) not in map(_preset, measured):
        raise UserError(f'--baseline {name}: no such method here; there are {", ".join(measured)}')


def published(method: str, suite: Benchmark) -> Published | None:
    """Return the published results of a method with Vim-S on a suite."""
    known = method_of(_preset(method)) if suite.published else None
    return known.published.get('vim_small') if known else None


def mean_cost(
    results: Sequence[Result], cost: Callable[[Result], float | None]
) -> tuple[float, int] | None:
    """The mean of what runs cost, and of how many of them that is known; None: of none."""
    known = [value for result in results if (value := cost(result)) is not None]
    return (mean(known), len(known)) if known else None


def _of_suite(suite: Benchmark, runs: list[Run]) -> SuiteScores:
    order = [method.preset for method in all_methods()]
    seeds = sorted({run.seed for run in runs}, key=lambda seed: (seed is None, seed))
    present = {run.task for run in runs}

    def place(method: str) -> tuple[int, str]:
        preset = _preset(method)
        return (order.index(preset) if preset in order else len(order), method)

    return SuiteScores(
        suite=suite,
        runs=tuple(runs),
        seeds=tuple(seeds),
        methods=tuple(sorted({run.method for run in runs}, key=place)),
        tasks=tuple(task for task in suite.tasks if task in present),
    )


def _preset(method: str) -> str:
    """A config's own name of its method may have hyphens."""
    return method.replace('-', '_')
