"""The registries that this package enters its classes into: mmpretrain's, and one of its own."""

from mmengine.registry import Registry
from mmpretrain.registry import DATASETS, HOOKS, MODELS

#: The ways to adapt a backbone, the ``adapters`` of a :class:`memba_vision.PEFTModel`.
ADAPTERS = Registry('adapter', scope='mmpretrain')

__all__ = ['ADAPTERS', 'DATASETS', 'HOOKS', 'MODELS']
