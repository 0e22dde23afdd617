"""The steps of a search: what each varies, and how that gets into a config."""

from collections import Counter
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config

from memba_vision.errors import UserError
from memba_vision.runs.image_size import following_image_size
from memba_vision.runs.known_settings import MISSING, find_setting, why_unread
from memba_vision.search.space import Candidate, Choices, Parameter, Space


@dataclass(frozen=True)
class SettingsStep:
    """Varies settings of the config."""

    settings: dict[str, Parameter]
    name: str = 'settings'

    @property
    def key(self) -> str:
        """What its study and the folders of its trials are called."""
        return self.name

    @property
    def parameters(self) -> dict[str, Parameter]:
        """What is searched, by name."""
        return self.settings

    def apply(self, config: Config, values: Mapping[str, Any]) -> None:
        """Put values into a config."""
        _put_settings(config, values)

    def describe(self, values: Mapping[str, Any]) -> str:
        """Values in one line."""
        return describe_settings(values)

    def own_values(self, config: Config) -> dict[str, Any]:
        """What the config itself states, of what the search could try."""
        stated = {name: find_setting(config, name) for name in self.settings}
        return {
            name: value
            for name, value in stated.items()
            if value is not MISSING and self.settings[name].contains(value)
        }


@dataclass(frozen=True)
class AdaptersStep:
    """Varies which of the candidates are attached, each with its own settings."""

    candidates: dict[str, Candidate]
    name: str = 'adapters'

    @property
    def key(self) -> str:
        """What its study and the folders of its trials are called."""
        return self.name

    @property
    def parameters(self) -> dict[str, Parameter]:
        """What is searched, by name: whether each candidate is there."""
        return dict.fromkeys(self.candidates, Choices((False, True)))

    def apply(self, config: Config, values: Mapping[str, Any]) -> None:
        """Put the chosen adapters in the place of the config's method."""
        chosen = [c.adapter for name, c in self.candidates.items() if values.get(name)]
        _put_adapters(config, deepcopy(chosen))

    def describe(self, values: Mapping[str, Any]) -> str:
        """The chosen adapters in one line."""
        return ' + '.join(name for name, used in values.items() if used) or 'no adapter'

    def own_values(self, config: Config) -> dict[str, Any]:
        """None: the config's own method need not be a combination of the candidates."""
        return {}


@dataclass(frozen=True)
class SizesStep:
    """Varies the sizes of chosen adapters, and settings of the config."""

    candidates: dict[str, Candidate]
    settings: dict[str, Parameter]
    name: str = 'sizes'

    @property
    def key(self) -> str:
        """What its study and the folders of its trials are called: each combination has its own."""
        return '-'.join([self.name, *self.candidates])

    @property
    def parameters(self) -> dict[str, Parameter]:
        """What is searched, by name: ``candidate.size`` and settings."""
        return {full: sizes[size] for full, _, size, sizes in self._sizes()} | self.settings

    def apply(self, config: Config, values: Mapping[str, Any]) -> None:
        """Put adapters and settings into a config."""
        adapters = {name: dict(c.adapter) for name, c in self.candidates.items()}
        for full, name, size, _ in self._sizes():
            adapters[name][size] = values.get(full, adapters[name][size])
        _put_adapters(config, list(adapters.values()))
        _put_settings(config, {key: values[key] for key in self.settings if key in values})

    def describe(self, values: Mapping[str, Any]) -> str:
        """Values in one line."""
        return describe_settings(values)

    def own_values(self, config: Config) -> dict[str, Any]:
        """What the candidates and the config state."""
        sizes = {full: self.candidates[name].adapter[size] for full, name, size, _ in self._sizes()}
        return sizes | SettingsStep(self.settings).own_values(config)

    def _sizes(self) -> Iterator[tuple[str, str, str, dict[str, Parameter]]]:
        for name, candidate in self.candidates.items():
            for size in candidate.sizes:
                yield f'{name}.{size}', name, size, candidate.sizes


Step = SettingsStep | AdaptersStep | SizesStep


def first_step(space: Space) -> Step:
    """Which adapters, where the space has candidates; otherwise the settings."""
    return AdaptersStep(space.adapters) if space.adapters else SettingsStep(space.settings)


def second_step(space: Space, chosen: Mapping[str, bool]) -> SizesStep | None:
    """The sizes of the chosen candidates; None where there is nothing to vary."""
    candidates = {name: c for name, c in space.adapters.items() if chosen.get(name)}
    step = SizesStep(candidates, space.settings)
    return step if step.parameters else None


def check_fits(space: Space, config: Config) -> None:
    """Raise a UserError where a config has no place for what a space varies."""
    for name in space.settings:
        if _is_lost_by_peft(name, config):
            raise UserError(
                f'the search space varies {name}, but with --peft the settings of adapters are at '
                'model.backbone.adapters.N, as in model.backbone.adapters.0.rank'
            )
        if problem := why_unread(name, config, config):
            raise UserError(f'the search space varies {name}, but {problem}')
    if space.adapters and find_setting(config, 'model.backbone.module') is MISSING:
        raise UserError(f'{config.filename} adapts no backbone (it has no model.backbone.module)')


def _is_lost_by_peft(name: str, config: Config) -> bool:
    parent, _, setting = name.rpartition('.')
    if parent != 'model.backbone' or find_setting(config, 'model.backbone.type') != 'PEFTModel':
        return False
    return setting not in ('adapters', 'module')


def describe_settings(values: Mapping[str, Any]) -> str:
    """Settings in one line, each by the end of its key where no other one ends alike."""
    ends = Counter(name.rpartition('.')[2] for name in values)
    short = {name: name.rpartition('.')[2] for name in values}
    names = {name: end if ends[end] == 1 else name for name, end in short.items()}
    texts = {n: f'{v:.3g}' if isinstance(v, float) else str(v) for n, v in values.items()}
    return ', '.join(f'{names[name]}={text}' for name, text in texts.items())


def _put_settings(config: Config, values: Mapping[str, Any]) -> None:
    with following_image_size(config):
        config.merge_from_dict(dict(values))


def _put_adapters(config: Config, adapters: list[dict]) -> None:
    module = config.model.backbone.module
    config.model.backbone = dict(type='PEFTModel', adapters=adapters, module=module)
