"""Vim and Mamba-R under timm's names: ``timm.create_model('vim_small_patch16_224')``.

Importing this module enters the models into timm's registry; see :mod:`memba_vision.timm`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import Format, nchw_to, resample_patch_embed
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models import MambaReg, Vim
from memba_vision.models.modules.patches import Size, resize_pos_embed, to_pair
from memba_vision.zoo.official import OFFICIAL, PATCH_SIZE, Official
from memba_vision.zoo.timm_entries import (
    checkpoint_filter_fn,
    default_cfgs_of,
    enter,
    load_adapted,
    parameters_ending_in,
)

try:
    from timm.models._input import update_model_input_size
except ImportError:  # an older timm, which keeps no record of the size

    def update_model_input_size(model: nn.Module, img_size: Size, **settings: Any) -> None:
        """Do nothing."""


IMAGE_SIZE = 224
POOLS = ('', 'token', 'avg', 'max', 'avgmax')


class TimmVim(Vim):
    """:class:`memba_vision.models.Vim` with a head, as timm's models are called.

    Args:
        num_classes: outputs of the head; 0 leaves it out.
        in_chans: channels of the images.
        global_pool: 'token' (the class token), 'avg' or 'max' over patches, 'avgmax' (the mean of
            both), or '' for all tokens.
        drop_rate: dropout before the head.
        img_size: height and width of the images, in pixels; one number stands for both.
        device: the device of the parameters.
        dtype: of the parameters.
        **settings: of :class:`memba_vision.models.Vim`, ``dynamic_img_size`` among them.

    Raises:
        UserError: a setting is out of range.
    """

    no_decay = Vim.no_weight_decay

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'token',
        drop_rate: float = 0.0,
        img_size: int | Sequence[int] = IMAGE_SIZE,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(in_channels=in_chans, img_size=img_size, **{'out_type': 'raw', **settings})
        self.in_chans = in_chans
        self.num_features = self.embed_dim = self.embed_dims
        self._note_reductions()
        self.head_drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes, global_pool)
        self.to(device=device, dtype=dtype)

    def _note_reductions(self) -> None:
        reduction = max(self.patch_embed.proj.stride)
        self.feature_info = [
            dict(num_chs=self.embed_dims, reduction=reduction, module=f'layers.{number}')
            for number in range(self.num_layers)
        ]

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head by a fresh one of ``num_classes`` outputs; 0 leaves it out."""
        if global_pool not in (None, *POOLS):
            known = ', '.join(map(repr, POOLS))
            raise UserError(f'global_pool must be one of {known}, got {global_pool!r}')
        self.global_pool = self.global_pool if global_pool is None else global_pool
        if self.global_pool == 'token' and self.cls_token is None:
            raise UserError(
                "global_pool='token' needs a class token: set global_pool='avg', or leave "
                'with_cls_token=False out'
            )
        self.num_classes = num_classes
        self.head_hidden_size = self._pooled_width()
        like = self.pos_embed
        settings = dict(device=like.device, dtype=like.dtype)
        head = nn.Linear(self.head_hidden_size, num_classes, **settings) if num_classes else None
        self.head = (head or nn.Identity()).train(self.training)

    def _pooled_width(self) -> int:
        return self.embed_dims

    def get_classifier(self) -> nn.Module:
        """Return the head."""
        return self.head

    def set_input_size(
        self,
        img_size: int | Sequence[int] | None = None,
        patch_size: int | Sequence[int] | None = None,
    ) -> None:
        """Interpolate the position embedding, and the patch embedding, to other sizes.

        Args:
            img_size: height and width of the images from now on; None leaves them.
            patch_size: height and width of a patch from now on; None leaves them.

        Raises:
            UserError: an image would be smaller than a patch, or patches overlap and ``patch_size``
                is another.
        """
        old_grid = self.grid_size
        if patch_size is not None:
            self._set_patch_size(to_pair(patch_size, 'patch_size'))
        self.set_img_size(self.img_size if img_size is None else img_size)
        own = self._cls_has_position
        with torch.no_grad():
            resized = resize_pos_embed(self.pos_embed, self.grid_size, old_grid, own)
        if resized is not self.pos_embed:
            self.pos_embed = nn.Parameter(resized, requires_grad=self.pos_embed.requires_grad)
        update_model_input_size(self, self.img_size, patch_size=patch_size)

    def _set_patch_size(self, patch_size: Size) -> None:
        old = self.patch_embed.proj
        if patch_size == old.kernel_size:
            return
        if old.stride != old.kernel_size:
            raise UserError(
                f'set_input_size: the patches of {old.kernel_size} pixels overlap, a stride of '
                f'{old.stride}: leave patch_size out'
            )
        weight = resample_patch_embed(old.weight.detach(), patch_size).to(old.weight)
        self.patch_embed.proj = nn.Conv2d(
            self.in_chans, self.embed_dims, patch_size, patch_size, device='meta'
        ).train(old.training)
        self.patch_embed.proj.weight = nn.Parameter(weight, old.weight.requires_grad)
        self.patch_embed.proj.bias = old.bias
        self._note_reductions()

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the normalised tokens, (batch, tokens, embed_dims), class token in the middle."""
        return self.block_outputs(images, {self.num_layers - 1})[0]

    def pool(self, tokens: torch.Tensor, pool_type: str | None = None) -> torch.Tensor:
        """Pool tokens, (batch, tokens, embed_dims), to (batch, embed_dims); '' keeps them."""
        pool_type = self.global_pool if pool_type is None else pool_type
        if not pool_type:
            return tokens
        patches, cls_token = self.split_tokens(tokens)
        if pool_type == 'token':
            return self.feature_of(cls_token)
        if pool_type == 'avg':
            return patches.mean(dim=1)
        highest = patches.amax(dim=1)
        return highest if pool_type == 'max' else (highest + patches.mean(dim=1)) / 2

    def forward_head(self, tokens: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Pool the tokens and, without ``pre_logits``, classify: (batch, num_classes)."""
        pooled = self.head_drop(self.pool(tokens))
        return pooled if pre_logits else self.head(pooled)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of normalised images."""
        return self.forward_head(self.forward_features(images))

    def forward_intermediates(
        self,
        images: torch.Tensor,
        indices: int | Sequence[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
        output_dict: bool = False,
    ) -> list | tuple[torch.Tensor, list] | dict[str, Any]:
        """Return the outputs of blocks, as timm's feature extraction asks for them.

        Args:
            images: normalised.
            indices: the blocks; a number stands for so many last ones, None for all.
            return_prefix_tokens: put the class token, (batch, 1, embed_dims), beside each output.
            norm: pass them through the last norm too.
            stop_early: run no block after the last of ``indices``; the final tokens are those
                behind it then.
            output_fmt: 'NCHW', 'NHWC', 'NLC' or 'NCL', of the patches without the class token.
            intermediates_only: leave out the final tokens, and blocks that only they need.
            output_dict: return a dict with 'image_features', 'image_intermediates' and, where
                asked for, 'image_intermediates_prefix'.

        Raises:
            UserError: there are no such blocks, or no such format.
        """
        numbers = self._numbers(indices)
        last = numbers[-1] if stop_early or intermediates_only else self.num_layers - 1
        outputs = self.block_outputs(images, {*numbers, last}, norm_last=False)
        chosen = outputs if last in numbers else outputs[:-1]
        pairs = [self.split_tokens(self.norm_last(t) if norm else t) for t in chosen]
        grid = self.grid_of(images)
        spatial = [_formatted(patches, grid, output_fmt) for patches, _ in pairs]
        prefixes = [token for _, token in pairs]
        with_prefix = return_prefix_tokens and self.cls_token is not None
        final = None if intermediates_only else self.norm_last(outputs[-1])
        if output_dict:
            return _as_dict(final, spatial, prefixes if with_prefix else None)
        features = list(zip(spatial, prefixes, strict=True)) if with_prefix else spatial
        return features if intermediates_only else (final, features)

    def get_intermediate_layers(
        self,
        images: torch.Tensor,
        n: int | Sequence[int] = 1,
        reshape: bool = False,
        return_prefix_tokens: bool = False,
        norm: bool = False,
    ) -> list:
        """Return the outputs of the last ``n`` blocks, or of those in ``n``, as in DINO."""
        return self.forward_intermediates(
            images,
            n,
            return_prefix_tokens=return_prefix_tokens,
            norm=norm,
            output_fmt='NCHW' if reshape else 'NLC',
            intermediates_only=True,
        )

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the blocks behind the last of ``indices``, and the norm and head if asked to.

        Returns:
            The numbers of the blocks.
        """
        numbers = self._numbers(indices)
        self.layers = self.layers[: numbers[-1] + 1]
        self.num_layers = len(self.layers)
        self.frozen_stages = min(self.frozen_stages, self.num_layers)
        if prune_norm:
            self.norm_f = nn.Identity()
        if prune_head:
            self.reset_classifier(0, '')
        return numbers

    def _numbers(self, indices: int | Sequence[int] | None) -> list[int]:
        if indices is None:
            indices = self.num_layers
        wanted = range(-indices, 0) if isinstance(indices, int) else indices
        if not wanted or any(not -self.num_layers <= n < self.num_layers for n in wanted):
            raise UserError(f'no blocks {indices}: there are {self.num_layers}')
        return sorted({number % self.num_layers for number in wanted})

    def no_weight_decay(self) -> set[str]:
        """The parameters that weight decay would harm, by their full names."""
        return parameters_ending_in(self, self.no_decay)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass."""
        self.with_cp = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return patterns of each layer's parameters, for decaying the learning rate by depth."""
        stem = r'^cls_token|^pos_embed|^patch_embed'
        return dict(stem=stem, blocks=[(r'^layers\.(\d+)', None), (r'^norm_f', (99999,))])

    def load_pretrained(self, path: str) -> None:
        """Load an official checkpoint strictly; its head only where it has as many classes.

        The first convolution is adapted to ``in_chans`` as timm does, and the position embedding
        interpolated.
        """
        weights = checkpoint_filter_fn(self.files.read(path).tensors, self)
        load_adapted(self, weights, 'patch_embed.proj', str(path))


def _formatted(patches: torch.Tensor, grid: Size, output_fmt: str) -> torch.Tensor:
    try:
        output_fmt = Format(output_fmt)
    except ValueError as error:
        known = ', '.join(member.value for member in Format)
        raise UserError(f'output_fmt must be one of {known}, got {output_fmt!r}') from error
    if output_fmt is Format.NLC:
        return patches
    return nchw_to(patches.transpose(1, 2).unflatten(2, grid), output_fmt)


def _as_dict(
    final: torch.Tensor | None, spatial: list[torch.Tensor], prefixes: list[torch.Tensor] | None
) -> dict[str, Any]:
    found = dict(
        image_features=final, image_intermediates=spatial, image_intermediates_prefix=prefixes
    )
    return {name: value for name, value in found.items() if value is not None}


class TimmMambaReg(TimmVim, MambaReg):
    """:class:`memba_vision.models.MambaReg` with a head; its registers are pooled as 'token'."""

    no_decay = MambaReg.no_weight_decay

    def _pooled_width(self) -> int:
        return len(self.norm_neck.weight) if self.global_pool == 'token' else self.embed_dims


def _timm_name(official: Official) -> str:
    family = {'Vim': 'vim', 'MambaReg': 'mamba_reg'}[official.family]
    stride = ''.join(f'_stride{number}' for number in official.settings.values())
    return f'{family}_{official.arch}_patch{PATCH_SIZE}{stride}_{official.img_size}'


KINDS = {'Vim': TimmVim, 'MambaReg': TimmMambaReg}
MODELS = {_timm_name(o): o for o in OFFICIAL.values() if o.family in KINDS}
default_cfgs = default_cfgs_of(MODELS, dict.fromkeys(KINDS, 'patch_embed.proj'))
for _name, _official in MODELS.items():
    enter(_name, _official, KINDS[_official.family], __name__)
