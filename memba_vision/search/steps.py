"""Steps of a search: the parameters that each varies, and their places in a config."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from memba_vision.errors import UserError
from memba_vision.runs.known_settings import (
    MISSING,
    OPTIONS_OF_TRIALS,
    find_setting,
    reason_decided,
    reason_ignored,
)
from memba_vision.runs.method_names import with_short_keys
from memba_vision.runs.options import apply_options
from memba_vision.runs.tool_options import EPOCHS
from memba_vision.search.space import Candidate, Choices, Parameter, Space

#: Settings that are the same in all trials; ``--seed`` of a search is that of its sampler.
SEARCH_OPTIONS = {**OPTIONS_OF_TRIALS, 'randomness.seed': '--cfg-options', 'task': '--config'}


class Step(ABC):
    """Step of a search."""

    name: str

    @property
    def key(self) -> str:
        """Name of its study and of the folders of its trials."""
        return self.name

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Parameter]:
        """Parameters of the search by name."""

    @abstractmethod
    def apply(self, config: Config, values: Mapping[str, Any]) -> None:
        """Put values into a config."""

    @abstractmethod
    def own_values(self, config: Config) -> dict[str, Any]:
        """Return the values that the config itself has, as far as the search could try them."""

    def describe(self, values: Mapping[str, Any]) -> str:
        """Return values in one line."""
        return describe_settings(values)


@dataclass(frozen=True)
class SettingsStep(Step):
    """Varies settings of the config."""

    settings: dict[str, Parameter]
    name: str = 'settings'

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Settings by dotted key."""
        return self.settings

    def apply(self, config: Config, values: Mapping[str, Any]) -> None:
        """Put values into a config."""
        apply_options(config, dict(values))

    def own_values(self, config: Config) -> dict[str, Any]:
        """See :class:`Step`."""
        stated = {name: find_setting(config, name) for name in self.settings}
        return {
            name: value
            for name, value in stated.items()
            if value is not MISSING and self.settings[name].contains(value)
        }


@dataclass(frozen=True)
class AdaptersStep(Step):
    """Varies the choice of candidates, each with its own settings."""

    candidates: dict[str, Candidate]
    name: str = 'adapters'

    @property
    def parameters(self) -> dict[str, Parameter]:
        """One choice for each candidate: to attach it or not."""
        return dict.fromkeys(self.candidates, Choices((False, True)))

    def apply(self, config: Config, values: Mapping[str, Any]) -> None:
        """Put the chosen adapters in the place of the config's method."""
        chosen = [c.adapter for name, c in self.candidates.items() if values.get(name)]
        _put_adapters(config, deepcopy(chosen))

    def describe(self, values: Mapping[str, Any]) -> str:
        """Return the chosen adapters in one line."""
        return ' + '.join(name for name, used in values.items() if used) or 'no adapter'

    def own_values(self, config: Config) -> dict[str, Any]:
        """Return nothing: the config's own method need not be a combination of the candidates."""
        return {}


@dataclass(frozen=True)
class SizesStep(Step):
    """Varies the sizes of chosen adapters, and settings of the config."""

    candidates: dict[str, Candidate]
    settings: dict[str, Parameter]
    name: str = 'sizes'

    @property
    def key(self) -> str:
        """Name of its study and of the folders of its trials, different for each combination."""
        return '-'.join([self.name, *self.candidates])

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Sizes as ``candidate.size``, and settings by dotted key."""
        return {full: sizes[size] for full, _, size, sizes in self._sizes()} | self.settings

    def apply(self, config: Config, values: Mapping[str, Any]) -> None:
        """Put adapters and settings into a config."""
        adapters = {name: dict(c.adapter) for name, c in self.candidates.items()}
        for full, name, size, _ in self._sizes():
            adapters[name][size] = values.get(full, adapters[name][size])
        _put_adapters(config, list(adapters.values()))
        apply_options(config, {key: values[key] for key in self.settings if key in values})

    def own_values(self, config: Config) -> dict[str, Any]:
        """See :class:`Step`."""
        sizes = {full: self.candidates[name].adapter[size] for full, name, size, _ in self._sizes()}
        return sizes | SettingsStep(self.settings).own_values(config)

    def _sizes(self) -> Iterator[tuple[str, str, str, dict[str, Parameter]]]:
        for name, candidate in self.candidates.items():
            for size in candidate.sizes:
                yield f'{name}.{size}', name, size, candidate.sizes


def first_step(space: Space) -> Step:
    """Return the choice of adapters if the space has candidates, otherwise its settings."""
    return AdaptersStep(space.adapters) if space.adapters else SettingsStep(space.settings)


def second_step(space: Space, chosen: Mapping[str, bool]) -> SizesStep | None:
    """Return the sizes of the chosen candidates; None if there is nothing to vary."""
    candidates = {name: c for name, c in space.adapters.items() if chosen.get(name)}
    step = SizesStep(candidates, space.settings)
    return step if step.parameters else None


def check_fits(space: Space, config: Config) -> None:
    """Raise a UserError if a config counts no epochs, or has no place for a parameter."""
    if find_setting(config, EPOCHS, None) is None:
        raise UserError(
            f'a search judges after each epoch, and {config.filename} has no {EPOCHS}: give a '
            'config that counts epochs (by_epoch=True)'
        )
    if not all(isinstance(n, int) and n >= 1 for n in numbers_of_epochs(space)):
        raise UserError(f'the search space varies {EPOCHS}, which has whole numbers of 1 or more')
    for name in space.settings:
        if _is_lost_by_peft(name, config):
            raise UserError(
                f'the search space varies {name}, but with --peft the settings of adapters are at '
                'model.backbone.adapters.N, as in model.backbone.adapters.0.rank'
            )
        decided = reason_decided(name, SEARCH_OPTIONS)
        if problem := decided or reason_ignored(name, config, config):
            raise UserError(f'the search space varies {name}, but {problem}')
    if space.adapters and find_setting(config, 'model.backbone.module') is MISSING:
        raise UserError(f'{config.filename} adapts no backbone (it has no model.backbone.module)')


def numbers_of_epochs(space: Space) -> tuple[float, ...]:
    """Return the numbers of epochs that a space has, or their ends; none where it varies none."""
    found = space.settings.get(EPOCHS, Choices(()))
    return found.values if isinstance(found, Choices) else (found.low, found.high)


def _is_lost_by_peft(name: str, config: Config) -> bool:
    parent, _, setting = name.rpartition('.')
    if parent != 'model.backbone' or find_setting(config, 'model.backbone.type') != 'PEFTModel':
        return False
    return setting not in ('adapters', 'module')


def describe_settings(values: Mapping[str, Any]) -> str:
    """Return settings in one line, each by the last part of its key if that is unique."""
    named = with_short_keys(values).items()
    texts = {n: f'{v:.3g}' if isinstance(v, float) else str(v) for n, v in named}
    return ', '.join(f'{name}={text}' for name, text in texts.items())


def _put_adapters(config: Config, adapters: list[dict]) -> None:
    module = config.model.backbone.module
    config.model.backbone = dict(type='PEFTModel', adapters=adapters, module=module)
