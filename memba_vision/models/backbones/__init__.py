"""Vision Mamba backbones."""

from memba_vision.models.backbones.vim import Vim
from memba_vision.models.backbones.vmamba import VMamba

__all__ = ['VMamba', 'Vim']
