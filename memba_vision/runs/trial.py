"""Settings that are tried, so that the best can be chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmengine.config import Config

from memba_vision.errors import UserError
from memba_vision.runs.known_settings import (
    OPTIONS_OF_TRIALS,
    find_setting,
    missing,
    reason_decided,
)
from memba_vision.runs.options import apply_options
from memba_vision.runs.validation import use_validation_split


@dataclass(frozen=True)
class Trial:
    """Settings that a run tries, and the data that judge them.

    Attributes:
        settings: values by key, as the command line spells them. A key is a dotted one, as of
            ``--cfg-options``, or the name of a setting of adapters, as 'scale', which stands for
            that of every adapter that has it.
        validate: True to train on ``train800`` and to measure on ``val200``.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    validate: bool = False

    @property
    def chooses(self) -> bool:
        """True where settings are chosen by it, for which earlier choices must not count."""
        return self.validate and bool(self.settings)

    def apply(self, config: Config) -> None:
        """Put it into a config, whose ``tried`` are the values by key afterwards.

        Raises:
            UserError: a key is not one that the config has, a value does not fit, or the data have
                no validation split.
        """
        if self.settings:
            config.tried = {key: _put(config, key, text) for key, text in self.settings.items()}
        if self.validate:
            use_validation_split(config)


def _put(config: Config, key: str, value: Any) -> Any:
    if problem := reason_decided(key, OPTIONS_OF_TRIALS):
        raise UserError(f'{key} cannot be tried: {problem}')
    places = setting_places(config, key)
    if not places:
        raise UserError(f'{key} cannot be tried: {missing(key, config)}')
    try:
        apply_options(config, dict.fromkeys(places, value))
    except UserError as error:
        reason = str(error).removeprefix('--cfg-options: ').partition(' (to set it on purpose')[0]
        raise UserError(f'{key} cannot be tried: {reason}') from error
    return find_setting(config, places[0])


def setting_places(config: Config, key: str) -> list[str]:
    """Return the dotted keys that a key stands for: itself, or a setting of every adapter.

    An empty list: it is a setting of adapters, and none in the config has it.
    """
    if '.' in key or key in config:
        return [key]
    backbone = config.get('model', {}).get('backbone') or {}
    adapters = enumerate(backbone.get('adapters') or [])
    places = [f'model.backbone.adapters.{i}.{key}' for i, adapter in adapters if key in adapter]
    return places or [f'model.backbone.{key}'] * (key in backbone)
