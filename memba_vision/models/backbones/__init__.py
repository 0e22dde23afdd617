"""Vision Mamba backbones."""

from memba_vision.models.backbones.vim import Vim

__all__ = ['Vim']
