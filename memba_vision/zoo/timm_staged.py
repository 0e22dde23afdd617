"""VMamba and MambaVision under timm's names: ``timm.create_model('vmamba_tiny_s1l8')``.

Importing this module enters the models into timm's registry; see :mod:`memba_vision.timm`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import Format, nchw_to
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models import MambaVision, VMamba
from memba_vision.zoo.official import OFFICIAL
from memba_vision.zoo.timm_entries import default_cfgs_of, enter, load_adapted, parameters_ending_in

POOLS = ('', 'avg', 'max', 'avgmax')
STAGES = (0, 1, 2, 3)  # of all published models


class TimmStaged:
    """A backbone in stages with a head, as timm's models are called; a base beside the backbone's.

    Args:
        num_classes: outputs of the head; 0 leaves it out.
        in_chans: channels of the images.
        global_pool: 'avg' or 'max' over the last map, 'avgmax' (the mean of both), or '' for the
            map.
        drop_rate: dropout before the head.
        img_size: height and width of the images, in pixels; others will do, too.
        device: of the parameters.
        dtype: of the parameters.
        **settings: of the backbone.

    Raises:
        UserError: a setting is out of range.
    """

    stages: str  #: the attribute with the stages
    first_conv: str
    no_decay: tuple[str, ...]

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        img_size: int | Sequence[int] = 224,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(in_channels=in_chans, img_size=img_size, out_type='featmap', **settings)
        self.in_chans = in_chans
        self.num_features = self.head_hidden_size = width = self.feature_dim
        count = len(self.depths)
        self.out_indices = tuple(range(count))
        self.feature_info = [
            dict(
                num_chs=width // 2 ** (count - 1 - number),
                reduction=4 * 2**number,
                module=f'{self.stages}.{number}',
            )
            for number in range(count)
        ]
        self.head_drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes, global_pool)
        self.to(device=device, dtype=dtype)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Make a fresh head of so many classes; 0 leaves it out."""
        if global_pool not in (None, *POOLS):
            known = ', '.join(map(repr, POOLS))
            raise UserError(f'global_pool must be one of {known}, got {global_pool!r}')
        self.global_pool = self.global_pool if global_pool is None else global_pool
        self.num_classes = num_classes
        like = next(self.parameters())
        settings = dict(device=like.device, dtype=like.dtype)
        head = nn.Linear(self.num_features, num_classes, **settings) if num_classes else None
        self.head = (head or nn.Identity()).train(self.training)

    def get_classifier(self) -> nn.Module:
        """Return the head."""
        return self.head

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the map behind the last norm, (batch, channels, rows, columns)."""
        return super().forward(images)[-1]

    def forward_head(self, maps: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Pool a map and, without ``pre_logits``, classify: (batch, num_classes)."""
        pooled = self.head_drop(self._pool(maps))
        return pooled if pre_logits else self.head(pooled)

    def _pool(self, maps: torch.Tensor) -> torch.Tensor:
        if not self.global_pool:
            return maps
        if self.global_pool == 'avg':
            return maps.mean(dim=(2, 3))
        highest = maps.amax(dim=(2, 3))
        return highest if self.global_pool == 'max' else (highest + maps.mean(dim=(2, 3))) / 2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of normalised images."""
        return self.forward_head(self.forward_features(images))

    def forward_intermediates(
        self,
        images: torch.Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = True,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the maps of stages, as timm's feature extraction asks for them.

        Args:
            images: normalised.
            indices: the stages; a number stands for so many last ones, None for all.
            norm: not read: the map of the last stage passes the last norm, others none.
            stop_early: not read: all stages are run.
            output_fmt: 'NCHW', 'NHWC', 'NLC' or 'NCL'.
            intermediates_only: leave out the last map in front of them.

        Raises:
            UserError: there are no such stages, or no such format.
        """
        numbers = self._numbers(indices)
        try:
            output_fmt = Format(output_fmt)
        except ValueError as error:
            known = ', '.join(member.value for member in Format)
            raise UserError(f'output_fmt must be one of {known}, got {output_fmt!r}') from error
        maps = super().forward(images)
        chosen = [nchw_to(maps[number], output_fmt) for number in numbers]
        return chosen if intermediates_only else (maps[-1], chosen)

    def _numbers(self, indices: int | Sequence[int] | None) -> list[int]:
        count = len(self.depths)
        wanted = range(-indices, 0) if isinstance(indices, int) else indices or range(count)
        if any(not -count <= number < count for number in wanted):
            raise UserError(f'no stages {indices}: there are {count}')
        return sorted({number % count for number in wanted})

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the head if asked to; all stages stay.

        Returns:
            The numbers of the stages of ``indices``.
        """
        if prune_head:
            self.reset_classifier(0, '')
        return self._numbers(indices)

    def no_weight_decay(self) -> set[str]:
        """Return the parameters that weight decay would harm, by their full names."""
        return parameters_ending_in(self, self.no_decay)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass."""
        for module in self.modules():
            if hasattr(module, 'with_cp'):
                module.with_cp = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return patterns of each layer's parameters, for decaying the learning rate by depth."""
        blocks = rf'^{self.stages}\.(\d+)' + ('' if coarse else r'\.blocks\.(\d+)')
        downsample = rf'^{self.stages}\.(\d+)\.downsample'
        last = (r'^classifier|^norm', (99999,))
        return dict(stem=r'^patch_embed', blocks=[(blocks, None), (downsample, (0,)), last])

    def load_pretrained(self, path: str) -> None:
        """Load an official checkpoint strictly; its head only where it has as many classes.

        The first convolution is adapted to ``in_chans`` as timm does.
        """
        weights = self.files.fit(self, self.files.read(path).tensors, str(path))
        load_adapted(self, weights, self.first_conv, str(path))


class TimmVMamba(TimmStaged, VMamba):
    """:class:`memba_vision.models.VMamba` with a head; see :class:`TimmStaged`."""

    stages = 'layers'
    no_decay = VMamba.no_weight_decay
    first_conv = 'patch_embed.0'


class TimmMambaVision(TimmStaged, MambaVision):
    """:class:`memba_vision.models.MambaVision` with a head; see :class:`TimmStaged`."""

    stages = 'levels'
    no_decay = MambaVision.no_weight_decay
    first_conv = 'patch_embed.conv_down.0'


KINDS = {'VMamba': TimmVMamba, 'MambaVision': TimmMambaVision}
MODELS = {name: official for name, official in OFFICIAL.items() if official.family in KINDS}
default_cfgs = default_cfgs_of(MODELS, {name: kind.first_conv for name, kind in KINDS.items()})
for _name, _official in MODELS.items():
    enter(_name, _official, KINDS[_official.family], __name__, out_indices=STAGES)
