"""Vision Mamba backbones, and those of the timm library."""

from memba_vision.models.backbones.mamba_reg import MambaReg
from memba_vision.models.backbones.mamba_vision import MambaVision
from memba_vision.models.backbones.timm_model import TimmModel
from memba_vision.models.backbones.vim import Vim
from memba_vision.models.backbones.vmamba import VMamba

__all__ = ['MambaReg', 'MambaVision', 'TimmModel', 'VMamba', 'Vim']
