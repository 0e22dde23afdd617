"""Vision Mamba backbones, and those of the timm library."""

from memba_vision.models.backbones.timm_model import TimmModel
from memba_vision.models.backbones.vim import Vim

__all__ = ['TimmModel', 'Vim']
