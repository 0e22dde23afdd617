"""Figures of a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from memba_vision.files import escape_surrogates
from memba_vision.reports.colours import COLOURS, Style, styles
from memba_vision.reports.comparisons import Comparison
from memba_vision.reports.curves import Curve, loss_curve, mean_curve
from memba_vision.reports.labels import Named, place_labels
from memba_vision.reports.scores import SuiteScores
from memba_vision.reports.svg import INK, as_svg, panels, settings
from memba_vision.reports.text_tables import signed
from memba_vision.runs.metrics import Metric
from memba_vision.zoo.methods import architecture_title

FIGURE_NAMES = SIZES, DIFFERENCES, CURVES = 'sizes', 'differences', 'curves'
WIDTH = 9.0  # inches
FEW = 8  # methods, of which curves have bands, and a page shows the curves at once
POINTS = 30  # of a curve of many
BETTER, WORSE = COLOURS[0], COLOURS[5]


@dataclass(frozen=True)
class FigureOfReport:
    """A drawn figure.

    Attributes:
        name: name for ids, of letters.
        title: heading.
        caption: explanation for readers.
        svg: the ``<svg>`` element.
        drawn: the figure itself, for files.
        folded: True if a page shows it on demand.
    """

    name: str
    title: str
    caption: str
    svg: str
    drawn: Figure | None = None
    folded: bool = False


def figures(
    scores: SuiteScores, baseline: str, comparisons: Sequence[Comparison]
) -> list[FigureOfReport]:
    """Draw all figures of a suite for which its runs have data."""
    with settings():
        drawn = [
            draw_sizes(scores),
            draw_differences(scores, baseline, comparisons),
            draw_learning_curves(scores),
        ]
    return [figure for figure in drawn if figure is not None]


def draw_sizes(scores: SuiteScores) -> FigureOfReport:
    """Draw accuracy against trained parameters, a point per method."""
    figure, (axes,) = panels(1, 1, WIDTH, 4.2 + 0.05 * len(scores.methods))
    axes.set_xscale('log')
    axes.margins(x=0.2, y=0.12)
    chosen = styles(scores.methods)
    points = [_draw_method(axes, scores, method, chosen[method]) for method in scores.methods]
    _widen(axes)
    axes.set_xlabel('trained parameters, adapters and head (mean over tasks)')
    name, _, unit = scores.metric.title.partition(' ')
    axes.set_ylabel(f'average {name} on {scores.suite_title} {unit}'.rstrip())
    place_labels(axes, [point for point in points if point])
    title = 'Accuracy against size'
    caption = 'The average over tasks, with the standard deviation over seeds where there is one.'
    averages = {method: scores.mean(method, scores.tasks) for method in scores.methods}
    lacking = [method for method, found in averages.items() if found and not found.complete]
    if lacking:
        caption += f' Hollow, since runs are missing: {", ".join(lacking)}.'
    if any(scores.published_mean(method, 'average') is not None for method in scores.methods):
        caption += f' Crosses: as published for {architecture_title(scores.backbone.arch)}.'
    return _figure(SIZES, title, caption, figure, scores)


def _figure(
    name: str, title: str, caption: str, drawn: Figure, scores: SuiteScores, folded: bool = False
) -> FigureOfReport:
    drawn.draw_without_rendering()
    # It is laid out, and is written several times; 'none' would have each draw it once more.
    drawn.set_layout_engine(None)
    identifier = name + ''.join(filter(str.isalnum, scores.title))
    svg = as_svg(drawn, identifier, title)
    return FigureOfReport(name, title, caption, svg, drawn, folded)


def _draw_method(axes: Axes, scores: SuiteScores, method: str, style: Style) -> Named | None:
    """Draw one method, and return its place, name and colour; None if nothing was measured."""
    average, (colour, marker) = scores.mean(method, scores.tasks), style
    if average is None:
        return None
    size = mean(result.trained_parameters for result in scores.results(method))
    face = colour if average.complete else 'none'
    bar = axes.errorbar(
        size,
        average.value,
        yerr=average.deviation,
        color=colour,
        marker=marker,
        markersize=7,
        markerfacecolor=face,
        capsize=3,
        linestyle='none',
    )
    artists = list(bar.get_children())
    published = scores.published_mean(method, 'average')
    if published is not None:
        thousands = scores.published(method).thousands
        artists += axes.plot(thousands * 1e3, published, 'x', color=colour, markersize=7)
    for number, artist in enumerate(artists):
        artist.set_gid(f'{number}::{escape_surrogates(method)}')
    return size, average.value, method, colour


def _widen(axes: Axes) -> None:
    """Leave room around sizes that are all the same, or nearly."""
    smallest, largest = axes.dataLim.intervalx
    if largest < 2 * smallest:
        axes.set_xlim(smallest / 2, largest * 2)


def draw_differences(
    scores: SuiteScores, baseline: str, comparisons: Sequence[Comparison]
) -> FigureOfReport | None:
    """Draw the advantage of each method over the baseline by task, and the average with its bar.

    None if there is no other method.
    """
    if not comparisons:
        return None
    tasks, count = scores.tasks, len(comparisons)
    figure = Figure(figsize=(WIDTH, 1.3 + 0.21 * count), layout='constrained')
    ratio = [max(1.2, 0.3 * len(tasks)), 2.6]
    cells, averages = figure.subplots(1, 2, sharey=True, width_ratios=ratio)
    _draw_cells(cells, tasks, comparisons, scores.metric)
    _draw_averages(averages, comparisons, scores.metric)
    cells.set_yticks(range(count), [escape_surrogates(one.method) for one in comparisons])
    cells.set_ylim(count - 0.5, -0.5)
    title = f'Difference to {baseline}, task by task'
    return _figure(DIFFERENCES, title, _how_to_read(scores), figure, scores)


def _how_to_read(scores: SuiteScores) -> str:
    points = (
        'Points of percent' if scores.metric.name == Metric().name else f'Of {scores.metric.label}'
    )
    return (
        f'{points}, above zero, blue and to the right: better. Runs are compared in pairs of the '
        'same task and seed; cells are means over seeds. Right the average over tasks, with its '
        '95 % confidence interval: how it would change with other such tasks and seeds.'
    )


def _draw_cells(
    axes: Axes, tasks: Sequence[str], comparisons: Sequence[Comparison], metric: Metric
) -> None:
    """Draw a cell per method and task, deeper the larger the difference."""
    values = np.array(
        [[one.by_task[t].value if one.by_task[t] else np.nan for t in tasks] for one in comparisons]
    )
    # Beyond the ninth tenth all are as deep, so that one that fails does not make the others pale.
    sizes = np.abs(values)
    deepest = np.nanquantile(sizes, 0.9) or np.nanmax(sizes) or 1
    shades = np.zeros((*values.shape, 4))
    shades[..., :3] = np.where(values[..., None] < 0, to_rgb(WORSE), to_rgb(BETTER))
    shades[..., 3] = 0.75 * np.nan_to_num(np.minimum(sizes / deepest, 1))
    axes.pcolormesh(np.arange(len(tasks)), np.arange(len(values)), shades, shading='nearest')
    number, size = partial(metric.number, digits=1), 8 if len(tasks) < 12 else 6.5
    for (row, column), value in np.ndenumerate(values):
        text = 'no pair' if np.isnan(value) else signed(value, number)
        axes.text(column, row, text, ha='center', va='center', size=size)
    names = [escape_surrogates(task) for task in tasks]
    axes.set_xticks(range(len(tasks)), names, rotation=60, ha='left', rotation_mode='anchor')
    axes.xaxis.tick_top()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _draw_averages(axes: Axes, comparisons: Sequence[Comparison], metric: Metric) -> None:
    """Draw the averages over tasks, with their confidence intervals."""
    axes.axvline(0, color=INK, linewidth=1)
    for row, one in enumerate(comparisons):
        found = one.average
        colour = WORSE if found.value < 0 else BETTER
        if found.low is not None:
            axes.plot([found.low, found.high], [row] * 2, color=colour, linewidth=2)
        axes.plot(found.value, row, 'D', color=colour, markersize=4.5)
        value = signed(found.value, partial(metric.number, digits=1))
        place = axes.get_yaxis_transform()
        axes.text(1.02, row, value, transform=place, va='center', size=8)
    axes.set_title('average', size=10)


def draw_learning_curves(scores: SuiteScores) -> FigureOfReport | None:
    """Draw the training loss by epoch, a panel per task; None if no run logged any."""
    by_task = {task: _curves(scores, task) for task in scores.tasks}
    by_task = {task: curves for task, curves in by_task.items() if curves}
    if not by_task:
        return None
    figure, axes = panels(len(by_task), 3, WIDTH, 2.3)
    chosen, lines = styles(scores.methods), {}
    is_few = len(scores.methods) <= FEW
    for panel, (task, curves) in zip(axes, by_task.items(), strict=True):
        for method, curve in curves.items():
            lines[method] = _draw_curve(panel, curve, chosen[method][0], is_few)
            lines[method].set_gid(escape_surrogates(f'{task}::{method}'))
        panel.set_title(escape_surrogates(task))
        _set_log_scale(panel)
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for panel in axes[::3]:
        panel.set_ylabel('training loss')
    for panel in axes[-3:]:
        panel.set_xlabel('epoch')
    names = [method for method in scores.methods if method in lines]
    figure.legend(
        [lines[name] for name in names],
        [escape_surrogates(name) for name in names],
        loc='outside lower center',
        ncols=min(5, len(names)),
    )
    caption = 'Training loss, the mean over seeds'
    caption += ', and from the lowest to the highest of them.' if is_few else '.'
    return _figure(CURVES, 'Learning curves', caption, figure, scores, folded=not is_few)


def _set_log_scale(axes: Axes) -> None:
    """Make the loss logarithmic, with plain numbers even if it spans less than a decade."""
    axes.set_yscale('log')
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda loss, _: f'{loss:g}')
    axes.yaxis.set_minor_formatter(NullFormatter())


def _curves(scores: SuiteScores, task: str) -> dict[str, Curve]:
    found = {}
    for method in scores.methods:
        runs = [run for run in scores.runs_of[method] if run.task == task]
        curves = [curve for run in runs if (curve := loss_curve(run.folder))]
        if curves:
            found[method] = mean_curve(curves)
    return found


def _draw_curve(axes: Axes, curve: Curve, colour: str, with_band: bool) -> Line2D:
    if with_band:
        axes.fill_between(curve.epochs, curve.low, curve.high, color=colour, alpha=0.2, linewidth=0)
        return axes.plot(curve.epochs, curve.mean, color=colour, linewidth=1.6)[0]
    last = len(curve.epochs) - 1
    shown = np.unique(np.linspace(0, last, min(last + 1, POINTS)).round().astype(int))
    epochs, losses = (np.array(values)[shown] for values in (curve.epochs, curve.mean))
    return axes.plot(epochs, losses, color=colour, linewidth=1)[0]
