"""Architectures of VMamba, and files with their weights: the names in them, and loading."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from memba_vision.models.backbones.arch_check import count_blocks
from memba_vision.models.backbones.weight_files import WeightFiles
from memba_vision.weights import replace_in_names

WIDE = dict(embed_dims=128)
V2 = dict(embed_dims=96, version='v2', d_state=1)
V0 = dict(embed_dims=96, version='v0', d_state=16, ssm_ratio=2)
#: The published architectures: ``s1l8`` says an SSM ratio of 1 and 8 blocks in the third stage.
ARCHS = MappingProxyType(
    {
        'tiny_s1l8': V2 | dict(depths=(2, 2, 8, 2), ssm_ratio=1),
        'tiny_s2l5': V2 | dict(depths=(2, 2, 5, 2), ssm_ratio=2),
        'small_s2l15': V2 | dict(depths=(2, 2, 15, 2), ssm_ratio=2),
        'small_s1l20': V2 | dict(depths=(2, 2, 20, 2), ssm_ratio=1),
        'base_s2l15': V2 | WIDE | dict(depths=(2, 2, 15, 2), ssm_ratio=2),
        'base_s1l20': V2 | WIDE | dict(depths=(2, 2, 20, 2), ssm_ratio=1),
        'v0_tiny': V0 | dict(depths=(2, 2, 9, 2)),
        'v0_small': V0 | dict(depths=(2, 2, 27, 2)),
        'v0_base': V0 | WIDE | dict(depths=(2, 2, 27, 2)),
    }
)
#: Settings that a dict of an architecture may leave out, by version.
DEFAULTS = MappingProxyType(
    {'v2': dict(d_state=1, ssm_ratio=2), 'v0': dict(d_state=16, ssm_ratio=2)}
)
#: Parts of the names in older files, as patterns, and those in newer ones.
_OLDER = (
    (r'^patch_embed\.proj\.', 'patch_embed.0.'),
    (r'^patch_embed\.norm\.', 'patch_embed.2.'),
    (r'^norm\.', 'classifier.norm.'),
    (r'^classifier\.head\.', 'head.'),
    (r'(\.blocks\.\d+)\.ln_1\.', r'\1.norm.'),
    (r'(\.blocks\.\d+)\.self_attention\.', r'\1.op.'),
)


class VMambaFiles(WeightFiles):
    """The files of VMamba, the older ones with other names and 1 x 1 convolutions too."""

    anchors = (
        *('patch_embed.0.weight', 'patch_embed.proj.weight'),
        *('classifier.norm.weight', 'layers.0.blocks.0.norm.weight'),
    )
    kept = ('classifier.norm.',)

    def rename(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the tensors under the names of today's files; the head is ``head``."""
        return replace_in_names(tensors, _OLDER)

    def fit(
        self, backbone: nn.Module, tensors: Mapping[str, torch.Tensor], source: str
    ) -> dict[str, torch.Tensor]:
        """Flatten 1 x 1 kernels of linear layers, and compare the archs.

        Raises:
            UserError: the weights are of another arch.
        """
        own = backbone.state_dict()
        flat = {
            name: tensor.flatten(1) if _is_kernel(tensor, own.get(name)) else tensor
            for name, tensor in tensors.items()
        }
        return super().fit(backbone, flat, source)

    def arch_of(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any] | None:
        """Return the settings of the architecture that weights are of, by their names and shapes.

        None where they are not of a whole VMamba.
        """
        first = 'layers.0.blocks.0'
        wanted = (f'{first}.op.out_proj.weight', f'{first}.op.A_logs')
        if not all(name in tensors and tensors[name].ndim == 2 for name in wanted):
            return None
        stages = range(count_blocks(tensors, 'layers.'))
        depths = tuple(count_blocks(tensors, f'layers.{stage}.blocks.') for stage in stages)
        (embed_dims, d_inner), (_, d_state) = (tensors[name].shape for name in wanted)
        return dict(
            embed_dims=embed_dims,
            depths=depths,
            ssm_ratio=d_inner // embed_dims,
            d_state=d_state,
            version='v2' if f'{first}.mlp.fc1.weight' in tensors else 'v0',
        )


def _is_kernel(tensor: torch.Tensor, own: torch.Tensor | None) -> bool:
    """Return True for a 1 x 1 kernel where the backbone has the weight of a linear layer."""
    return own is not None and own.ndim == 2 and tensor.shape[2:] == (1, 1)


FILES = VMambaFiles()
