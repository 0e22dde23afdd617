"""Backbones and the ways to adapt them, entered into mmpretrain's registries."""

from memba_vision.models.backbones import MambaReg, MambaVision, Vim, VMamba
from memba_vision.models.necks import FeatureNorm
from memba_vision.models.peft import Adapter, MembaModel, PEFTModel

__all__ = [
    'Adapter',
    'FeatureNorm',
    'MambaReg',
    'MambaVision',
    'MembaModel',
    'PEFTModel',
    'VMamba',
    'Vim',
]
