"""Draw published accuracy on VTAB-1k against trained parameters, as the README shows it.

python docs/accuracy_plot.py [docs/images/vtab1k.png]
"""

import json
import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memba_vision.reports.colours import styles
from memba_vision.zoo.methods import Published, architecture_title, method_of

PICTURE = Path(__file__).parent / 'images' / 'vtab1k.png'
ARCH = 'vim_small'
#: Where the name stands: points right of and above the method's marker, and its side.
LABELS = {
    'memba': (0, 10, 'center'),
    'hybrid': (0, -18, 'center'),
    'lora_in_proj': (-2, -19, 'left'),
    'parallel_adapter': (-9, 3, 'right'),
    'conv1d_tuning': (-10, -4, 'right'),
    'bias_tuning': (10, -4, 'left'),
    'prompt_tuning': (10, -4, 'left'),
    'linear_probing': (-6, -18, 'left'),
    'full_fine_tuning': (0, 11, 'center'),
}
INK, LINE = '#24292f', '#d0d7de'


def points() -> dict[str, Published]:
    """Return what is published for the methods of the plot, by preset."""
    return {preset: method_of(preset).published[ARCH] for preset in LABELS}


def draw() -> Figure:
    """Draw the plot: a phone's width still leaves its letters legible."""
    figure = Figure(figsize=(6, 3.9), layout='constrained')
    axes = figure.subplots()
    chosen = styles([*LABELS])
    for preset, published in points().items():
        _draw_point(axes, preset, published, chosen[preset])
    axes.set_xscale('log')
    axes.set_xlim(4, 400_000)
    axes.set_ylim(44, 76)
    axes.set_xticks([10, 100, 1e3, 1e4, 1e5], ['10 K', '100 K', '1 M', '10 M', '100 M'])
    axes.set_xlabel('trained parameters', color=INK, size=12)
    axes.set_ylabel('VTAB-1k, mean of 19 tasks (%)', color=INK, size=12)
    axes.tick_params(colors=INK, labelsize=11, length=0, which='both')
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ('left', 'bottom'))
        spine.set_color(LINE)
    return figure


def _draw_point(axes: Axes, preset: str, published: Published, style: tuple[str, str]) -> None:
    colour, marker = style
    size, place = published.thousands, (published.thousands, published.average)
    axes.plot(size, published.average, marker, color=colour, markersize=10)
    right, up, side = LABELS[preset]
    weight = 'bold' if preset == 'memba' else 'normal'
    text = dict(color=INK, size=11, weight=weight, ha=side, textcoords='offset points')
    axes.annotate(method_of(preset).name, place, (right, up), **text)


def description() -> str:
    """Return the drawn numbers, which the picture carries along."""
    return json.dumps({preset: [p.thousands, p.average] for preset, p in points().items()})


if __name__ == '__main__':
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE
    title = f'Published accuracy on VTAB-1k with {architecture_title(ARCH)}'
    about = {'Title': title, 'Description': description(), 'Software': None}
    draw().savefig(path, dpi=170, facecolor='white', metadata=about)
