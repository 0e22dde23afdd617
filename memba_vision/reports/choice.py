"""Choice of each method's settings, by the runs of a grid on validation data."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from textwrap import wrap
from typing import Any

from memba_vision.datasets.benchmarks import BENCHMARKS, Benchmark, benchmarks_of
from memba_vision.errors import UserError
from memba_vision.files import encode_surrogates, write_atomically
from memba_vision.registry import MODELS
from memba_vision.reports.collect import Run, collect_runs
from memba_vision.reports.content import describe_run
from memba_vision.reports.run_list import write_run_list
from memba_vision.reports.text_tables import markdown_table
from memba_vision.runs.backbone import RANDOM, Backbone, backbone_labels, shipped_names
from memba_vision.runs.base_models import read_base_model
from memba_vision.runs.chosen_settings import SETTINGS, settings_file_name
from memba_vision.runs.method_names import with_short_keys
from memba_vision.runs.metrics import Metric
from memba_vision.runs.presets import preset_names
from memba_vision.runs.result import Result
from memba_vision.runs.validation import VALIDATION
from memba_vision.weights import MissingWeights

AS_IT_IS = 'as it is'
DIGITS = 6  # of a mean behind the point: sums in another order are a tie nevertheless


@dataclass(frozen=True)
class Point:
    """Validation of a method at one point of its grid.

    Attributes:
        settings: values by key; none for the method as it is.
        tasks: means over seeds in percent, by task.
        mean: mean over tasks; None where runs are missing, which would not compare.
    """

    settings: dict[str, Any]
    tasks: dict[str, float]
    mean: float | None

    def describe(self) -> str:
        """Return the settings in one line."""
        pairs = with_short_keys(self.settings).items()
        return ' '.join(f'{key}={value}' for key, value in pairs) or AS_IT_IS


@dataclass(frozen=True)
class Choice:
    """Validation of all methods on a benchmark with one backbone.

    Attributes:
        benchmark: the benchmark.
        backbone: the shipped model that was adapted, or the architecture of another one.
        tasks: the tasks that were measured, in its order.
        seeds: the seeds.
        points: by preset the points of its grid, in their order.
        results: the runs, in the order of the grid.
        unfinished: runs without a result.
        remarks: remarks on runs that were left out, and on their weights.
    """

    benchmark: Benchmark
    backbone: str
    tasks: tuple[str, ...]
    seeds: tuple[int | None, ...]
    points: dict[str, tuple[Point, ...]]
    results: tuple[Result, ...]
    unfinished: tuple[Run, ...] = ()
    remarks: tuple[str, ...] = ()

    def best(self) -> dict[str, Point]:
        """Return the point with the best mean by preset, the first of equals.

        A method without a point that has all runs is left out.
        """
        whole = {m: [p for p in points if p.mean is not None] for m, points in self.points.items()}
        return {m: max(points, key=lambda p: p.mean) for m, points in whole.items() if points}

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return the chosen settings by preset."""
        best = sorted(self.best().items())
        return {method: point.settings for method, point in best if method in preset_names()}


def make_choice(results: Sequence[Result]) -> Choice:
    """Compare the points of every method.

    Args:
        results: of a grid, in its order.

    Raises:
        UserError: they are not of validation data, or of several backbones or benchmarks, or of
            weights that are not shipped.
    """
    wanted = Metric(split=VALIDATION)
    others = [result for result in results if result.measure != wanted]
    if others or not results:
        named = [f' ({r.method} on {r.task}: {r.measure.title})' for r in others[:1]]
        raise UserError(
            'settings are chosen by the runs of a sweep with --validate, but '
            f'{len(others)} of {len(results)} runs are not of one{"".join(named)}'
        )
    benchmarks = benchmarks_of(result.task for result in results)
    labels = sorted({*backbone_labels((r.method, r.backbone) for r in results).values()})
    for several in ([b.title for b in benchmarks], labels):
        if len(several) > 1:
            raise UserError(
                f'settings are chosen for one backbone and one benchmark, but the runs have '
                f'{" and ".join(several)}: give each a --work-dir of its own'
            )
    measured = {result.task for result in results}
    tasks = tuple(task for task in benchmarks[0].tasks if task in measured)
    seeds = tuple(dict.fromkeys(result.seed for result in results))
    points = _points(results, tasks, seeds)
    backbone, remarks = _name_of([result.backbone for result in results], benchmarks[0])
    common = benchmarks[0], backbone, tasks, seeds, points, tuple(results)
    return Choice(*common, remarks=remarks)


def _name_of(backbones: Sequence[Backbone], benchmark: Benchmark) -> tuple[str, tuple[str, ...]]:
    """Return the shipped model of some runs, or an architecture of no shipped one, and remarks.

    The weights that were adapted tell which model of the architecture it is; runs from random
    weights alone, and those whose weights are unknown, are those of the benchmark's model. Where
    the weights of the only model are not here, a remark says that they were not compared.

    Raises:
        UserError: the weights are those of no shipped model.
    """
    arch = backbones[0].arch or backbones[0].family
    names = shipped_names(arch)
    bases = {backbone.base for backbone in backbones} - {None, RANDOM}
    if not names:
        return arch.replace('_', '-'), ()
    if not bases:
        return benchmark.backbone if benchmark.backbone in names else names[0], ()
    try:
        own = next((name for name in names if shipped_fingerprint(name) in bases), None)
    except MissingWeights:
        if len(names) > 1:
            raise
        return names[0], (f'taken for runs with {names[0]}, whose weights are not here to compare',)
    if own:
        return own, ()
    raise UserError(
        f'the runs adapted weights that are not those of {" or ".join(names)}: what they choose '
        'would be for a model that is not here'
    )


def shipped_fingerprint(name: str) -> str:
    """Return the fingerprint of the weights of a shipped model, which are read."""
    module = read_base_model(name).model.backbone.module
    return MODELS.build(dict(type='PEFTModel', adapters=[], module=module)).base_fingerprint


def _points(
    results: Sequence[Result], tasks: Sequence[str], seeds: Sequence[int | None]
) -> dict[str, tuple[Point, ...]]:
    runs: dict[str, dict[str, list[Result]]] = {}
    for result in results:
        key = json.dumps(result.settings)
        runs.setdefault(result.untried_method, {}).setdefault(key, []).append(result)
    return {
        method: tuple(_point(own, tasks, seeds) for own in points.values())
        for method, points in runs.items()
    }


def _point(own: list[Result], tasks: Sequence[str], seeds: Sequence[int | None]) -> Point:
    of_task = {task: [r.value for r in own if r.task == task] for task in tasks}
    means = {task: mean(values) for task, values in of_task.items() if values}
    is_whole = {(r.task, r.seed) for r in own} == {(t, s) for t in tasks for s in seeds}
    return Point(own[0].settings, means, round(mean(means.values()), DIGITS) if is_whole else None)


def describe_choice(choice: Choice) -> str:
    """Return the table of all points, and a line for what is missing in it."""
    lines = [*choice.remarks, *(f'not finished: {describe_run(r)}' for r in choice.unfinished)]
    undecided = sorted(choice.points.keys() - choice.best().keys())
    if undecided:
        lines.append(f'no settings for {", ".join(undecided)}: no point has all runs')
    return choice_table(choice) + ''.join(f'{line}\n' for line in lines)


def choice_table(choice: Choice) -> str:
    """Return all points in Markdown, those that are chosen in bold."""
    rows = [('method', 'settings', *choice.tasks, 'mean')]
    best = choice.best()
    for method, points in choice.points.items():
        for point in points:
            is_best = point is best.get(method)
            cells = [f'{point.tasks[t]:.1f}' if t in point.tasks else '' for t in choice.tasks]
            total = 'runs are missing' if point.mean is None else f'{point.mean:.2f}'
            rows.append(
                (
                    method,
                    f'**{point.describe()}**' if is_best else point.describe(),
                    *cells,
                    f'**{total}**' if is_best else total,
                )
            )
    return markdown_table(rows, numbers_from=2)


def settings_text(choice: Choice) -> str:
    """Return the file of the chosen settings, which runs on the benchmark read."""
    best = choice.best()
    about = (
        f'Settings of each method on {choice.benchmark.title} with {choice.backbone}: of those '
        f'that were tried the best mean of top-1 on {VALIDATION}, over {len(choice.tasks)} tasks '
        f'and {len(choice.seeds)} seed(s). Written by tools/report.py --choose.'
    )
    lines = [*wrap(about, 98, initial_indent='# ', subsequent_indent='# '), 'method_settings = {']
    for method, settings in choice.settings().items():
        lines += [f'    # {best[method].mean:.2f} %', f'    {method!r}: {settings!r},']
    return '\n'.join([*lines, '}']) + '\n'


def write_choice(choice: Choice, out: str | Path) -> str:
    """Write the chosen settings, and the runs that decided.

    Args:
        choice: the choice.
        out: folder for the files, or a file in it.

    Returns:
        A line that says what was written.

    Raises:
        UserError: runs are still to come.
    """
    to_come = [run for run in choice.unfinished if run.state != 'failed']
    if to_come:
        raise UserError(
            f'{len(to_come)} runs are not finished, so nothing is chosen: go on with the sweep'
        )
    out = Path(out).parent if Path(out).is_file() else Path(out)
    name = settings_file_name(choice.benchmark, choice.backbone)
    listed = f'{Path(name).stem}_validation.csv'
    write_atomically(out / name, encode_surrogates(settings_text(choice)))
    write_atomically(out / listed, encode_surrogates(write_run_list(choice.results)))
    if choice.benchmark.name in BENCHMARKS:
        use = f'which runs on {choice.benchmark.title} follow once it is in {SETTINGS}'
    else:
        use = (
            'which no run follows by itself: on each of these tasks give a method its settings '
            'with --cfg-options KEY=VALUE'
        )
    return f'written to {out}: {name}, {use}, and {listed}\n'


def read_choice(runs: str | Path) -> Choice:
    """Read the runs of a grid, and compare the points of every method.

    Args:
        runs: folder of a sweep with ``--grid`` and ``--validate``, or a list of its runs.

    Raises:
        UserError: see :func:`make_choice`; or the file is no such list.
    """
    found, remarks = collect_runs(runs)
    if Path(runs).is_file():
        found.reverse()  # a list is read from its end, and a grid has an order
    choice = make_choice([run.result for run in found if run.result])
    unfinished = tuple(run for run in found if run.result is None)
    return replace(choice, unfinished=unfinished, remarks=(*choice.remarks, *remarks))
