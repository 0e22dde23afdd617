"""Adapt vision Mamba models with few trained parameters, as a plugin for mmpretrain.

Importing the package enters its classes into mmpretrain's registries.
"""

from memba_vision import datasets, engine, models
from memba_vision.errors import UserError

__version__ = '0.1.0'
__all__ = ['UserError', 'datasets', 'engine', 'models']
