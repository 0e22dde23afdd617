"""Figures of a report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from memba_vision.files import escape_surrogates
from memba_vision.reports.colours import Style, styles
from memba_vision.reports.comparisons import Comparison
from memba_vision.reports.curves import Curve, loss_curve, mean_curve
from memba_vision.reports.differences import Difference
from memba_vision.reports.scores import SuiteScores
from memba_vision.reports.statistics import Mean
from memba_vision.reports.svg import FAINT, INK, as_svg, panels, settings
from memba_vision.reports.text_tables import signed
from memba_vision.runs.metrics import Metric
from memba_vision.zoo.methods import architecture_title

WIDTH = 9.0  # inches


@dataclass(frozen=True)
class FigureOfReport:
    """A drawn figure.

    Attributes:
        name: name for ids, of letters.
        title: heading.
        caption: explanation for readers.
        svg: the ``<svg>`` element.
    """

    name: str
    title: str
    caption: str
    svg: str


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
    figure, (axes,) = panels(1, 1, WIDTH, 4.2)
    axes.set_xscale('log')
    axes.margins(x=0.2, y=0.12)
    chosen = styles(scores.methods)
    points = [_draw_method(axes, scores, method, chosen[method]) for method in scores.methods]
    _widen(axes)
    _label([point for point in points if point], axes)
    axes.set_xlabel('trained parameters, adapters and head (mean over tasks)')
    name, _, unit = scores.metric.title.partition(' ')
    axes.set_ylabel(f'average {name} on {scores.suite.title} {unit}'.rstrip())
    title = 'Accuracy against size'
    caption = 'The average over tasks, with the standard deviation over seeds where there is one.'
    averages = {method: _average(scores, method) for method in scores.methods}
    lacking = [method for method, found in averages.items() if found and not found.complete]
    if lacking:
        caption += f' Hollow, since runs are missing: {", ".join(lacking)}.'
    if any(scores.published(method) for method in scores.methods):
        caption += f' Crosses: as published for {architecture_title(scores.backbone.arch)}.'
    return FigureOfReport('sizes', title, caption, as_svg(figure, _id('sizes', scores), title))


def _average(scores: SuiteScores, method: str) -> Mean | None:
    return scores.mean(method, tuple(scores.suite.tasks))


def _draw_method(
    axes: Axes, scores: SuiteScores, method: str, style: Style
) -> tuple[float, float, str, str] | None:
    """Draw one method, and return its place, name and colour; None if nothing was measured."""
    average, (colour, marker) = _average(scores, method), style
    if average is None:
        return None
    size = mean(result.trained_parameters for result in scores.results(method))
    face = colour if average.complete else 'none'
    axes.errorbar(
        size,
        average.value,
        yerr=average.deviation,
        color=colour,
        marker=marker,
        markersize=8,
        markerfacecolor=face,
        capsize=3,
        linestyle='none',
    )
    known = scores.published(method)
    if known:
        axes.plot(known.thousands * 1e3, known.average, 'x', color=colour, markersize=7)
    return size, average.value, method, colour


def _widen(axes: Axes) -> None:
    """Leave room around sizes that are all the same, or nearly."""
    smallest, largest = axes.dataLim.intervalx
    if largest < 2 * smallest:
        axes.set_xlim(smallest / 2, largest * 2)


def _label(points: Sequence[tuple[float, float, str, str]], axes: Axes) -> None:
    """Write each name right of its point, moved up if it would lie on another."""
    low, high = axes.get_ylim()
    gap = (high - low) * 0.05
    placed: list[tuple[float, float]] = []
    for x, y, name, colour in sorted(points, key=lambda point: point[1]):
        height = y
        # Names are up to a decade wide.
        for other, taken in placed:
            if abs(math.log10(x / other)) < 1 and abs(height - taken) < gap:
                height = taken + gap
        placed.append((x, height))
        line = dict(arrowstyle='-', color=colour, linewidth=0.7) if height > y else None
        style = dict(color=colour, va='center', size=9, arrowprops=line)
        axes.annotate(escape_surrogates(name), (x, y), (x * 1.15, height), **style)


def draw_differences(
    scores: SuiteScores, baseline: str, comparisons: Sequence[Comparison]
) -> FigureOfReport | None:
    """Draw the advantage of each method over the baseline by task; None if there is no other."""
    if not comparisons:
        return None
    rows = [*scores.tasks, 'average'][::-1]
    names = [escape_surrogates(row) for row in rows]
    figure, axes = panels(len(comparisons), 3, WIDTH, 0.8 + 0.27 * len(rows))
    chosen = styles(scores.methods)
    for place, (panel, one) in enumerate(zip(axes, comparisons, strict=True)):
        shown = [*one.by_task.values(), one.average][::-1]
        _draw_differences(panel, shown, chosen[one.method][0], scores.metric)
        panel.set_title(escape_surrogates(one.method), color=chosen[one.method][0], weight='bold')
        panel.set_yticks(range(len(rows)), names if place % 3 == 0 else [''] * len(rows))
        panel.set_ylim(-0.6, len(rows) - 0.4)
    limit = 1.1 * max(map(_extent, comparisons)) or 1
    for panel in axes:
        panel.set_xlim(-limit, limit)
    title = f'Difference to {baseline}, task by task'
    svg = as_svg(figure, _id('differences', scores), title)
    return FigureOfReport('differences', title, _how_to_read(scores), svg)


def _how_to_read(scores: SuiteScores) -> str:
    points = (
        'Points of percent' if scores.metric.name == Metric().name else f'Of {scores.metric.label}'
    )
    text = (
        f'{points}, right of the line: better. Runs are compared in pairs of the same task '
        'and seed. Bars: 95 % confidence intervals, for the average over tasks: how it would '
        'change with other such tasks and seeds'
    )
    if len(scores.seeds) == 1:
        return f'{text}. With one seed a task has no bar.'
    return (
        f'{text}; for a task over its {len(scores.seeds)} seeds. Of few, a bar is long, and may '
        'reach beyond the panel.'
    )


def _extent(one: Comparison) -> float:
    """Return the distance from zero of what a panel must show: points, and the average's bar."""
    shown = [found.value for found in one.by_task.values() if found]
    shown += [one.average.low or 0, one.average.high or 0]
    return max(map(abs, shown))


def _draw_differences(
    axes: Axes, differences: Sequence[Difference | None], colour: str, metric: Metric
) -> None:
    axes.axvline(0, color=INK, linewidth=1)
    axes.axhspan(-0.5, 0.5, color=FAINT, alpha=0.45, linewidth=0)  # the average
    axes.grid(axis='y', visible=False)
    for place, difference in enumerate(differences):
        if difference is None:
            axes.text(0, place, 'no pair', va='center', ha='center', size=8)
            continue
        if difference.low is not None:
            axes.plot([difference.low, difference.high], [place] * 2, color=colour, linewidth=2.2)
        axes.plot(difference.value, place, 'D' if place == 0 else 'o', color=colour, markersize=6)
        value = signed(difference.value, partial(metric.number, digits=1))
        axes.text(1.02, place, value, transform=axes.get_yaxis_transform(), va='center', size=9)


def draw_learning_curves(scores: SuiteScores) -> FigureOfReport | None:
    """Draw the training loss by epoch, a panel per task; None if no run logged any."""
    by_task = {task: _curves(scores, task) for task in scores.tasks}
    by_task = {task: curves for task, curves in by_task.items() if curves}
    if not by_task:
        return None
    figure, axes = panels(len(by_task), 3, WIDTH, 2.3)
    chosen, lines = styles(scores.methods), {}
    for panel, (task, curves) in zip(axes, by_task.items(), strict=True):
        for method, curve in curves.items():
            lines[method] = _draw_curve(panel, curve, chosen[method][0])
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
    title = 'Learning curves'
    caption = 'Training loss: the mean over seeds, and from the lowest to the highest of them.'
    return FigureOfReport('curves', title, caption, as_svg(figure, _id('curves', scores), title))


def _set_log_scale(axes: Axes) -> None:
    """Make the loss logarithmic, with plain numbers even if it spans less than a decade."""
    axes.set_yscale('log')
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda loss, _: f'{loss:g}')
    axes.yaxis.set_minor_formatter(NullFormatter())


def _curves(scores: SuiteScores, task: str) -> dict[str, Curve]:
    found = {}
    for method in scores.methods:
        runs = [run for run in scores.runs if (run.task, run.method) == (task, method)]
        curves = [curve for run in runs if (curve := loss_curve(run.folder))]
        if curves:
            found[method] = mean_curve(curves)
    return found


def _draw_curve(axes: Axes, curve: Curve, colour: str) -> Line2D:
    axes.fill_between(curve.epochs, curve.low, curve.high, color=colour, alpha=0.2, linewidth=0)
    return axes.plot(curve.epochs, curve.mean, color=colour, linewidth=1.6)[0]


def _id(name: str, scores: SuiteScores) -> str:
    return name + ''.join(filter(str.isalnum, scores.title))
