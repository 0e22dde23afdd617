"""Table of all methods: their parameters on a given backbone, and their results."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean

from mmengine.config import Config

from memba_vision.datasets.benchmarks import BENCHMARKS, Benchmark, benchmark_of
from memba_vision.errors import UserError
from memba_vision.reports.collect import Run, find_runs, one_of_each
from memba_vision.reports.step0 import Step0
from memba_vision.runs.backbone import backbone_of
from memba_vision.runs.presets import read_preset
from memba_vision.zoo.methods import VIT, Method, all_methods, architecture_title
from memba_vision.zoo.model_size import Size, build_without_weights, measure_size

COLUMNS = ('method', 'preset', 'adapters', 'trained parameters', 'share (%)')
MEASURED = 'measured top-1 (%)'
STEP0_COLUMNS = ('cosine at step 0', 'reset per block (%)')
FIRST_NUMBER = 3


def method_table(
    config: Config, runs: Sequence[Run] = (), step0: Step0 | None = None
) -> list[tuple[str, ...]]:
    """Return a header and a row per method.

    Args:
        config: config with the backbone, its family's settings and the suite of tasks.
        runs: runs whose accuracies are shown, from :func:`measured_runs`.
        step0: adds the effect of each method on the features before any training.
    """
    module = build_without_weights(config)
    arch = backbone_of(config).arch
    overrides = config.get('adapter_settings', {})
    measured = measured_accuracies(config, runs)
    known = *published_columns(arch), *vit_columns()
    rows = [(*COLUMNS, *known, MEASURED, *(STEP0_COLUMNS if step0 else ()))]
    for method in all_methods():
        preset = read_preset(method.preset, overrides)
        try:
            size = measure_size(module, preset.adapters)
        except UserError:  # the backbone has no place for it
            size = None
        row = _row(method, size, arch, measured)
        if step0:
            # A preset with a module of its own would be another backbone.
            is_shown = size is not None and 'module' not in preset
            row += step0.describe(preset.adapters) if is_shown else ('', '')
        rows.append(row)
    return rows


def published_columns(arch: str) -> tuple[str, ...]:
    """Return the columns of published results; none where there are none of an architecture."""
    if not any(arch in method.published for method in all_methods()):
        return ()
    return f'published for {architecture_title(arch)} (K)', 'published top-1 (%)'


def vit_columns() -> tuple[str, ...]:
    """Return the column of what is published for a transformer; none where nothing is."""
    known = any(method.published_on_vit is not None for method in all_methods())
    return (f'published for {VIT} (%)',) if known else ()


def vit_figure(method: Method) -> str:
    """Return what is published for a method on the transformer, where anything is."""
    return '' if method.published_on_vit is None else f'{method.published_on_vit:.2f}'


def method_notes() -> str:
    """Return notes on the table, a line of Markdown each."""
    return ''.join(f'* {method.name}: {method.note}.\n' for method in all_methods() if method.note)


def _row(method: Method, size: Size | None, arch: str, measured: dict[str, str]) -> tuple[str, ...]:
    figures = method.published.get(arch)
    known = (f'{figures.thousands:,}', f'{figures.average:.2f}') if figures else ('', '')
    return (
        method.name,
        method.preset,
        *_cells(size),
        *(known if published_columns(arch) else ()),
        *([vit_figure(method)] if vit_columns() else ()),
        measured.get(method.preset, ''),
    )


def _cells(size: Size | None) -> tuple[str, str, str]:
    if size is None:
        return 'does not fit this backbone', '', ''
    return ', '.join(size.adapters) or '-', f'{size.trained:,}', f'{size.share:.2f}'


def measured_runs(config: Config, folder: str | Path) -> tuple[list[Run], list[str]]:
    """Return the finished runs on the config's suite with its architecture, one of each identity.

    Returns:
        The runs, and remarks as those of :func:`~memba_vision.reports.collect.one_of_each`.

    Raises:
        UserError: there is no such folder, or a record cannot be read.
    """
    suite, arch = _suite(config).tasks, backbone_of(config).arch
    return one_of_each(
        [
            run
            for run in find_runs(folder)
            if run.task in suite
            and run.backbone.arch == arch
            and run.result
            and run.result.top1 is not None
        ]
    )


def _suite(config: Config) -> Benchmark:
    return benchmark_of(config.get('task')) or BENCHMARKS['vtab1k']


def measured_accuracies(config: Config, runs: Iterable[Run]) -> dict[str, str]:
    """Return the mean top-1 over the tasks of the config's suite by preset, with their number.

    A task's value is the mean over its seeds. Over several base weights of the config's
    architecture each mean names its own.

    Args:
        config: see :func:`method_table`.
        runs: from :func:`measured_runs`.
    """
    tasks, arch = len(_suite(config).tasks), backbone_of(config).arch
    cells: dict[str, list[str]] = defaultdict(list)
    for (preset, name), values in _by_preset(runs):
        of = f'{len(values)} of {tasks} tasks' + (f', {name}' if name != arch else '')
        cells[preset].append(f'{mean(values):.2f} ({of})')
    return {preset: '; '.join(found) for preset, found in cells.items()}


def _by_preset(runs: Iterable[Run]) -> Iterable[tuple[tuple[str, str], list[float]]]:
    """Yield each preset on each backbone with the means of its tasks."""
    seeds = defaultdict(lambda: defaultdict(list))
    for run in runs:
        seeds[run.method, run.backbone_name][run.task].append(run.result.value)
    for key, tasks in seeds.items():
        yield key, [mean(values) for values in tasks.values()]
