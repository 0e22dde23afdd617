"""The figures of what membranes do with an image, one function each.

Each takes the traces of one model, or of two to compare, which share all scales, the numbers of
the layers to show, and the theme of the page. Colours can be told apart by the colour-blind.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from memba_vision.visualization.maps import BACKWARD, FORWARD
from memba_vision.visualization.trace import ImageTrace, LayerTrace

DOTS_PER_INCH = 110
CELL = 1.5  # inches of a map's side
LABEL = 0.9  # inches beside a row of maps
COLOURBAR = 0.9
TITLE = 0.3
ARROWS = ('forward →', '← backward')
HEAT = 0.75  # how much of a map covers the image

# Of lines that must show on anything.
OUTLINED = (dict(colors='white', linewidths=2.4), dict(colors='black', linewidths=1.0))


@dataclass(frozen=True)
class Theme:
    """The colours of a page: what it lies on, its text, lines, and where nothing is."""

    surface: str
    ink: str
    line: str
    nothing: str
    directions: tuple[str, str]


LIGHT = Theme('#ffffff', '#1f2328', '#c9ced6', '#eceff3', ('#0072b2', '#d55e00'))
DARK = Theme('#171b21', '#e6e9ed', '#4a515c', '#262c35', ('#56b4e9', '#e69f00'))
THEMES = (LIGHT, DARK)


@dataclass(frozen=True)
class Scale:
    """From a number to a colour."""

    label: str
    colours: str
    low: float
    high: float

    def mappable(self) -> ScalarMappable:
        """What matplotlib colours by."""
        return ScalarMappable(Normalize(self.low, self.high), colormaps[self.colours])


@dataclass(frozen=True)
class Row:
    """A row of maps, a layer each.

    Attributes:
        label: what stands beside it.
        values: picks what is shown of a layer, (2, length) in scan order.
        direction: which of its two rows.
    """

    label: str
    values: Callable[[LayerTrace], 'np.ndarray']
    direction: int


def potential_figure(traces: Sequence[ImageTrace], layers: Sequence[int], theme: Theme) -> Figure:
    """The potentials on the image, both directions, with the borders of the chunks."""
    rows = [Row(label, lambda layer: layer.potential, k) for k, label in enumerate(ARROWS)]
    scale = _potential_scale(_gather(traces, layers, 'potential'))
    return _maps(traces, layers, rows, scale, theme)


def reset_figure(traces: Sequence[ImageTrace], layers: Sequence[int], theme: Theme) -> Figure:
    """The share of channels that were reset, on the image."""
    rows = [Row(label, lambda layer: 100 * layer.reset, k) for k, label in enumerate(ARROWS)]
    highest = 100 * _gather(traces, layers, 'reset').max()
    scale = Scale('neurons reset (%)', 'inferno', 0, max(highest, 1e-3))
    return _maps(traces, layers, rows, scale, theme)


def gate_figure(traces: Sequence[ImageTrace], layers: Sequence[int], theme: Theme) -> Figure:
    """The gate on the image as it would be without the membrane, and as it is."""
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
    """The steps of the recurrence: the start, u[1] to u[T], and the mean that is handed on."""
    scale = _potential_scale(
        *(_gather(traces, layers, name) for name in ('potential', 'initial', 'mean')),
    )
    steps = max(trace.num_chunks for trace in traces) + 2
    height = max(1.1, 0.22 * steps)
    figure, parts = _parts(traces, 2 * 2.6 + LABEL, len(layers) * (height + 0.25), theme)
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
    _add_colourbar(figure, scale, theme)
    return figure


def depth_figure(traces: Sequence[ImageTrace], layers: Sequence[int], theme: Theme) -> Figure:
    """The potentials of all layers, a row each; patches from left to right as one reads them."""
    strips = [np.stack([_strip(trace, layer) for layer in trace.layers], 1) for trace in traces]
    scale = _potential_scale(*(strip.ravel() for strip in strips))
    depth = max(len(trace.layers) for trace in traces)
    figure, parts = _parts(traces, 6.2, 2 * (max(0.9, 0.13 * depth) + 0.45), theme)
    for part, trace, strip in zip(parts, traces, strips, strict=True):
        axes = part.subplots(2, 1)
        chunks = trace.grid.chunk_maps(trace.num_chunks).flatten(1).numpy()
        for direction, axis in enumerate(axes):
            axis.imshow(strip[direction], **_look(scale), aspect='auto', interpolation='nearest')
            edges = axis.get_ylim()
            for look in OUTLINED:
                axis.vlines(np.flatnonzero(np.diff(chunks[direction])) + 0.5, *edges, **look)
            axis.set_title(ARROWS[direction], color=theme.ink, fontsize=9)
            axis.set_ylabel('layer', color=theme.ink, fontsize=8)
            axis.invert_yaxis()
            axis.yaxis.get_major_locator().set_params(integer=True)
            _style(axis, theme)
        axes[-1].set_xlabel('patch, row by row', color=theme.ink, fontsize=8)
    _add_colourbar(figure, scale, theme)
    return figure


def reset_depth_figure(traces: Sequence[ImageTrace], layers: Sequence[int], theme: Theme) -> Figure:
    """The share of neurons that were reset, layer by layer."""
    figure, parts = _parts(traces, 5, 2.2, theme)
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
        _style(axis, theme)
    return figure


#: What a page shows, in this order.
FIGURES: dict[str, Callable[[Sequence[ImageTrace], Sequence[int], Theme], Figure]] = {
    'potential': potential_figure,
    'chunks': chunk_figure,
    'depth': depth_figure,
    'reset': reset_figure,
    'reset_depth': reset_depth_figure,
    'gate': gate_figure,
}


def as_png(figure: Figure, theme: Theme) -> bytes:
    """The figure as a PNG file's content."""
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
    """A grid of maps over the image, a column per layer; the image itself in front."""
    width = LABEL + CELL * (1 + len(layers))
    figure, parts = _parts(traces, width, CELL * len(rows) + TITLE, theme)
    for part, trace in zip(parts, traces, strict=True):
        axes = part.subplots(len(rows), 1 + len(layers), squeeze=False)
        for row, line in zip(rows, axes, strict=True):
            line[0].imshow(trace.pixels.numpy(), extent=_edges(trace), interpolation='nearest')
            line[0].set_ylabel(row.label, color=theme.ink, fontsize=9)
            if borders:
                _number_chunks(line[0], trace, row.direction)
            for number, axis in zip(layers, line[1:], strict=True):
                values = trace.grid.to_maps(row.values(trace.layers[number]))
                _draw_map(axis, trace, values[row.direction].numpy(), scale)
                if borders:
                    _draw_borders(axis, trace, row.direction)
            for axis in line:
                _frame(axis, trace, theme)
        axes[0, 0].set_title('chunks' if borders else 'image', color=theme.ink, fontsize=9)
        for number, axis in zip(layers, axes[0, 1:], strict=True):
            axis.set_title(f'layer {number}', color=theme.ink, fontsize=9)
    _add_colourbar(figure, scale, theme)
    return figure


def _parts(
    traces: Sequence[ImageTrace], width: float, height: float, theme: Theme
) -> tuple[Figure, list[SubFigure]]:
    """A figure with a part per model, side by side."""
    title = TITLE if len(traces) > 1 else 0
    size = (width * len(traces) + COLOURBAR, height + title)
    figure = Figure(size, layout='constrained', facecolor=theme.surface)
    parts = list(figure.subfigures(1, len(traces), squeeze=False)[0])
    for part, trace in zip(parts, traces, strict=True):
        part.set_facecolor(theme.surface)
        if len(traces) > 1:
            part.suptitle(trace.title, color=theme.ink, fontsize=10, fontweight='bold')
    return figure, parts


def _draw_map(axis: Axes, trace: ImageTrace, values: np.ndarray, scale: Scale) -> None:
    grey = trace.pixels.mean(-1).numpy()
    # Pale, so that it shows what is where without changing the colours above it much.
    look = dict(cmap='gray', vmin=-1.2, vmax=2.2, interpolation='bilinear')
    axis.imshow(grey, extent=_edges(trace), **look)
    look = dict(alpha=HEAT, interpolation='nearest', **_look(scale))
    axis.imshow(values, extent=trace.grid.extent, **look)


def _draw_borders(axis: Axes, trace: ImageTrace, direction: int) -> None:
    """Lines between patches of different chunks."""
    chunks = trace.grid.chunk_maps(trace.num_chunks)[direction].numpy()
    left, right, bottom, top = trace.grid.extent
    rows, columns = chunks.shape
    xs, ys = np.linspace(left, right, columns + 1), np.linspace(top, bottom, rows + 1)
    lines = [
        [(xs[j + 1], ys[i]), (xs[j + 1], ys[i + 1])]
        for i, j in np.argwhere(np.diff(chunks, axis=1) != 0)
    ] + [
        [(xs[j], ys[i + 1]), (xs[j + 1], ys[i + 1])]
        for i, j in np.argwhere(np.diff(chunks, axis=0) != 0)
    ]
    for look in OUTLINED:  # all light lines first, so that no dark one is cut
        axis.add_collection(LineCollection(lines, capstyle='projecting', **look))


def _number_chunks(axis: Axes, trace: ImageTrace, direction: int) -> None:
    """The borders of the chunks, and in the middle of each its number."""
    _draw_borders(axis, trace, direction)
    chunks = trace.grid.chunk_maps(trace.num_chunks)[direction].numpy()
    left, right, bottom, top = trace.grid.extent
    rows, columns = chunks.shape
    for number in np.unique(chunks):
        y, x = np.argwhere(chunks == number).mean(axis=0) + 0.5
        axis.text(
            left + x / columns * (right - left),
            top + y / rows * (bottom - top),
            str(number),
            ha='center',
            va='center',
            fontsize=8,
            color='black',
            bbox=dict(boxstyle='circle,pad=0.2', facecolor='white', edgecolor='none', alpha=0.8),
        )


def _draw_chunks(
    axis: Axes, trace: ImageTrace, number: int, direction: int, scale: Scale, theme: Theme
) -> None:
    layer = trace.layers[number]
    steps = trace.grid.chunk_rows(layer.potential, trace.num_chunks)[direction]
    start, mean = layer.initial[direction], layer.mean[direction]
    rows = np.vstack([start[None], steps, mean[None]])
    axis.set_facecolor(theme.nothing)
    axis.imshow(rows, **_look(scale), aspect='auto', interpolation='nearest')
    for border in (0.5, len(rows) - 1.5):
        axis.axhline(border, color=theme.surface, linewidth=3)
    labels = ['start', *(f'u[{i + 1}]' for i in range(trace.num_chunks)), 'mean']
    axis.set_yticks(range(len(rows)), labels)
    _style(axis, theme)


def _strip(trace: ImageTrace, layer: LayerTrace) -> np.ndarray:
    """(2, patches), in image order."""
    return trace.grid.to_maps(layer.potential).flatten(1).numpy()


def _gather(traces: Sequence[ImageTrace], layers: Sequence[int], name: str) -> np.ndarray:
    """All values of one kind that are shown, in a row."""
    values = [getattr(trace.layers[number], name) for trace in traces for number in layers]
    return np.concatenate([value.flatten().numpy() for value in values])


def _potential_scale(*values: np.ndarray) -> Scale:
    """From the lowest to the highest potential that is shown.

    It is not centred at zero: resets cut off what is high, so that means are low.
    """
    low, high = (f(np.concatenate([v.ravel() for v in values])) for f in (np.min, np.max))
    return Scale('mean potential', 'viridis', low, high)


def _look(scale: Scale) -> dict:
    return dict(cmap=scale.colours, vmin=scale.low, vmax=scale.high)


def _add_colourbar(figure: Figure, scale: Scale, theme: Theme) -> None:
    part = figure.subfigs[-1]
    bar = part.colorbar(scale.mappable(), ax=part.axes, fraction=0.04, pad=0.02, aspect=25)
    bar.set_label(scale.label, color=theme.ink, fontsize=8)
    bar.ax.tick_params(colors=theme.ink, labelsize=7)
    bar.outline.set_edgecolor(theme.line)


def _frame(axis: Axes, trace: ImageTrace, theme: Theme) -> None:
    left, right, bottom, top = _edges(trace)
    axis.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_color(theme.line)


def _edges(trace: ImageTrace) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of the image in pixels."""
    height, width = trace.pixels.shape[:2]
    return 0, width, height, 0


def _style(axis: Axes, theme: Theme) -> None:
    axis.tick_params(colors=theme.ink, labelsize=7)
    for spine in axis.spines.values():
        spine.set_color(theme.line)
