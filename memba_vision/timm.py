"""Vim under timm's names: import this, then ``timm.create_model('vim_small_patch16_224')``.

timm has no way to announce models of other packages; where timm was imported before
``memba_vision``, that enters them too.

Raises:
    UserError: timm is missing, or too old for these models.
"""

from importlib.metadata import PackageNotFoundError, version

from memba_vision.errors import UserError

try:
    from memba_vision.zoo.timm_models import MODELS
except ImportError as error:
    try:
        found = f'found timm {version("timm")}'
    except PackageNotFoundError:
        found = 'found none'
    raise UserError(
        f"the models under timm's names need a newer timm ({found}: {error}): pip install -U timm"
    ) from error

__all__ = ['MODELS']
