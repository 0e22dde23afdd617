"""All families under timm's names: import this, then ``timm.create_model('vmamba_tiny_s1l8')``.

timm has no way to announce models of other packages; where timm was imported before
``memba_vision``, that enters them too.

Raises:
    UserError: timm is missing, or too old for these models.
"""

from importlib.metadata import PackageNotFoundError, version

from memba_vision.errors import UserError

try:
    from memba_vision.zoo import timm_models, timm_staged
except ImportError as error:
    try:
        found = f'found timm {version("timm")}'
    except PackageNotFoundError:
        found = 'found none'
    raise UserError(
        f"the models under timm's names need a newer timm ({found}: {error}): pip install -U timm"
    ) from error

#: The published checkpoints by timm's names.
MODELS = {**timm_models.MODELS, **timm_staged.MODELS}

__all__ = ['MODELS']
