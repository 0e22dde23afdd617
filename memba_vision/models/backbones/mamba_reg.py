"""Mamba-R, the Vim whose registers stand among the patches (Wang et al. 2024)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.backbones.arch_check import count_blocks
from memba_vision.models.backbones.vim import NORM_EPS, Vim
from memba_vision.models.backbones.vim_weights import VimFiles
from memba_vision.models.modules.linear import Linear
from memba_vision.models.modules.norm import RMSNorm
from memba_vision.models.modules.patches import spread_evenly, take_apart
from memba_vision.registry import MODELS

ARCHS = {
    'small': dict(embed_dims=384, num_layers=24, num_registers=12, reduction=2),
    'base': dict(embed_dims=768, num_layers=24, num_registers=12, reduction=4),
    'large': dict(embed_dims=1024, num_layers=48, num_registers=16, reduction=8),
}
SETTINGS = ('embed_dims', 'num_layers', 'num_registers', 'reduction')


class MambaRegFiles(VimFiles):
    """The files of Mamba-R, which tell their arch by their shapes."""

    kept = ('neck.weight',)

    def arch_of(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, int] | None:
        """Return the arch that weights are of, None where they are of no MambaReg."""
        registers, neck = tensors.get('pos_embed_cls'), tensors.get('neck.weight')
        if registers is None or neck is None or registers.ndim != 3 or neck.ndim != 2:
            return None
        (_, count, width), layers = registers.shape, count_blocks(tensors, 'layers.')
        values = width, layers, count, width // max(len(neck), 1)
        return dict(zip(SETTINGS, values, strict=True))


FILES = MambaRegFiles()


@MODELS.register_module()
class MambaReg(Vim):
    """Vim with registers, under the parameter names of the official checkpoints.

    Registers take the place of the class token: they stand at even distances among the patches,
    and each has a position of its own, ``pos_embed_cls``. Behind ``norm_f`` the layer ``neck``
    makes each narrower; side by side and normalised by ``norm_neck`` they are the feature, on
    which the official head stands. Source: Wang et al. 2024, "Mamba-R: Vision Mamba also needs
    registers", section 4. The authors state no licence for their weights.

    Args:
        arch: 'small', 'base' or 'large', or a dict with ``embed_dims``, ``num_layers``,
            ``num_registers`` and ``reduction``, how many times narrower ``neck`` makes a register,
            and whatever :class:`BidirectionalMixer` takes beside its width.
        out_type: 'registers' (batch, ``num_registers * embed_dims // reduction``), or
            'avg_featmap', 'featmap' and 'raw' as in :class:`Vim`.
        frozen_stages: as in :class:`Vim`; with all blocks, ``norm_f``, ``neck`` and ``norm_neck``
            do not train either.

    The other arguments are those of :class:`Vim`.

    Raises:
        UserError: as :class:`Vim` does, or the registers cannot be made narrower like that.
    """

    _checkpoint_filter = FILES.rename_for_classifier
    no_weight_decay = (*Vim.no_weight_decay, 'pos_embed_cls')
    family = 'MambaReg'
    files = FILES
    archs = ARCHS
    arch_settings = SETTINGS
    out_types = ('registers', 'avg_featmap', 'featmap', 'raw')
    tokens = (*Vim.tokens, 'pos_embed_cls')
    last_parts = ('norm_f', 'neck', 'norm_neck')
    _cls_has_position = False  # in pos_embed, that is

    def __init__(
        self,
        arch: str | dict = 'small',
        img_size: int | Sequence[int] = 224,
        out_type: str = 'registers',
        **settings: Any,
    ) -> None:
        super().__init__(arch, img_size, out_type=out_type, **settings)

    def _make_tokens(self, settings: dict[str, Any], with_cls_token: bool) -> None:
        if not with_cls_token:
            raise UserError('MambaReg has registers and no class token: leave with_cls_token out')
        count, reduction = settings.pop('num_registers'), settings.pop('reduction')
        if count < 1 or reduction < 1 or self.embed_dims % reduction:
            raise UserError(
                'MambaReg: num_registers must be at least 1, and reduction divide embed_dims, '
                f'{self.embed_dims}; got {count} and {reduction}'
            )
        for name, tokens in (
            ('cls_token', count),
            ('pos_embed_cls', count),
            ('pos_embed', self.num_patches),
        ):
            zeros = torch.zeros(1, tokens, self.embed_dims)
            self.register_parameter(name, nn.Parameter(zeros))
        values = self.embed_dims, self.num_layers, count, reduction
        self.settings = dict(zip(SETTINGS, values, strict=True))
        width = self.embed_dims // reduction
        self.neck = Linear(self.embed_dims, width, bias=False)
        self.norm_neck = RMSNorm(width * count, eps=NORM_EPS)

    @property
    def feature_dim(self) -> int:
        """Channels of the last output."""
        return len(self.norm_neck.weight) if self.out_type == 'registers' else self.embed_dims

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embed(images) + self._positions(self.grid_of(images))
        registers = (self.cls_token + self.pos_embed_cls).expand(patches.shape[0], -1, -1)
        tokens = spread_evenly(patches, registers)
        return tokens.to(torch.promote_types(tokens.dtype, torch.float32))

    def split_tokens(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return patches and registers, (batch, patches, embed_dims) and (batch, n, embed_dims)."""
        return take_apart(tokens, self.cls_token.shape[1])

    def feature_of(self, registers: torch.Tensor) -> torch.Tensor:
        """Return registers, (batch, n, embed_dims), narrower, side by side and normalised."""
        return self.norm_neck(self.neck(registers).flatten(1))
