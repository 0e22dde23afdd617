"""Backbones and adapters, registered with mmpretrain."""

from memba_vision.models.backbones import MambaReg, MambaVision, Vim, VMamba
from memba_vision.models.heads import FactorHead
from memba_vision.models.necks import FeatureNorm
from memba_vision.models.peft import Adapter, MembaModel, PEFTModel

__all__ = [
    'Adapter',
    'FactorHead',
    'FeatureNorm',
    'MambaReg',
    'MambaVision',
    'MembaModel',
    'PEFTModel',
    'VMamba',
    'Vim',
]
