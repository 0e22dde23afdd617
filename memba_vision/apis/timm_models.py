"""Vim under timm's names: ``timm.create_model('vim_small_patch16_224')``.

Importing this module enters the models into timm's registry; memba_vision does so itself, as soon
as both packages are imported.
"""

from collections.abc import Sequence
from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from memba_vision.apis.official_weights import OFFICIAL, Official
from memba_vision.errors import UserError
from memba_vision.models import Vim
from memba_vision.models.backbones.vim import resize_pos_embed
from memba_vision.models.backbones.vim_weights import read_vim
from memba_vision.weights import load_strictly

IMAGE_SIZE = 224
PATCH_SIZE = 16


class TimmVim(Vim):
    """:class:`memba_vision.models.Vim` with a head, as timm's models are called.

    Args:
        num_classes: outputs of the head; 0 leaves it out.
        in_chans: channels of the images.
        global_pool: 'token' (the class token) or 'avg' (the mean over patches).
        drop_rate: dropout before the head.
        img_size: height and width of the images, in pixels, which are the same.
        **settings: of :class:`memba_vision.models.Vim`.

    Raises:
        UserError: a setting is out of range.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = 'token',
        drop_rate: float = 0.0,
        img_size: int | Sequence[int] = IMAGE_SIZE,
        **settings: Any,
    ) -> None:
        super().__init__(in_channels=in_chans, img_size=_side(img_size), **settings)
        self.num_features = self.head_hidden_size = self.embed_dims
        reduction = settings.get('stride') or settings.get('patch_size', PATCH_SIZE)
        self.feature_info = [
            dict(num_chs=self.embed_dims, reduction=reduction, module=f'layers.{number}')
            for number in range(self.num_layers)
        ]
        self.head_drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes, global_pool)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh head of so many classes; 0 leaves it out."""
        if global_pool not in (None, 'token', 'avg'):
            raise UserError(f"global_pool must be 'token' or 'avg', got {global_pool!r}")
        self.num_classes = num_classes
        self.global_pool = global_pool or self.global_pool
        like = self.cls_token
        settings = dict(device=like.device, dtype=like.dtype)
        head = nn.Linear(self.embed_dims, num_classes, **settings) if num_classes else None
        self.head = head or nn.Identity()

    def get_classifier(self) -> nn.Module:
        """The head."""
        return self.head

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Tokens behind the last norm, (batch, tokens, embed_dims), class token in the middle."""
        return self.block_outputs(images, {self.num_layers - 1})[0]

    def forward_head(self, tokens: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Pool the tokens and, without ``pre_logits``, classify: (batch, num_classes)."""
        kind = 'cls_token' if self.global_pool == 'token' else 'avg_featmap'
        pooled = self.head_drop(self.format_tokens(tokens, kind))
        return pooled if pre_logits else self.head(pooled)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of normalised images."""
        return self.forward_head(self.forward_features(images))

    def forward_intermediates(
        self,
        images: torch.Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        """What blocks put out, as timm's feature extraction asks for it.

        Args:
            images: normalised.
            indices: the blocks; a number stands for so many last ones, None for all.
            norm: pass them through the last norm too.
            stop_early: not used, as the last block is needed for the tokens.
            output_fmt: 'NCHW' for maps of the patches, 'NLC' for all tokens.
            intermediates_only: leave out the final tokens.
        """
        numbers = self._numbers(indices)
        kind = {'NCHW': 'featmap', 'NLC': 'raw'}[getattr(output_fmt, 'value', output_fmt)]
        last = self.num_layers - 1
        outputs = self.block_outputs(images, {*numbers, last}, norm_last=False)
        tokens = outputs[-1]
        chosen = outputs if last in numbers else outputs[:-1]
        chosen = [self.format_tokens(self.norm_last(t) if norm else t, kind) for t in chosen]
        return chosen if intermediates_only else (self.norm_last(tokens), chosen)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Leave out the head, which features do not need, and name the blocks."""
        if prune_head:
            self.reset_classifier(0)
        return self._numbers(indices)

    def _numbers(self, indices: int | Sequence[int] | None) -> list[int]:
        if indices is None:
            indices = self.num_layers
        wanted = range(-indices, 0) if isinstance(indices, int) else indices
        if any(not -self.num_layers <= number < self.num_layers for number in wanted):
            raise UserError(f'no blocks {list(wanted)}: there are {self.num_layers}')
        return sorted({number % self.num_layers for number in wanted})

    def no_weight_decay(self) -> set[str]:
        """The parameters that weight decay would harm, by their full names."""
        return {n for n, _ in self.named_parameters() if n.split('.')[-1] in Vim.no_weight_decay}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass."""
        self.with_cp = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """How parameters belong to layers, for decaying the learning rate by depth."""
        stem = r'^cls_token|^pos_embed|^patch_embed'
        return dict(stem=stem, blocks=[(r'^layers\.(\d+)', None), (r'^norm_f', (99999,))])

    def load_pretrained(self, path: str) -> None:
        """Load an official checkpoint strictly; its head only where it has as many classes."""
        weights = read_vim(path).tensors
        if 'pos_embed' in weights:
            weights['pos_embed'] = resize_pos_embed(weights['pos_embed'], self.grid_size)
        head = weights.get('head.bias')
        if head is None or len(head) != self.num_classes:
            weights = {n: w for n, w in weights.items() if not n.startswith('head.')}
            weights |= {f'head.{name}': w for name, w in self.head.state_dict().items()}
        load_strictly(self, weights, str(path))


def _side(img_size: int | Sequence[int]) -> int:
    sides = {img_size} if isinstance(img_size, int) else set(img_size)
    if len(sides) != 1:
        raise UserError(f'Vim takes square images, got img_size {tuple(img_size)}')
    return sides.pop()


def _timm_name(official: Official) -> str:
    stride = '' if official.stride == PATCH_SIZE else f'_stride{official.stride}'
    return f'vim_{official.arch}_patch{PATCH_SIZE}{stride}_{IMAGE_SIZE}'


MODELS = {_timm_name(official): official for official in OFFICIAL.values()}
default_cfgs = generate_default_cfgs(
    {
        name: dict(
            url=official.url,
            custom_load=True,
            input_size=(3, IMAGE_SIZE, IMAGE_SIZE),
            fixed_input_size=True,
            crop_pct=0.9,
            num_classes=1000,
            first_conv='patch_embed.proj',
            classifier='head',
        )
        for name, official in MODELS.items()
    }
)


def _enter(name: str, official: Official) -> None:
    def create(pretrained: bool = False, **settings: Any) -> nn.Module:
        settings = {'arch': official.arch, 'stride': official.stride, **settings}
        features = dict(feature_cls='getter', out_indices=3)
        return build_model_with_cfg(TimmVim, name, pretrained, feature_cfg=features, **settings)

    create.__name__ = name
    create.__doc__ = f'Vim {official.arch} with patches of {PATCH_SIZE} pixels.'
    register_model(create)


for _name, _official in MODELS.items():
    _enter(_name, _official)
