"""Registration of the package with mmengine, mmpretrain and timm.

Only additions are made, under names of this package's own: what these libraries do for other
projects stays as it is.
"""

import sys
from contextlib import suppress
from functools import cache
from importlib import import_module

from memba_vision.engine.lazy_adafactor import import_optimizers
from memba_vision.errors import UserError

#: Importing them enters their classes into mmpretrain's registries.
MODULES = (
    'memba_vision.datasets.mini_vtab.dataset',
    'memba_vision.datasets.mini_vtab.source',
    'memba_vision.datasets.own_data',
    'memba_vision.datasets.source_scenes.dataset',
    'memba_vision.engine.checkpoint_loader',
    'memba_vision.engine.factor_accuracy',
    'memba_vision.engine.file_backend',
    'memba_vision.engine.flops',
    'memba_vision.engine.hooks',
    'memba_vision.engine.optim',
    'memba_vision.engine.runner',
    'memba_vision.models',
)


@cache
def register_everything() -> None:
    """Import the package and register its classes, models and configs, once in a process."""
    import_optimizers()  # before anything else imports mmengine
    from memba_vision.runs.external_bases import register_bases
    from memba_vision.zoo.model_index import register_models

    for module in MODULES:
        import_module(module)
    register_bases()
    register_models()
    if 'timm' in sys.modules:
        # An older timm goes on without them: importing memba_vision.timm says why.
        with suppress(UserError):
            import_module('memba_vision.timm')
