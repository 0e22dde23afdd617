"""Grid of a sweep: settings that every method tries."""

from collections.abc import Mapping, Sequence
from itertools import product

from mmengine.config import Config

from memba_vision.errors import UserError
from memba_vision.runs.known_settings import missing
from memba_vision.runs.options import entries
from memba_vision.runs.tool_options import Typed, parse_options
from memba_vision.runs.trial import setting_places

#: Values by key, as they were typed.
Point = Mapping[str, Typed]


def read_grid(options: Sequence[str]) -> list[Point]:
    """Return the points of a grid, the last key's values changing fastest.

    Args:
        options: ``KEY=VALUE,VALUE,…``, which multiply. None at all: the one point that tries
            nothing.

    Raises:
        UserError: one of them is not like that, or a key or a value is there twice.
    """
    axes: dict[str, list[str]] = {}
    for option in options:
        for key, text in parse_options([option], '--grid').items():
            values = entries(text)
            if key in axes or key.endswith('+') or len(set(values)) < len(values) or not values:
                raise UserError(f'--grid {option}: give each key once, each value of it once')
            axes[key] = values
    return [dict(zip(axes, map(Typed, values), strict=True)) for values in product(*axes.values())]


def points_for(config: Config, grid: Sequence[Point]) -> list[Point]:
    """Return the points of a grid for a method.

    Settings of adapters are left out where none of its adapters has them, so that these are fewer.

    Args:
        config: the config of some runs of the method.
        grid: the points.
    """
    own = [{k: value for k, value in point.items() if setting_places(config, k)} for point in grid]
    return [point for place, point in enumerate(own) if point not in own[:place]]


def check_grid(grid: Sequence[Point], configs: Sequence[Config], fixed: Mapping[str, str]) -> None:
    """Check that the keys of a grid are settings of some method, and of no other option.

    Args:
        grid: the points.
        configs: of all methods.
        fixed: settings of ``--cfg-options``.

    Raises:
        UserError: one of them is not.
    """
    for key in grid[0]:
        if key in fixed:
            raise UserError(f'{key} is in --cfg-options and in --grid: give it once')
        if not any(setting_places(config, key) for config in configs):
            raise UserError(f'--grid {key}: {missing(key, configs[0])}, nor has an adapter')
