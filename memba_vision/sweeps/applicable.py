"""Methods that a backbone can take."""

import json
from collections.abc import Sequence

from mmengine.config import Config
from torch import nn

from memba_vision.errors import UserError
from memba_vision.zoo.model_size import build_on_meta, measure_size


def can_adapt(configs: Sequence[Config]) -> list[bool]:
    """Return for each config True if its backbone has the places that its adapters need.

    Adapters are attached to backbones without weights, once for each backbone and method.

    Args:
        configs: whole configs, with a backbone that is adapted.
    """
    backbones: dict[str, nn.Module] = {}
    answers: dict[str, bool] = {}
    keys = [_as_text(config.model.backbone) for config in configs]
    for key, config in zip(keys, configs, strict=True):
        if key not in answers:
            answers[key] = _can_adapt(config.model.backbone, backbones)
    return [answers[key] for key in keys]


def _can_adapt(settings: dict, backbones: dict[str, nn.Module]) -> bool:
    if 'module' not in settings:
        return True
    key = _as_text(settings.module)
    if key not in backbones:
        backbones[key] = build_on_meta(settings.module)
    try:
        measure_size(backbones[key], settings.get('adapters') or [])
    except UserError:
        return False
    return True


def _as_text(settings: dict) -> str:
    return json.dumps(settings, sort_keys=True, default=str)
