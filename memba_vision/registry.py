"""Registries of this package's classes: mmpretrain's, and one of its own."""

import warnings

from mmengine.registry import Registry
from mmpretrain.registry import (
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    TRANSFORMS,
)

#: The ways to adapt a backbone, the ``adapters`` of a :class:`memba_vision.PEFTModel`.
ADAPTERS = Registry('adapter', scope='mmpretrain')


def ignore_missing_operator() -> None:
    """Silence the warning about a compiled operator that mmcv-lite lacks and nothing here uses."""
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')


__all__ = [
    'ADAPTERS',
    'DATASETS',
    'HOOKS',
    'METRICS',
    'MODELS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'TRANSFORMS',
    'ignore_missing_operator',
]
