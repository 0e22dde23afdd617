"""Weights of ViT, DeiT and Swin by their authors, for mmpretrain's classes."""

import re
from collections.abc import Mapping

import torch
from torch import nn

from memba_vision.weights import replace_in_names, under_names

#: The authors' names, which are timm's too, as patterns, and mmpretrain's.
_VIT = (
    (r'^blocks\.', 'layers.'),
    (r'\.norm([12])\.', r'.ln\1.'),
    (r'\.mlp\.fc1\.', '.ffn.layers.0.0.'),
    (r'\.mlp\.fc2\.', '.ffn.layers.1.'),
    (r'^norm\.', 'ln1.'),
    (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
)
_SWIN = (
    (r'^layers\.', 'stages.'),
    (r'\.attn\.', '.attn.w_msa.'),
    (r'\.mlp\.fc1\.', '.ffn.layers.0.0.'),
    (r'\.mlp\.fc2\.', '.ffn.layers.1.'),
    (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
)
#: Tables that follow from the settings; files hold them or not.
_COMPUTED = ('relative_position_index', 'attn_mask')


def names_of_mmpretrain(
    backbone: nn.Module, tensors: Mapping[str, torch.Tensor], source: str
) -> dict[str, torch.Tensor]:
    """Return a file's weights under the names that mmpretrain's ViT or Swin has for them.

    Weights that have these names, and those of other backbones, stay as they are.

    Args:
        backbone: the receiver of the weights.
        tensors: by name; a prefix of all names does not matter.
        source: the file, for the error's text.

    Raises:
        UserError: two names become one.
    """
    for kind in type(backbone).__mro__:
        convert = _CONVERTERS.get(f'{kind.__module__}.{kind.__qualname__}')
        if convert:
            return convert(backbone, tensors, source)
    return dict(tensors)


def _vit(
    backbone: nn.Module, tensors: Mapping[str, torch.Tensor], source: str
) -> dict[str, torch.Tensor]:
    anchors = ['blocks.0.norm1.weight', 'layers.0.ln1.weight']
    named = under_names(tensors, anchors, source)
    return replace_in_names(named, _VIT) if anchors[0] in named else named


def _swin(
    backbone: nn.Module, tensors: Mapping[str, torch.Tensor], source: str
) -> dict[str, torch.Tensor]:
    anchors = ['layers.0.blocks.0.norm1.weight', 'stages.0.blocks.0.norm1.weight']
    named = under_names(tensors, anchors, source)
    if anchors[0] in named:
        named = _swin_renamed(named, last_norm=f'norm{len(backbone.stages) - 1}.')
    computed = {n: t for n, t in backbone.state_dict().items() if n.endswith(_COMPUTED)}
    return {n: t for n, t in named.items() if not n.endswith(_COMPUTED)} | computed


#: By class; importing them would import all of mmpretrain's models.
_CONVERTERS = {
    'mmpretrain.models.backbones.vision_transformer.VisionTransformer': _vit,
    'mmpretrain.models.backbones.swin_transformer.SwinTransformer': _swin,
}


def _swin_renamed(tensors: Mapping[str, torch.Tensor], last_norm: str) -> dict[str, torch.Tensor]:
    named = {re.sub(r'^norm\.', last_norm, name): t for name, t in tensors.items()}
    if 'layers.0.downsample.reduction.weight' not in named:  # timm has it before the stage
        named = {_moved_back(name): tensor for name, tensor in named.items()}
    named = {n: _unfolded(t) if '.downsample.' in n else t for n, t in named.items()}
    return replace_in_names(named, _SWIN)


def _moved_back(name: str) -> str:
    return re.sub(r'(?<=^layers\.)\d+(?=\.downsample\.)', lambda m: str(int(m[0]) - 1), name)


def _unfolded(weight: torch.Tensor) -> torch.Tensor:
    """Reorder the inputs of a merge of 2 x 2 neighbours, the last axis of ``weight``.

    The authors put whole neighbours side by side, column by column, and mmpretrain, by torch's
    unfold, the four values of each channel, row by row.
    """
    neighbours = weight.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return neighbours.transpose(-1, -2).flatten(-2)
