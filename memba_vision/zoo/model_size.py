"""Sizes of adapters on a backbone, counted without its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.parameter_counts import count_parameters
from memba_vision.models.peft.model import attach_adapters
from memba_vision.models.peft.sharing import copy_sharing_weights
from memba_vision.registry import MODELS


@dataclass(frozen=True)
class Size:
    """Names and sizes of a method's adapters on a backbone.

    Attributes:
        adapters: their names, in the order they are attached.
        trained: parameters that train, the head aside.
        share: of the backbone's own, in percent.
    """

    adapters: tuple[str, ...]
    trained: int
    share: float


def measure_size(backbone: nn.Module, adapters: Sequence[dict]) -> Size:
    """Attach adapters to a copy of ``backbone``, which may be on the meta device, and count."""
    total = count_parameters(backbone)[1]
    adapted = copy_sharing_weights(backbone)
    with torch.device('meta'):
        attach_adapters(adapted, adapters)
    trained = count_parameters(adapted)[0]
    return Size(tuple(adapter['type'] for adapter in adapters), trained, 100 * trained / total)


def build_without_weights(config: Config) -> nn.Module:
    """Return the backbone of a config on the meta device: shapes, but no memory.

    Raises:
        UserError: the config adapts no backbone.
    """
    module = config.get('model', {}).get('backbone', {}).get('module')
    if module is None:
        raise UserError(f'{config.filename} adapts no backbone (it has no model.backbone.module)')
    return build_on_meta(module)


def build_on_meta(backbone: Mapping[str, Any]) -> nn.Module:
    """Build a backbone by its settings on the meta device: shapes, but no memory."""
    init_default_scope('mmpretrain')
    without_weights = {**backbone, 'init_cfg': None}
    try:
        with torch.device('meta'):
            return MODELS.build(without_weights)
    except (RuntimeError, NotImplementedError):  # it computes with tensors while it is built
        return MODELS.build(without_weights).to('meta')
