"""Vision Mamba backbones."""

from memba_vision.models.backbones.mamba_reg import MambaReg
from memba_vision.models.backbones.mamba_vision import MambaVision
from memba_vision.models.backbones.vim import Vim
from memba_vision.models.backbones.vmamba import VMamba

__all__ = ['MambaReg', 'MambaVision', 'VMamba', 'Vim']
