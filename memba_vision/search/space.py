"""Search spaces: small config files with a grammar of their own."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memba_vision.errors import UserError
from memba_vision.package_data import find_config, package_data_folder
from memba_vision.runs.presets import read_config

SPACES = package_data_folder() / 'configs' / 'search'
GRAMMAR = 'a list of values, or dict(low=…, high=…) with log=True or step=… if wanted'


@dataclass(frozen=True)
class Choices:
    """Parameter that takes one of some values."""

    values: tuple

    def suggest(self, trial: Any, name: str) -> Any:
        """Return a value for an Optuna trial."""
        return trial.suggest_categorical(name, self.values)

    def contains(self, value: Any) -> bool:
        """Return True if the search could try a value."""
        return value in self.values


@dataclass(frozen=True)
class Range:
    """Parameter between two numbers, both included. It is an integer if both are."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def suggest(self, trial: Any, name: str) -> float:
        """Return a value for an Optuna trial."""
        if self.is_whole:
            return trial.suggest_int(name, self.low, self.high, log=self.log, step=self.step or 1)
        return trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)

    def contains(self, value: Any) -> bool:
        """Return True if the search could try a value."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or (self.is_whole and value != int(value)):
            return False
        off = (value - self.low) % self.step if self.step else 0
        return self.low <= value <= self.high and min(off, (self.step or 1) - off) < 1e-9

    @property
    def is_whole(self) -> bool:
        """True if it has whole numbers alone."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Parameter = Choices | Range


@dataclass(frozen=True)
class Candidate:
    """An adapter that a combination may have.

    Attributes:
        adapter: its settings, as in a config.
        sizes: settings that the second step searches.
    """

    adapter: dict
    sizes: dict[str, Parameter]


@dataclass(frozen=True)
class Space:
    """A search space.

    Attributes:
        settings: parameters by dotted key, as ``--cfg-options`` has them.
        adapters: candidates by name; empty for a search of settings only.
    """

    settings: dict[str, Parameter]
    adapters: dict[str, Candidate]


def read_space(path: str | Path) -> Space:
    """Read a file of ``configs/search``.

    Raises:
        UserError: it is missing, or not written in the grammar of docs/searching.md.
    """
    try:
        path = find_config(path)
    except UserError as error:
        shipped = ', '.join(sorted(file.stem for file in SPACES.glob('*.py')))
        raise UserError(
            f'no search space at {path}: give a file such as those of configs/search ({shipped})'
        ) from error
    content = {k: v for k, v in read_config(path).items() if not k.startswith('_')}
    unknown = set(content) - {'settings', 'adapters'}
    if unknown or not any(content.values()):
        found = ', '.join(sorted(unknown)) or 'nothing'
        raise UserError(f'{path}: expected "settings", "adapters" or both, found {found}')
    candidates = content.get('adapters', {})
    if not isinstance(candidates, Mapping):
        raise UserError(
            f'{path}: adapters: expected a dict of candidates by name, found {candidates!r}'
        )
    return Space(
        settings=_parameters(content.get('settings', {}), f'{path}: settings'),
        adapters={
            name: _candidate(value, f'{path}: adapters.{name}')
            for name, value in candidates.items()
        },
    )


def _candidate(value: Any, where: str) -> Candidate:
    if (
        not isinstance(value, Mapping)
        or set(value) - {'adapter', 'sizes'}
        or not isinstance(value.get('adapter'), Mapping)
        or not isinstance(value['adapter'].get('type'), str | type)
    ):
        raise UserError(f'{where}: expected dict(adapter=dict(type=…), sizes=dict(…))')
    adapter = dict(value['adapter'])
    sizes = _parameters(value.get('sizes', {}), where)
    for name, parameter in sizes.items():
        if not parameter.contains(adapter.get(name)):
            raise UserError(
                f'{where}: its own {name} is {adapter.get(name)!r}, which is not among its sizes: '
                'the first step would try what the second cannot'
            )
    return Candidate(adapter, sizes)


def _parameters(values: Any, where: str) -> dict[str, Parameter]:
    if not isinstance(values, Mapping):
        raise UserError(f'{where}: expected a dict, found {values!r}')
    for name in values:
        if not isinstance(name, str):
            raise UserError(f'{where}: keys are names of settings, found {name!r}')
    return {name: _parameter(value, f'{where}: {name}') for name, value in values.items()}


def _parameter(value: Any, where: str) -> Parameter:
    if isinstance(value, list | tuple) and value and all(map(_is_plain, value)):
        return Choices(tuple(value))
    if isinstance(value, Mapping) and {'low', 'high'} <= set(value) <= {
        *('low', 'high', 'log', 'step')
    }:
        return _range(dict(value), where)
    raise UserError(f'{where}: expected {GRAMMAR}, found {value!r}')


def _range(value: dict[str, Any], where: str) -> Range:
    found = Range(**value)
    numbers = [found.low, found.high, 1 if found.step is None else found.step]
    if not all(map(_is_finite, numbers)) or found.log not in (True, False):
        raise UserError(
            f'{where}: low, high and step must be finite numbers, and log True or False, '
            f'found {value!r}'
        )
    wrong_log = found.log and (found.low <= 0 or found.step is not None)
    if found.low >= found.high or wrong_log:
        raise UserError(f'{where}: low must be below high, and above 0 and without step under log')
    if found.step is not None and (found.step <= 0 or (found.is_whole and found.step % 1)):
        raise UserError(
            f'{where}: step must be above 0, and whole where low and high are, found {found.step} '
            f'(low={float(found.low)} lets it be any number)'
        )
    return found


def _is_finite(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
