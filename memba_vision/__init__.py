"""Adapt vision Mamba models with few trained parameters, as a plugin for mmpretrain.

Importing the package enters its classes into mmpretrain's registries.
"""

from memba_vision.discovery import as_if_missing
from memba_vision.errors import UserError

# mmengine loads it where it is installed, for one optimizer: seconds of every process.
with as_if_missing('transformers'):
    from memba_vision import datasets, engine, models

__version__ = '0.1.0'
__all__ = ['UserError', 'datasets', 'engine', 'models']
