"""Style of matplotlib's figures, and their conversion to files and to SVG in a page."""

import io
import re
from html import escape
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from memba_vision.files import write_atomically

# Of files, on white. In a page its own colours take their place: no figure has these otherwise.
INK = '#1c2431'
FAINT = '#dde1e8'
ROUNDED = re.compile(r'(\.\d)\d+')
PAGE = {INK: 'currentColor', FAINT: 'var(--faint)'}
SETTINGS = {
    'svg.fonttype': 'none',  # text stays text
    'pdf.fonttype': 42,  # TrueType, which publishers ask for
    'font.family': 'sans-serif',
    'font.size': 10,
    'text.color': INK,
    'axes.edgecolor': FAINT,
    'axes.labelcolor': INK,
    'axes.titlesize': 10,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': FAINT,
    'grid.linewidth': 0.6,
    'xtick.color': INK,
    'ytick.color': INK,
    'xtick.major.size': 0,
    'ytick.major.size': 0,
    'xtick.minor.size': 0,
    'ytick.minor.size': 0,
    'legend.frameon': False,
}


def settings() -> matplotlib.RcParams:
    """Return the context in which figures are made and written."""
    return matplotlib.rc_context(SETTINGS)


def as_svg(figure: Figure, name: str, description: str) -> str:
    """Return a figure as an ``<svg>`` element.

    Args:
        figure: a figure made within :func:`settings`.
        name: prefix of its ids, of letters; different for each figure of a page.
        description: text for readers who cannot see it.
    """
    text = io.StringIO()
    with matplotlib.rc_context({'svg.hashsalt': name}):
        figure.savefig(text, format='svg', transparent=True, metadata=_NONE)
    svg = text.getvalue()
    svg = svg[svg.index('<svg') :]
    svg = re.sub(r'<metadata>.*?</metadata>\s*|<!--.*?-->\s*', '', svg, flags=re.DOTALL)
    svg = re.sub(r' transform="rotate\(-?0 [^"]*\)"', '', svg)
    # A tenth of a point is less than a pixel.
    svg = re.sub(r' (d|x|y)="[^"]+"', lambda found: ROUNDED.sub(r'\1', found[0]), svg)
    svg = re.sub(r'(id="|href="#|url\(#)', rf'\g<1>{name}-', svg)
    # The page's style gives size and type; the shape is in the viewBox.
    svg = re.sub(r' (width|height)="[\d.]+pt"', '', svg, count=2)
    svg = re.sub(r'font-family: [^;"]*;? ?', '', svg)
    svg = svg.replace('<svg', f'<svg role="img" aria-label="{escape(description)}"', 1)
    for colour, of_page in PAGE.items():
        svg = svg.replace(colour, of_page)
    return svg


_NONE = dict.fromkeys(('Date', 'Creator', 'Format', 'Type'))


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure to a file of its own for papers, ``.pdf`` or ``.svg``, the same every time."""
    content = io.BytesIO()
    undated = _NONE if path.suffix == '.svg' else dict.fromkeys(('CreationDate', 'Producer'))
    with settings(), matplotlib.rc_context({'svg.hashsalt': path.stem}):
        figure.savefig(content, format=path.suffix[1:], metadata=undated)
    write_atomically(path, content.getvalue())


def panels(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure of ``count`` panels of equal size.

    Args:
        count: number of panels.
        columns: greatest number of panels side by side.
        width: width of the figure in inches.
        height: height of a panel in inches.
    """
    columns = min(columns, count)
    lines = -(-count // columns)
    figure = Figure(figsize=(width, height * lines), layout='constrained')
    axes = figure.subplots(lines, columns, squeeze=False).ravel().tolist()
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]
