"""Adapters of a frozen backbone: one wrapper, and one small class per method."""

from memba_vision.discovery import import_submodules
from memba_vision.models.peft.adapter import Adapter
from memba_vision.models.peft.folding import FoldedBackbone, fold
from memba_vision.models.peft.memba import MembaModel
from memba_vision.models.peft.model import PEFTModel

import_submodules(__name__, __path__)

__all__ = ['Adapter', 'FoldedBackbone', 'MembaModel', 'PEFTModel', 'fold']
