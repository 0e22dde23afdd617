"""Adapt vision Mamba models with few trained parameters, as a plugin for mmpretrain.

Importing the package enters its classes into mmpretrain's registries, its models into mmpretrain's
index, and, once timm is imported, into timm's. Configs anywhere can inherit from those that come
with it.
"""

from importlib import import_module
from typing import Any

from memba_vision.discovery import after_import, as_if_missing
from memba_vision.errors import UserError

# mmengine loads it where it is installed, for one optimizer: seconds of every process.
with as_if_missing('transformers'):
    from memba_vision import datasets, engine, models
    from memba_vision.apis.external_bases import register_bases
    from memba_vision.apis.model_index import register_models

__version__ = '0.1.0'

# What is imported when it is asked for.
_FUNCTIONS = {
    'AdapterBank': 'memba_vision.apis.bank',
    'Inferencer': 'memba_vision.apis.inference',
    'deploy': 'memba_vision.apis.deploy',
    'extract_features': 'memba_vision.apis.inference',
    'get_model': 'memba_vision.apis.models',
    'list_models': 'memba_vision.apis.models',
    'load_trained': 'memba_vision.apis.predict',
}
__all__ = ['UserError', 'datasets', 'engine', 'models', *_FUNCTIONS]

register_bases()
register_models()
after_import('timm', lambda: import_module('memba_vision.apis.timm_models'))


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
