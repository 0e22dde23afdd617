"""The families of backbones: their papers, how they say themselves, and their files of weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memba_vision.models.backbones.weight_files import WeightFiles
from memba_vision.registry import MODELS


@dataclass(frozen=True)
class Family:
    """A family of backbones, as OpenMMLab's index describes it.

    Attributes:
        title: its name in texts.
        paper: the title of the paper.
        url: the address of the paper.
        parts: the kinds of layers that it is made of.
    """

    title: str
    paper: str
    url: str
    parts: tuple[str, ...]


_SSM = 'State Space Model'
_ATTENTION = 'Attention'
#: By the class of the backbone.
FAMILIES = {
    'Vim': Family(
        'Vim',
        'Vision Mamba: Efficient Visual Representation Learning with Bidirectional State Space '
        'Model',
        'https://arxiv.org/abs/2401.09417',
        (_SSM, 'RMSNorm'),
    ),
    'VMamba': Family(
        'VMamba',
        'VMamba: Visual State Space Model',
        'https://arxiv.org/abs/2401.10166',
        (_SSM, 'Layer Normalization'),
    ),
    'MambaReg': Family(
        'Mamba-R',
        'Mamba-R: Vision Mamba ALSO Needs Registers',
        'https://arxiv.org/abs/2405.14858',
        (_SSM, 'RMSNorm', 'Registers'),
    ),
    'MambaVision': Family(
        'MambaVision',
        'MambaVision: A Hybrid Mamba-Transformer Vision Backbone',
        'https://arxiv.org/abs/2407.08083',
        (_SSM, _ATTENTION, 'Batch Normalization'),
    ),
    'VisionTransformer': Family(
        'Vision Transformer',
        'An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale',
        'https://arxiv.org/abs/2010.11929',
        (_ATTENTION, 'Layer Normalization'),
    ),
    'SwinTransformer': Family(
        'Swin Transformer',
        'Swin Transformer: Hierarchical Vision Transformer using Shifted Windows',
        'https://arxiv.org/abs/2103.14030',
        (_ATTENTION, 'Layer Normalization'),
    ),
}


def family_title(kind: str) -> str:
    """Return the name of a family in texts, by the class of its backbones."""
    return FAMILIES[kind].title if kind in FAMILIES else kind


def files_of(backbone: Mapping[str, Any]) -> WeightFiles:
    """Return what reads the files of weights of a backbone, given by its settings."""
    return getattr(MODELS.get(backbone['type']), 'files', None) or WeightFiles()
