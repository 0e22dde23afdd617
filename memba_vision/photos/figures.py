"""Figures of the page on photos: the confusion matrix and the learning curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from memba_vision.datasets.vtab1k_tools.skipped_entries import shown
from memba_vision.photos.outcome import Outcome
from memba_vision.reports.colours import COLOURS
from memba_vision.reports.curves import accuracy_curve, loss_curve
from memba_vision.reports.figures import WIDTH, FigureOfReport
from memba_vision.reports.svg import FAINT, INK, as_svg, panels, settings

NUMBERED = 30  # classes: with more, numbers do not fit into the cells
NAMED = 60  # classes: with more, names do not fit beside it
LONG = 22  # letters of a name
POINTS = 110  # pixels of the page for an inch


class HasCurves(Protocol):
    """A run with a title."""

    title: str
    run: Path


def draw_confusions(outcome: Outcome) -> FigureOfReport:
    """Draw the confusion matrix, a row per true class; shades are shares of the row."""
    matrix, count = outcome.matrix, len(outcome.classes)
    totals = matrix.sum(1, keepdims=True)
    shares = matrix / np.maximum(totals, 1)
    with settings():
        side = min(WIDTH, 2.6 + 0.42 * count)
        figure, (axes,) = panels(1, 1, side, side - 0.6)
        colours = np.full((count, count), COLOURS[5])
        np.fill_diagonal(colours, COLOURS[0])
        _cells(axes, colours, shares, matrix)
        names = [_short(name) for name in outcome.classes] if count <= NAMED else []
        axes.set_xticks(range(len(names)), names, rotation=60, ha='right', rotation_mode='anchor')
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel('taken for')
        axes.set_ylabel('true class')
        title = 'Confusions'
        svg = as_svg(figure, 'confusions', f'{title}: numbers of photos by true class and answer')
        svg = svg.replace('<svg', f'<svg style="max-width: {POINTS * side:.0f}px"', 1)
    caption = (
        'A row per true class, a column per answer; numbers are photos of the test. Blue is right, '
        'red is wrong; the deeper, the larger the share of the row.'
    )
    return FigureOfReport('confusions', title, caption, svg)


def _cells(axes: Axes, colours: np.ndarray, shares: np.ndarray, matrix: np.ndarray) -> None:
    count = len(matrix)
    axes.grid(visible=False)
    for row, column in zip(*np.nonzero(matrix), strict=True):
        look = dict(facecolor=colours[row, column], alpha=0.85 * shares[row, column], linewidth=0)
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **look))
        if count <= NUMBERED:
            number = str(matrix[row, column])
            axes.text(column, row, number, ha='center', va='center', color=INK, size=9)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), aspect='equal')
    for line in np.arange(0.5, count - 1) if count <= NUMBERED else ():
        axes.axvline(line, color=FAINT, linewidth=0.6)
        axes.axhline(line, color=FAINT, linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_visible(True)


def draw_curves(trained: Sequence[HasCurves]) -> FigureOfReport:
    """Draw loss and accuracy of the trainings, by epoch."""
    with settings():
        figure, (accuracy, loss) = panels(2, 2, WIDTH, 2.9)  # a phone shows the first
        for colour, entry in zip(COLOURS, trained, strict=False):
            _draw_line(loss, loss_curve(entry.run), colour, entry.title)
            curve = accuracy_curve(entry.run)
            _draw_line(accuracy, curve, colour, entry.title)
            if curve:
                best = max(curve, key=curve.get)
                accuracy.plot(best, curve[best], 'o', color=colour, markersize=8)
        loss.set_ylabel('loss')
        loss.set_ylim(bottom=0)
        accuracy.set_ylabel('accuracy (%)')
        low, high = accuracy.get_ylim()
        accuracy.set_ylim(max(low, -1), min(high, 101))  # no axis beyond what can be
        for axes in (accuracy, loss):
            axes.set_xlabel('epoch')
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        accuracy.legend(loc='lower right')
        title = 'Learning curves'
        svg = as_svg(figure, 'curves', f'{title}: accuracy and loss by epoch')
    caption = (
        'Accuracy on the photos to choose by after each epoch, and loss in the training. The point '
        'is the epoch that was taken.'
    )
    return FigureOfReport('curves', title, caption, svg)


def _draw_line(axes: Axes, curve: dict[int, float], colour: str, title: str) -> None:
    style = dict(marker='o') if len(curve) == 1 else {}
    axes.plot(list(curve), list(curve.values()), color=colour, label=title, linewidth=1.8, **style)


def _short(name: str) -> str:
    text = shown(name)
    return text if len(text) <= LONG else f'{text[: LONG - 1]}…'
