"""Figures of a model's membranes on an image, one function each.

Each takes the traces of one model, or of two to compare, which share all scales, the numbers of
the layers to show, and the theme of the page. Colours can be told apart by the colour-blind.
"""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memba_vision.visualization.drawing import (
    DARK,
    LIGHT,
    OUTLINED,
    TITLE,
    Scale,
    Theme,
    add_colourbar,
    crop_axes,
    draw_borders,
    draw_map,
    image_edges,
    imshow_arguments,
    make_subfigures,
    number_chunks,
    style,
)
from memba_vision.visualization.maps import BACKWARD, FORWARD
from memba_vision.visualization.trace import ImageTrace, LayerTrace

DOTS_PER_INCH = 110
CELL = 1.5  # inches of a map's side
LABEL = 0.9  # inches beside a row of maps
ARROWS = ('forward →', '← backward')
THEMES = (LIGHT, DARK)


@dataclass(frozen=True)
class Row:
    """Row of maps, a layer each.

    Attributes:
        label: the text beside it.
        values: returns the values of a layer, (2, length) in scan order.
        direction: FORWARD or BACKWARD, the row of the values to show.
    """

    label: str
    values: Callable[[LayerTrace], torch.Tensor]
    direction: int


def potential_figure(traces: Sequence[ImageTrace], layers: Sequence[int], theme: Theme) -> Figure:
    """Draw the potentials on the image, both directions, with the borders of the chunks."""
    rows = [Row(label, lambda layer: layer.potential, k) for k, label in enumerate(ARROWS)]
    scale = _potential_scale(_gather(traces, layers, 'potential'))
    return _maps(traces, layers, rows, scale, theme)


def reset_figure(traces: Sequence[ImageTrace], layers: Sequence[int], theme: Theme) -> Figure:
    """Draw the share of channels that were reset, on the image."""
    rows = [Row(label, lambda layer: 100 * layer.reset, k) for k, label in enumerate(ARROWS)]
    highest = 100 * _gather(traces, layers, 'reset').max()
    scale = Scale('neurons reset (%)', 'inferno', 0, max(highest, 1e-3))
    return _maps(traces, layers, rows, scale, theme)


def gate_figure(traces: Sequence[ImageTrace], layers: Sequence[int], theme: Theme) -> Figure:
    """Draw the gate on the image without the membrane and with it."""
    rows = [
        Row('before', lambda layer: layer.gate_before, FORWARD),
        Row('after,\nforward →', lambda layer: layer.gate_after, FORWARD),
        Row('after,\n← backward', lambda layer: layer.gate_after, BACKWARD),
    ]
    gates = [_gather(traces, layers, name) for name in ('gate_before', 'gate_after')]
    values = np.concatenate(gates)
    scale = Scale('mean gate', 'viridis', values.min(), values.max())
    return _maps(traces, layers, rows, scale, theme, borders=False)


def chunk_figure(traces: Sequence[ImageTrace], layers: Sequence[int], theme: Theme) -> Figure:
    """Draw the steps of the recurrence: the start, u[1] to u[T], and the mean passed on."""
    scale = _potential_scale(
        *(_gather(traces, layers, name) for name in ('potential', 'initial', 'mean')),
    )
    steps = max(trace.num_chunks for trace in traces) + 2
    height = max(1.1, 0.22 * steps)
    figure, parts = make_subfigures(traces, 2 * 2.6 + LABEL, len(layers) * (height + 0.25), theme)
    for part, trace in zip(parts, traces, strict=True):
        axes = part.subplots(len(layers), 2, squeeze=False)
        for row, number in zip(axes, layers, strict=True):
            for direction, axis in enumerate(row):
                _draw_chunks(axis, trace, number, direction, scale, theme)
                if number == layers[0]:
                    axis.set_title(ARROWS[direction], color=theme.ink, fontsize=9)
            row[0].set_ylabel(f'layer {number}', color=theme.ink, fontsize=9)
            row[1].set_yticklabels([])
        for axis in axes[-1]:
            axis.set_xlabel('position in the chunk', color=theme.ink, fontsize=8)
    add_colourbar(figure, scale, theme)
    return figure


def depth_figure(traces: Sequence[ImageTrace], layers: Sequence[int], theme: Theme) -> Figure:
    """The potentials of all layers, a row each; patches from left to right as one reads them."""
    strips = [np.stack(list(_strips(trace)), 1) for trace in traces]
    scale = _potential_scale(*(strip.ravel() for strip in strips))
    depth = max(len(trace.layers) for trace in traces)
    figure, parts = make_subfigures(traces, 6.2, 2 * (max(0.9, 0.13 * depth) + 0.45), theme)
    for part, trace, strip in zip(parts, traces, strips, strict=True):
        axes = part.subplots(2, 1)
        chunks = trace.grids[0].chunk_maps(trace.num_chunks).flatten(1).numpy()
        one_grid = all(grid.patches.shape == trace.grids[0].patches.shape for grid in trace.grids)
        for direction, axis in enumerate(axes):
            axis.imshow(
                strip[direction], **imshow_arguments(scale), aspect='auto', interpolation='nearest'
            )
            edges = axis.get_ylim()
            for look in OUTLINED if one_grid else ():
                axis.vlines(np.flatnonzero(np.diff(chunks[direction])) + 0.5, *edges, **look)
            axis.set_title(ARROWS[direction], color=theme.ink, fontsize=9)
            axis.set_ylabel('layer', color=theme.ink, fontsize=8)
            axis.invert_yaxis()
            axis.yaxis.get_major_locator().set_params(integer=True)
            style(axis, theme)
        axes[-1].set_xlabel('patch, row by row', color=theme.ink, fontsize=8)
    add_colourbar(figure, scale, theme)
    return figure


def reset_depth_figure(traces: Sequence[ImageTrace], layers: Sequence[int], theme: Theme) -> Figure:
    """Draw the share of neurons that were reset, layer by layer."""
    figure, parts = make_subfigures(traces, 5, 2.2, theme)
    highest = max(100 * layer.reset.mean(1).max().item() for t in traces for layer in t.layers)
    for part, trace in zip(parts, traces, strict=True):
        axis = part.subplots()
        for direction, marker in ((FORWARD, 'o'), (BACKWARD, 's')):
            shares = [100 * layer.reset[direction].mean().item() for layer in trace.layers]
            axis.plot(
                [layer.layer for layer in trace.layers],
                shares,
                color=theme.directions[direction],
                marker=marker,
                markersize=4,
                label=ARROWS[direction],
            )
        axis.set_ylim(0, max(1.1 * highest, 0.1))
        axis.set_xlabel('layer', color=theme.ink, fontsize=8)
        axis.set_ylabel('neurons reset (%)', color=theme.ink, fontsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize=8, frameon=False, labelcolor=theme.ink)
        axis.set_facecolor(theme.surface)
        axis.grid(axis='y', color=theme.line, linewidth=0.5)
        style(axis, theme)
    return figure


#: The figures of a page, in this order.
FIGURES: dict[str, Callable[[Sequence[ImageTrace], Sequence[int], Theme], Figure]] = {
    'potential': potential_figure,
    'chunks': chunk_figure,
    'depth': depth_figure,
    'reset': reset_figure,
    'reset_depth': reset_depth_figure,
    'gate': gate_figure,
}


def as_png(figure: Figure, theme: Theme) -> bytes:
    """Return the figure as the bytes of a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format='png', dpi=DOTS_PER_INCH, facecolor=theme.surface)
    return file.getvalue()


def _maps(
    traces: Sequence[ImageTrace],
    layers: Sequence[int],
    rows: Sequence[Row],
    scale: Scale,
    theme: Theme,
    borders: bool = True,
) -> Figure:
    """Draw a grid of maps over the image, a column per layer, after the image itself."""
    width = LABEL + CELL * (1 + len(layers))
    figure, parts = make_subfigures(traces, width, CELL * len(rows) + TITLE, theme)
    for part, trace in zip(parts, traces, strict=True):
        axes = part.subplots(len(rows), 1 + len(layers), squeeze=False)
        for row, line in zip(rows, axes, strict=True):
            line[0].imshow(trace.pixels.numpy(), extent=image_edges(trace), interpolation='nearest')
            line[0].set_ylabel(row.label, color=theme.ink, fontsize=9)
            if borders:
                number_chunks(line[0], trace.grids[0], trace.num_chunks, row.direction)
            for number, axis in zip(layers, line[1:], strict=True):
                grid = trace.grids[number]
                values = grid.to_maps(row.values(trace.layers[number]))
                draw_map(axis, trace, grid, values[row.direction].numpy(), scale)
                if borders:
                    draw_borders(axis, grid, trace.num_chunks, row.direction)
            for axis in line:
                crop_axes(axis, trace, theme)
        axes[0, 0].set_title('chunks' if borders else 'image', color=theme.ink, fontsize=9)
        for number, axis in zip(layers, axes[0, 1:], strict=True):
            axis.set_title(f'layer {number}', color=theme.ink, fontsize=9)
    add_colourbar(figure, scale, theme)
    return figure


def _draw_chunks(
    axis: Axes, trace: ImageTrace, number: int, direction: int, scale: Scale, theme: Theme
) -> None:
    layer = trace.layers[number]
    steps = trace.grids[number].chunk_rows(layer.potential, trace.num_chunks)[direction]
    start, mean = layer.initial[direction], layer.mean[direction]
    rows = np.vstack([start[None], steps, mean[None]])
    axis.set_facecolor(theme.nothing)
    axis.imshow(rows, **imshow_arguments(scale), aspect='auto', interpolation='nearest')
    for border in (0.5, len(rows) - 1.5):
        axis.axhline(border, color=theme.surface, linewidth=3)
    labels = ['start', *(f'u[{i + 1}]' for i in range(trace.num_chunks)), 'mean']
    axis.set_yticks(range(len(rows)), labels)
    style(axis, theme)


def _strips(trace: ImageTrace) -> Iterator[np.ndarray]:
    """Yield each layer's potentials, (2, patches), in image order; small maps are enlarged."""
    finest = max((grid.patches.shape for grid in trace.grids), key=math.prod)
    for layer, grid in zip(trace.layers, trace.grids, strict=True):
        maps = grid.to_maps(layer.potential)
        if maps.shape[1:] != finest:
            maps = F.interpolate(maps[None], size=finest)[0]
        yield maps.flatten(1).numpy()


def _gather(traces: Sequence[ImageTrace], layers: Sequence[int], name: str) -> np.ndarray:
    """Concatenate all shown values of one kind."""
    values = [getattr(trace.layers[number], name) for trace in traces for number in layers]
    return np.concatenate([value.flatten().numpy() for value in values])


def _potential_scale(*values: np.ndarray) -> Scale:
    """Return a scale from the lowest to the highest potential that is shown.

    It is not centred at zero: resets cut off high potentials, so that means are low.
    """
    low, high = (f(np.concatenate([v.ravel() for v in values])) for f in (np.min, np.max))
    return Scale('mean potential', 'viridis', low, high)
