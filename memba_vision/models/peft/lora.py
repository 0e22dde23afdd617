"""LoRA (Hu et al. 2022): a low-rank update beside a frozen projection."""

import math
from collections.abc import Collection, Sequence
from pathlib import Path

from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.patches import innermost
from memba_vision.models.peft.adapter import merge_layers, replace_module
from memba_vision.models.peft.hf_format import save_low_rank
from memba_vision.models.peft.lora_layers import (
    ExposedLoRALinear,
    LoRAConv2d,
    LoRALinear,
    PartialLoRALinear,
)
from memba_vision.models.peft.lora_starts import STARTS, StartedLoRALinear
from memba_vision.models.peft.low_rank import AdditiveLayer, LowRankAdapter, LowRankLayer
from memba_vision.models.peft.setting_checks import check_above_zero, check_switch
from memba_vision.models.peft.targets import find_parts, find_targets
from memba_vision.models.sites import check_share_of_blocks
from memba_vision.registry import ADAPTERS


@ADAPTERS.register_module()
class LoRA(LowRankAdapter):
    """LoRA on every projection that ``targets`` names, the patch embedding's convolution too.

    Trains ``rank * (in_features + out_features)`` parameters per projection; rank 64 on
    ``in_proj`` and ``out_proj`` of Vim-S makes 4,718,592, on ``x_proj`` and ``x_proj_b``
    2,531,328, on ``dt_proj`` and ``dt_proj_b`` 2,433,024; rank 32 on ``patch_embed.proj`` 36,864.
    Source: Hu et al. 2022, section 4; on Vim, Yoshimura et al. 2025 (MambaPEFT), section 3.

    Three variants are settings: rsLoRA (Kalajdzievski 2023), whose scale falls with the root of the
    rank; LoRA+ (Hayou et al. 2024), whose ``up`` has a higher learning rate; PiSSA and OLoRA, which
    start from a part of the weights (:mod:`memba_vision.models.peft.lora_starts`).

    Args:
        targets: names or roles (:data:`memba_vision.models.sites.ROLES`) of linear layers or 2D
            convolutions. Of a role such as 'mix.x' the outputs that it stands for are adapted.
        rank: width of the bottleneck.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
        rank_stabilized: divide ``scale`` by the square root of ``rank``.
        up_lr_factor: learning rate of ``up``, in units of that of all others.
        init: 'zero' (``up`` is), 'pissa' or 'olora'; the latter two for whole linear layers.
        blocks: see :func:`memba_vision.models.sites.check_share_of_blocks`.
    """

    added_later = ('rank_stabilized', 'up_lr_factor', 'init', 'blocks')

    def __init__(
        self,
        targets: Sequence[str] = ('in_proj', 'out_proj'),
        rank: int = 64,
        scale: float = 0.1,
        drop_rate: float = 0.1,
        rank_stabilized: bool = False,
        up_lr_factor: float = 1.0,
        init: str = 'zero',
        blocks: Sequence[float] | None = None,
    ) -> None:
        super().__init__(targets, rank, scale, drop_rate)
        if init not in ('zero', *STARTS):
            known = ', '.join(('zero', *STARTS))
            raise UserError(f'LoRA: unknown init {init!r}; known are {known}')
        check_above_zero('LoRA', 'up_lr_factor', up_lr_factor)
        check_switch('LoRA', 'rank_stabilized', rank_stabilized)
        if rank_stabilized:
            self.settings['scale'] = scale / math.sqrt(rank)
        if init == 'pissa' and scale <= 0:
            raise UserError(f"LoRA: init='pissa' needs a scale above 0, got {scale}")
        self.up_lr_factor = up_lr_factor
        self.init = init
        check_share_of_blocks('LoRA', blocks)
        self.blocks = blocks

    def attach(self, backbone: nn.Module) -> None:
        """Wrap the targets.

        Those of a role that stands for some outputs get a :class:`PartialLoRALinear`, other linear
        layers a :class:`LoRALinear` or, with another ``init``, a :class:`StartedLoRALinear`,
        convolutions a :class:`LoRAConv2d`.
        """
        parts = find_parts(backbone, self.targets, [AdditiveLayer], self.blocks)
        whole = [target for target in self.targets if target not in parts]
        kinds = [nn.Linear, nn.Conv2d]
        found = find_targets(backbone, whole, kinds, [AdditiveLayer], blocks=self.blocks)
        self._check_whole(found, parts)
        for name, layer in found.items():
            _check_convolution(name, layer)
        for name, layer in found.items():
            self._put(backbone, name, self._wrapped(layer))
        for role, places in parts.items():
            for place in places:
                layer = backbone.get_submodule(place.module)
                rows = place.rows or range(layer.out_features)
                adapted = PartialLoRALinear(layer, role, rows, **self.settings)
                self._put(backbone, place.module, adapted)

    def _check_whole(self, found: dict[str, nn.Module], parts: Collection[str]) -> None:
        """Raise a UserError where another start than zero is for a convolution or some outputs."""
        convolutions = [name for name, layer in found.items() if isinstance(layer, nn.Conv2d)]
        if self.init != 'zero' and (parts or convolutions):
            raise UserError(
                f'LoRA: init={self.init!r} is for whole linear layers, not for '
                f'{[*parts, *convolutions][0]}: leave that out, or set init="zero"'
            )

    def _wrapped(self, layer: nn.Module) -> LowRankLayer:
        if isinstance(layer, nn.Conv2d):
            return LoRAConv2d(layer, **self.settings)
        if self.init == 'zero':
            return LoRALinear(layer, **self.settings)
        return StartedLoRALinear(layer, self.init, **self.settings)

    def _put(self, backbone: nn.Module, name: str, adapted: LowRankLayer) -> None:
        adapted.up.lr_factor = self.up_lr_factor
        replace_module(backbone, name, adapted)

    def merge(self, backbone: nn.Module) -> None:
        """Add the updates to the weights; a gate keeps the hidden activations that it reads."""
        linear = LoRALinear, StartedLoRALinear, PartialLoRALinear, ExposedLoRALinear
        merge_layers(backbone, *linear, LoRAConv2d)

    def save_hf(self, backbone: nn.Module, folder: Path) -> None:
        """Save in the format of peft's LoRA.

        Raises:
            UserError: some outputs of a projection alone have an update, which peft lacks, or the
                update starts from a part of the weights, which peft takes out of them.
        """
        if self.init != 'zero':
            raise UserError(
                f'{type(self).__name__}: init={self.init!r} starts from a part of the weights, and '
                'the files of peft do not hold weights without it: export it --as merged'
            )
        if any(isinstance(module, PartialLoRALinear) for module in backbone.modules()):
            raise UserError(
                f'{type(self).__name__}: the files of peft hold updates of whole projections, and '
                'this adapter changes some outputs of one alone: export it --as merged'
            )
        save_low_rank(backbone, [LoRALinear, LoRAConv2d], self.targets, folder)


def _check_convolution(name: str, layer: nn.Module) -> None:
    """Raise a UserError for a convolution into whose kernel two convolutions do not fold."""
    plain = innermost(layer)
    if isinstance(plain, nn.Conv2d) and (plain.groups > 1 or plain.padding_mode != 'zeros'):
        raise UserError(
            f'LoRA: {name} is a convolution with groups={plain.groups} and '
            f'padding_mode={plain.padding_mode!r}, and LoRA changes those of one group that are '
            'padded with zeros: choose other targets, or SSF or GPS for this one'
        )
