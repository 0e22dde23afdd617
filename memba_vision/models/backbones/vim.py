"""Vision Mamba (Vim) with a class token in the middle (Zhu et al. 2024)."""

import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any, ClassVar

import torch
from mmcv.cnn.bricks.drop import DropPath
from mmengine.logging import print_log
from torch import nn
from torch.utils.checkpoint import checkpoint

from memba_vision.errors import UserError
from memba_vision.models.backbones.arguments import (
    arch_settings,
    check_frozen_stages,
    check_out_type,
    output_numbers,
)
from memba_vision.models.backbones.base_backbone import Backbone, Parts
from memba_vision.models.backbones.vim_weights import FILES
from memba_vision.models.backbones.weight_files import WeightFiles
from memba_vision.models.block_parts import BlockParts, PatchTokens
from memba_vision.models.modules.gates import GateState
from memba_vision.models.modules.mixer import BidirectionalMixer
from memba_vision.models.modules.norm import RMSNorm
from memba_vision.models.modules.patches import (
    Size,
    innermost,
    put_in_middle,
    resize_pos_embed,
    take_from_middle,
    to_pair,
)
from memba_vision.models.modules.prompts import NoPrompt
from memba_vision.models.sites import BlockSites, Rows, Sites
from memba_vision.registry import MODELS

ARCHS = {
    'tiny': dict(embed_dims=192, num_layers=24),
    'small': dict(embed_dims=384, num_layers=24),
    'base': dict(embed_dims=768, num_layers=24),
}
OUT_TYPES = ('cls_token', 'avg_featmap', 'featmap', 'raw')
NORM_EPS = 1e-5


class PatchEmbed(nn.Module):
    """Cut an image into patches, which may overlap, and embed each, row by row."""

    def __init__(
        self, in_channels: int, embed_dims: int, patch_size: int | Size, stride: int | Size
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dims, patch_size, stride)
        nn.init.kaiming_normal_(self.proj.weight, nonlinearity='linear')  # LeCun's
        nn.init.zeros_(self.proj.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embed (batch, channels, height, width) as (batch, patches, embed_dims)."""
        return self.proj(images).flatten(2).transpose(1, 2)

    @property
    def patch_size(self) -> Size:
        """Height and width of a patch, in pixels."""
        return innermost(self.proj).kernel_size

    @property
    def stride(self) -> Size:
        """Distance between patches, in pixels, down and across."""
        return innermost(self.proj).stride

    def grid_of(self, height: int, width: int) -> Size:
        """Return rows and columns of the patches of an image of ``height`` by ``width`` pixels."""
        rows, columns = (
            (side - patch) // step + 1
            for side, patch, step in zip((height, width), self.patch_size, self.stride, strict=True)
        )
        return rows, columns


class VimBlock(nn.Module):
    """Norm, mixer and residual sum; the residual stream stays in float32."""

    def __init__(self, embed_dims: int, drop_path_rate: float, **mixer) -> None:
        super().__init__()
        self.dim = embed_dims
        self.norm = RMSNorm(embed_dims, eps=NORM_EPS)
        self.mixer = BidirectionalMixer(embed_dims, **mixer)
        self.drop_path = DropPath(drop_path_rate)

    def forward(
        self, residual: torch.Tensor, gate_state: GateState = None
    ) -> tuple[torch.Tensor, GateState]:
        """Return the residual stream, (batch, length, embed_dims) float32, and the gate's state."""
        mixed, gate_state = self.mixer(self.norm(residual), gate_state)
        return residual + self.drop_path(mixed), gate_state

    def block_sites(self, name: str) -> BlockSites:
        """Return the places that adapters find here; ``name`` is the path of this module."""
        mixer = f'{name}.mixer'
        parts = BlockParts(self.dim, name, mixer, any_length=True)
        return replace(self.mixer.block_sites(mixer), parts=parts)


class PatchMap(nn.Identity):
    """Slot for hooks that see the last block's input as a map, (batch, embed_dims, rows, columns).

    Class activation maps, for instance, expect a map, but the tokens that blocks and norms yield
    include the class token. Without a hook the module is not called.
    """

    def is_watched(self) -> bool:
        """Return True if there is a hook on it."""
        hooks = (self._forward_hooks, self._forward_pre_hooks)
        return any((*hooks, self._backward_hooks, self._backward_pre_hooks))


@MODELS.register_module()
class Vim(Backbone):
    """Vision Mamba with the parameter names of the official checkpoints, which load strictly.

    A batch goes through ``patch_embed``, gets the class token in the middle of its patches and
    the position embedding, then passes the blocks of ``layers`` and ``norm_f``. Patches come row by
    row; the class token stands before patch number ``rows * columns // 2``, counted from 0, in the
    sequence as in the position embedding, on rectangular images too. The gates' state is passed
    from block to block as an argument: no module holds a state. ``prompt`` is a slot for tokens
    that an adapter adds before the first block and takes out again at the end, ``patch_map`` a
    place for hooks (:class:`PatchMap`).

    Args:
        arch: 'tiny', 'small' or 'base', or a dict with ``embed_dims`` and ``num_layers`` and
            whatever :class:`BidirectionalMixer` takes beside its width (``d_state``, …).
        img_size: height and width of the images, in pixels; one number stands for both.
        patch_size: height and width of a patch, in pixels.
        stride: distance between patches, in pixels; None stands for ``patch_size``. The official
            "+" checkpoints use 8.
        in_channels: channels of the images.
        out_indices: blocks whose output is returned; negative numbers count from the end.
        drop_path_rate: drop rate of the last block's residual branch; it rises linearly from 0.
        out_type: 'cls_token' (batch, embed_dims), 'avg_featmap' (the mean over patches, same
            shape), 'featmap' (batch, embed_dims, rows, columns) or 'raw' (batch, tokens,
            embed_dims).
        with_cp: recompute each block in the backward pass instead of storing its activations.
        init_cfg: ``dict(type='Pretrained', checkpoint=…)`` loads an official checkpoint, a
            safetensors file with the same names, or a classifier's checkpoint; ``key`` and
            ``prefix`` choose where a file holds several models. Keys must match exactly, those of
            the head aside; the position embedding is interpolated to another image size, as
            whenever a state dict is loaded. mmengine's other initializers, and lists, work too.
            None leaves the weights random.
        with_cls_token: False leaves the class token and its position out; ``out_type`` is one of
            the others then.
        frozen_stages: number of first blocks that, as the layers before, do not train and stay in
            evaluation mode; with all of them ``norm_f`` too. 0 and -1 freeze nothing.
        dynamic_img_size: take images of any size, and interpolate the position embedding to it.

    Raises:
        UserError: unknown ``arch`` or ``out_type``, an image smaller than a patch, blocks that are
            not there, or weights that do not fit.
    """

    #: Parameters that weight decay would harm, by the last part of their name.
    no_weight_decay = ('A_log', 'A_b_log', 'D', 'D_b', 'cls_token', 'pos_embed')
    #: mmpretrain's classifiers call it before they load.
    _checkpoint_filter = FILES.rename_for_classifier

    # Class attributes that a family derived from this one sets to values of its own.
    family: ClassVar[str] = 'Vim'  #: its name, for messages
    files: ClassVar[WeightFiles] = FILES  #: loads its weights
    archs: ClassVar[dict[str, dict[str, Any]]] = ARCHS
    arch_settings: ClassVar[tuple[str, ...]] = ('embed_dims', 'num_layers')  #: beside the mixers'
    out_types: ClassVar[tuple[str, ...]] = OUT_TYPES  #: the first is made of the extra tokens
    tokens: ClassVar[tuple[str, ...]] = ('cls_token', 'pos_embed')  #: parameters before the blocks
    last_parts: ClassVar[tuple[str, ...]] = ('norm_f',)  #: modules behind the blocks

    def __init__(
        self,
        arch: str | dict = 'small',
        img_size: int | Sequence[int] = 224,
        patch_size: int | Sequence[int] = 16,
        stride: int | Sequence[int] | None = None,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = -1,
        drop_path_rate: float = 0.0,
        out_type: str = 'cls_token',
        with_cp: bool = False,
        init_cfg: dict | None = None,
        with_cls_token: bool = True,
        frozen_stages: int = -1,
        dynamic_img_size: bool = False,
    ) -> None:
        super().__init__(init_cfg)
        mixer = list(signature(BidirectionalMixer).parameters)[1:]
        settings = arch_settings(self.family, arch, self.archs, self.arch_settings, mixer)
        self.embed_dims = settings.pop('embed_dims')
        self.num_layers = settings.pop('num_layers')
        check_out_type(self.family, out_type, self.out_types)
        if out_type == 'cls_token' and not with_cls_token:
            raise UserError(
                "Vim: out_type='cls_token' needs a class token: leave with_cls_token=False out, or "
                "set out_type='avg_featmap'"
            )
        check_frozen_stages(self.family, frozen_stages, self.num_layers, 'blocks')
        patch_size = to_pair(patch_size, 'patch_size')
        stride = patch_size if stride is None else to_pair(stride, 'stride')
        self.out_type = out_type
        self.out_indices = output_numbers(self.family, out_indices, self.num_layers, 'blocks')
        self.frozen_stages = frozen_stages
        self.dynamic_img_size = dynamic_img_size
        self.with_cp = with_cp

        self.patch_embed = PatchEmbed(in_channels, self.embed_dims, patch_size, stride)
        self.set_img_size(img_size)
        self._make_tokens(settings, with_cls_token)
        self.prompt = NoPrompt()
        rates = torch.linspace(0, drop_path_rate, self.num_layers, device='cpu').tolist()
        self.layers = nn.ModuleList(VimBlock(self.embed_dims, rate, **settings) for rate in rates)
        self.patch_map = PatchMap()
        self.norm_f = RMSNorm(self.embed_dims, eps=NORM_EPS)
        self._init_tokens_and_outputs()
        self._load_strictly_and_freeze()
        self.register_load_state_dict_pre_hook(_fit_pos_embed)

    def _make_tokens(self, settings: dict[str, Any], with_cls_token: bool) -> None:
        """Make ``tokens`` and the layers behind them; remove their settings from ``settings``."""
        token = torch.zeros(1, 1, self.embed_dims)
        self.cls_token = nn.Parameter(token) if with_cls_token else None
        positions = torch.zeros(1, self.num_patches + with_cls_token, self.embed_dims)
        self.pos_embed = nn.Parameter(positions)

    def set_img_size(self, img_size: int | Sequence[int]) -> None:
        """Set the size of the images: ``img_size``, ``grid_size`` and ``num_patches``.

        Raises:
            UserError: it is smaller than a patch.
        """
        size, patch_size = to_pair(img_size, 'img_size'), self.patch_embed.patch_size
        if size[0] < patch_size[0] or size[1] < patch_size[1]:
            raise UserError(
                f'{self.family}: img_size {_spelled(size)} is smaller than patch_size '
                f'{_spelled(patch_size)}'
            )
        self.img_size = size
        self.grid_size = self.patch_embed.grid_of(*size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]

    @property
    def num_extra_tokens(self) -> int:
        """Number of tokens that mmpretrain's ``vis_cam`` cuts off before it reshapes the rest.

        With a class token in the middle of the patches, no number leaves the patches alone; this
        one leaves no square, so that the tool reports it instead of misplacing patches.
        """
        if self.cls_token is None and self.grid_size[0] == self.grid_size[1]:
            return 0
        return int(_is_square(self.num_tokens))

    @property
    def num_tokens(self) -> int:
        """Tokens of an image of ``img_size``, the patches and those that stand among them."""
        return self.num_patches + (0 if self.cls_token is None else self.cls_token.shape[1])

    def _own_tokens(self) -> list[nn.Parameter]:
        own = (getattr(self, name) for name in self.tokens)
        return [token for token in own if token is not None]

    def _init_tokens_and_outputs(self) -> None:
        for token in self._own_tokens():
            nn.init.trunc_normal_(token, std=0.02)
        with torch.no_grad():
            for layer in self.layers:
                layer.mixer.out_proj.weight.div_(self.num_layers**0.5)

    @property
    def feature_dim(self) -> int:
        """Channels of the last output."""
        return self.embed_dims

    @property
    def _cls_has_position(self) -> bool:
        """True where the position embedding has a row for the class token."""
        return self.cls_token is not None

    def _fitting(self, pos_embed: torch.Tensor, source: str) -> torch.Tensor:
        has_cls_token = self._cls_has_position
        resized = resize_pos_embed(pos_embed, self.grid_size, has_cls_token=has_cls_token)
        number = pos_embed.shape[1] - has_cls_token
        remark = None
        if resized is not pos_embed:
            # This warning is the only sign of a wrong stride.
            remark = (
                f'interpolated to {self.num_patches}; if that is not meant, see to img_size, '
                'patch_size and stride'
            )
        elif self.grid_size[0] != self.grid_size[1] and _is_square(number):
            remark = (
                f'taken for one of {_spelled(self.grid_size)}; if it is of square images, another '
                'img_size has it interpolated'
            )
        if remark:
            text = f'{source}: its position embedding of {number} patches is {remark}'
            print_log(text, logger='current', level=logging.WARNING)
        return resized

    def _parts(self) -> Parts:
        last = [self.get_submodule(name) for name in self.last_parts]
        return [self.patch_embed, *self._own_tokens()], self.layers, last

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the depth of a parameter, for learning rates that decay with it.

        Args:
            param_name: its name in the whole model.
            prefix: the backbone's own name in the model, with a dot behind it.

        Returns:
            0 for what comes before the blocks, from 1 on for the blocks, and the highest for
            ``norm_f`` and whatever follows the backbone; and the number of depths.
        """
        depths = self.num_layers + 2
        first, _, rest = param_name.removeprefix(prefix).partition('.')
        if not param_name.startswith(prefix):
            return depths - 1, depths
        if first == 'layers':
            return int(rest.partition('.')[0]) + 1, depths
        before = first in (*self.tokens, 'patch_embed', 'prompt')
        return 0 if before else depths - 1, depths

    def sites(self) -> Sites:
        """Return the places that adapters find here."""
        patches = None if self.dynamic_img_size else self._patch_tokens()
        blocks = []
        for number, layer in enumerate(self.layers):
            sites = layer.block_sites(f'layers.{number}')
            blocks.append(replace(sites, parts=replace(sites.parts, patches=patches)))
        return Sites(tuple(blocks), embed=Rows('patch_embed.proj'), tokens='prompt')

    def _patch_tokens(self) -> PatchTokens:
        extra = 0 if self.cls_token is None else self.cls_token.shape[1]
        positions = torch.arange(self.num_patches + extra, device='cpu')[None, :, None]
        others = self.split_tokens(positions)[1] if extra else positions[:, :0]
        return PatchTokens(self.grid_size, tuple(others.flatten().tolist()))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return features of (batch, channels, height, width), one per entry of ``out_indices``."""
        numbers = sorted(set(self.out_indices))
        tokens = dict(zip(numbers, self.block_outputs(images, numbers), strict=True))
        grid = self.grid_of(images)
        return tuple(self.format_tokens(tokens[n], self.out_type, grid) for n in self.out_indices)

    def grid_of(self, images: torch.Tensor) -> Size:
        """Return rows and columns of the patches of (batch, channels, height, width).

        Raises:
            UserError: the images have another size than ``img_size``, where that is fixed, or are
                smaller than a patch.
        """
        height, width = images.shape[-2:]
        if (height, width) == self.img_size:
            return self.grid_size
        if not self.dynamic_img_size:
            raise UserError(
                f'{self.family} was built for images of {self.img_size[0]} x {self.img_size[1]} '
                f'pixels, got {height} x {width}: resize them (in the pipelines: scale of Resize), '
                'or set img_size'
            )
        grid = self.patch_embed.grid_of(height, width)
        if min(grid) < 1:
            raise UserError(
                f'{self.family}: an image of {height} x {width} pixels is smaller than a patch, '
                f'{_spelled(self.patch_embed.patch_size)}: enlarge it'
            )
        return grid

    def block_outputs(
        self, images: torch.Tensor, numbers: Collection[int], norm_last: bool = True
    ) -> list[torch.Tensor]:
        """Return the outputs of the blocks ``numbers``, (batch, tokens, embed_dims), first to last.

        Blocks behind the last of them are not run.

        Args:
            images: (batch, channels, height, width).
            numbers: the numbers of the blocks, from 0.
            norm_last: apply ``norm_f`` to the output of the last block.

        Raises:
            UserError: the images have another size.
        """
        grid = self.grid_of(images)
        residual = self.prompt.insert(self._embed(images))
        gate_state = None
        outputs = []
        for number, layer in enumerate(self.layers):
            if number == self.num_layers - 1 and self.patch_map.is_watched():
                residual = self._through_patch_map(residual, grid)
            if self.with_cp and self.training:
                residual, gate_state = checkpoint(layer, residual, gate_state, use_reentrant=False)
            else:
                residual, gate_state = layer(residual, gate_state)
            if number in numbers:
                last = norm_last and number == self.num_layers - 1
                outputs.append(self.prompt.remove(self.norm_last(residual) if last else residual))
            if number == max(numbers):
                break
        return outputs

    def norm_last(self, tokens: torch.Tensor) -> torch.Tensor:
        """Normalise the output of the last block, (batch, tokens, embed_dims)."""
        return self.norm_f(tokens)

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return tokens with the class token in the middle, (batch, tokens, embed_dims) float32."""
        tokens = self.patch_embed(images)
        if self.cls_token is not None:
            tokens = put_in_middle(tokens, self.cls_token.expand(tokens.shape[0], -1, -1))
        tokens = tokens + self._positions(self.grid_of(images))
        return tokens.to(torch.promote_types(tokens.dtype, torch.float32))

    def _positions(self, grid: Size) -> torch.Tensor:
        return resize_pos_embed(self.pos_embed, grid, self.grid_size, self._cls_has_position)

    def _through_patch_map(self, residual: torch.Tensor, grid: Size) -> torch.Tensor:
        """Pass the patches of the sequence through ``patch_map``, and put them back."""
        positions = torch.arange(residual.shape[1], device=residual.device)
        at = self.split_tokens(self.prompt.remove(positions[None, :, None]))[0].flatten()
        patches = self.patch_map(residual[:, at].transpose(1, 2).unflatten(2, grid))
        return residual.index_copy(1, at, patches.flatten(2).transpose(1, 2))

    def split_tokens(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return patches, (batch, patches, embed_dims), and class token, (batch, 1, embed_dims)."""
        return (tokens, None) if self.cls_token is None else take_from_middle(tokens)

    def format_tokens(
        self, tokens: torch.Tensor, out_type: str, grid: Size | None = None
    ) -> torch.Tensor:
        """Convert tokens, (batch, tokens, embed_dims), to the format ``out_type``.

        Args:
            tokens: the output of a block.
            out_type: see the class.
            grid: rows and columns of the patches; None stands for those of ``img_size``.
        """
        if out_type == 'raw':
            return tokens
        patches, extra = self.split_tokens(tokens)
        if out_type == self.out_types[0]:
            return self.feature_of(extra)
        if out_type == 'avg_featmap':
            return patches.mean(dim=1)
        return patches.transpose(1, 2).unflatten(2, grid or self.grid_size)

    def feature_of(self, cls_token: torch.Tensor) -> torch.Tensor:
        """Return the class token, (batch, 1, embed_dims), as a feature, (batch, embed_dims)."""
        return cls_token[:, 0]


def _fit_pos_embed(vim: Vim, state_dict: dict, prefix: str, *_: object) -> None:
    """Interpolate the position embedding of a state dict that is being loaded."""
    name = f'{prefix}pos_embed'
    if name in state_dict:
        state_dict[name] = vim._fitting(state_dict[name], 'the weights to load')


def _is_square(number: int) -> bool:
    return math.isqrt(number) ** 2 == number


def _spelled(size: Size) -> str:
    return str(size[0]) if size[0] == size[1] else f'{size[0]} x {size[1]}'
