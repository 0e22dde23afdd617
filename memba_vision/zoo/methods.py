"""The methods that are compared, each with its paper and published results.

A method's preset, ``configs/_base_/peft/<name>.py``, describes it in a dict ``about``; this is the
table of all of them.
"""

import runpy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from memba_vision.errors import UserError
from memba_vision.package_data import PRESETS

#: The papers whose comparisons come first; other sources follow in alphabetical order.
FIRST_SOURCES = ('MambaPEFT', 'Memba')
#: The transformer for which methods of transformers are published, and what it is pre-trained on.
VIT = 'ViT-B/16 (ImageNet-21k)'
#: Names of architectures in papers.
TITLES = {'vim_tiny': 'Vim-Ti', 'vim_small': 'Vim-S', 'vim_base': 'Vim-B'}


@dataclass(frozen=True)
class Published:
    """Results on VTAB-1k, the means of groups and of the 19 tasks in percent.

    Attributes:
        thousands: trained parameters in thousands, as printed. MambaPEFT's rows mostly count
            about 9 K of head with them, Memba's counts the adapters alone.
        natural: mean over the 7 natural tasks.
        specialized: mean over the 4 specialised tasks.
        structured: mean over the 8 structured tasks.
        average: mean over all 19 tasks.
    """

    thousands: int
    natural: float
    specialized: float
    structured: float
    average: float


@dataclass(frozen=True)
class Method:
    """A way to adapt a backbone.

    Attributes:
        preset: the name of its file in ``configs/_base_/peft``.
        name: its name in the tables of the papers.
        source: the paper.
        formula: the formula, in Markdown.
        parameters: trained parameters of the adapters by architecture, as ``vim_small``.
        published: results on VTAB-1k by architecture.
        published_on_vit: mean over the 19 tasks that is published for the ViT-B/16 of
            :data:`VIT`, in percent; None where there is none.
        note: a remark for readers of a table.
        merges: True where the adapters fold into plain weights without a rest.
        pretrained_at_step_0: True where training starts from the pre-trained function.
    """

    preset: str
    name: str = ''
    source: str = ''
    formula: str = ''
    parameters: dict[str, int] = field(default_factory=dict)
    published: dict[str, Published] = field(default_factory=dict)
    published_on_vit: float | None = None
    note: str = ''
    merges: bool = True
    pretrained_at_step_0: bool = True


def read_method(path: Path) -> Method:
    """Read the description of a preset; one without ``about`` has its file's name.

    Raises:
        UserError: the preset cannot be read, or its ``about`` has another entry.
    """
    try:
        about = {'name': path.stem, **runpy.run_path(str(path)).get('about', {})}
        figures = about.pop('published', {})
        published = {arch: Published(**row) for arch, row in figures.items()}
        return Method(path.stem, published=published, **about)
    except Exception as error:  # a preset is code
        raise UserError(f'{path}: about cannot be read: {error}') from error


@cache
def all_methods() -> tuple[Method, ...]:
    """Return every method with a shipped preset, ordered by source and published average."""
    return tuple(sorted(map(read_method, PRESETS.glob('*.py')), key=_place))


def method_of(preset: str) -> Method | None:
    """Return the method of a shipped preset, None for a preset of the user's own."""
    return next((method for method in all_methods() if method.preset == preset), None)


def architecture_title(arch: str) -> str:
    """Return the name of an architecture in papers, where it has one there."""
    return TITLES.get(arch, arch)


def _place(method: Method) -> tuple[Any, ...]:
    first = [method.source.startswith(f'{source} ') for source in FIRST_SOURCES]
    averages = [figures.average for figures in method.published.values()]
    return (
        first.index(True) if any(first) else len(first),
        '' if any(first) else method.source,
        averages[0] if averages else 100.0,
        method.preset,
    )
