"""Vim, the vision Mamba with a class token in the middle (Zhu et al. 2024)."""

import inspect
import logging
from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.drop import DropPath
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import nn
from torch.utils.checkpoint import checkpoint

from memba_vision.errors import UserError
from memba_vision.models.modules.gates import GateState
from memba_vision.models.modules.mixer import BidirectionalMixer
from memba_vision.models.modules.prompts import NoPrompt
from memba_vision.registry import MODELS
from memba_vision.weights import load_strictly, read_state_dict

ARCHS = {
    'tiny': dict(embed_dims=192, num_layers=24),
    'small': dict(embed_dims=384, num_layers=24),
    'base': dict(embed_dims=768, num_layers=24),
}
OUT_TYPES = ('cls_token', 'avg_featmap', 'featmap', 'raw')
NORM_EPS = 1e-5


class PatchEmbed(nn.Module):
    """Cut an image into patches, which may overlap, and embed each."""

    def __init__(self, in_channels: int, embed_dims: int, patch_size: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dims, patch_size, stride)
        nn.init.kaiming_normal_(self.proj.weight, nonlinearity='linear')  # LeCun's
        nn.init.zeros_(self.proj.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, channels, height, width) to (batch, patches, embed_dims)."""
        return self.proj(images).flatten(2).transpose(1, 2)


class VimBlock(nn.Module):
    """Norm, mixer and residual sum; the residual stream stays in float32."""

    def __init__(self, embed_dims: int, drop_path_rate: float, **mixer) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(embed_dims, eps=NORM_EPS)
        self.mixer = BidirectionalMixer(embed_dims, **mixer)
        self.drop_path = DropPath(drop_path_rate)

    def forward(
        self, residual: torch.Tensor, gate_state: GateState = None
    ) -> tuple[torch.Tensor, GateState]:
        """(batch, length, embed_dims) float32 to the same, and the gate's state passed on."""
        mixed, gate_state = self.mixer(_norm(self.norm, residual), gate_state)
        return residual + self.drop_path(mixed), gate_state


@MODELS.register_module()
class Vim(BaseModule):
    """Vim with parameter names as in the official checkpoints, which load strictly.

    A batch goes through ``patch_embed``, gets the class token in the middle of its patches and
    the position embedding, then passes the blocks of ``layers`` and ``norm_f``. What a gate
    carries from block to block travels as an argument: no module holds a state. ``prompt`` is a
    slot for tokens that an adapter adds before the first block and takes out again at the end.

    Args:
        arch: 'tiny', 'small' or 'base', or a dict with ``embed_dims`` and ``num_layers`` and
            whatever :class:`BidirectionalMixer` takes beside its width (``d_state``, …).
        img_size: height and width of the images, in pixels.
        patch_size: height and width of a patch, in pixels.
        stride: distance between patches, in pixels; None stands for ``patch_size``. The official
            "+" checkpoints use 8.
        in_channels: channels of the images.
        out_indices: blocks whose output is returned; negative numbers count from the end.
        drop_path_rate: drop rate of the last block's residual branch; it rises linearly from 0.
        out_type: 'cls_token' (batch, embed_dims), 'avg_featmap' (the mean over patches, same
            shape), 'featmap' (batch, embed_dims, rows, columns) or 'raw' (batch, tokens,
            embed_dims).
        with_cp: recompute each block in the backward pass instead of keeping what it stores.
        init_cfg: ``dict(type='Pretrained', checkpoint=…)`` loads an official checkpoint, a
            safetensors file with the same names, or, with ``prefix='backbone.'``, a classifier's
            checkpoint. Keys must match exactly, those of the head aside; the position embedding
            is interpolated to another image size. None leaves the weights random.

    Raises:
        UserError: unknown ``arch`` or ``out_type``, an image smaller than a patch, or weights
            that do not fit.
    """

    #: Parameters that weight decay would harm, by the last part of their name.
    no_weight_decay = ('A_log', 'A_b_log', 'D', 'D_b', 'cls_token', 'pos_embed')

    def __init__(
        self,
        arch: str | dict = 'small',
        img_size: int = 224,
        patch_size: int = 16,
        stride: int | None = None,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = -1,
        drop_path_rate: float = 0.0,
        out_type: str = 'cls_token',
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        settings = _arch_settings(arch)
        self.embed_dims = settings.pop('embed_dims')
        self.num_layers = settings.pop('num_layers')
        if out_type not in OUT_TYPES:
            raise UserError(f'Vim: unknown out_type {out_type!r}; known are {", ".join(OUT_TYPES)}')
        if img_size < patch_size:
            raise UserError(f'Vim: img_size {img_size} is smaller than patch_size {patch_size}')
        self.img_size = img_size
        self.grid_size = (img_size - patch_size) // (stride or patch_size) + 1
        self.num_patches = self.grid_size**2
        self.out_type = out_type
        self.out_indices = _block_numbers(out_indices, self.num_layers)
        self.with_cp = with_cp

        self.patch_embed = PatchEmbed(
            in_channels, self.embed_dims, patch_size, stride or patch_size
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.num_patches + 1, self.embed_dims))
        self.prompt = NoPrompt()
        rates = torch.linspace(0, drop_path_rate, self.num_layers, device='cpu').tolist()
        self.layers = nn.ModuleList(VimBlock(self.embed_dims, rate, **settings) for rate in rates)
        self.norm_f = nn.RMSNorm(self.embed_dims, eps=NORM_EPS)
        self._init_tokens_and_outputs()

    def _init_tokens_and_outputs(self) -> None:
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        with torch.no_grad():
            for layer in self.layers:
                layer.mixer.out_proj.weight.div_(self.num_layers**0.5)

    def init_weights(self) -> None:
        """Load the weights that ``init_cfg`` names; without it, keep the random ones."""
        self._is_init = True
        if not self.init_cfg or self.init_cfg.get('checkpoint') is None:
            return
        source = self.init_cfg['checkpoint']
        state_dict = read_state_dict(source, self.init_cfg.get('prefix', ''))
        if 'pos_embed' in state_dict:
            state_dict['pos_embed'] = self._fitting(state_dict['pos_embed'], source)
        load_strictly(self, state_dict, source, ignore_prefixes=('head.',))

    def _fitting(self, pos_embed: torch.Tensor, source: str) -> torch.Tensor:
        resized = resize_pos_embed(pos_embed, self.grid_size)
        if resized is not pos_embed:
            # A wrong stride shows in nothing else.
            print_log(
                f'{source}: its position embedding of {pos_embed.shape[1] - 1} patches is '
                f'interpolated to {self.num_patches}; if that is not meant, see to img_size, '
                'patch_size and stride',
                logger='current',
                level=logging.WARNING,
            )
        return resized

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Features of (batch, channels, img_size, img_size), one per entry of ``out_indices``."""
        numbers = sorted(set(self.out_indices))
        tokens = dict(zip(numbers, self.block_outputs(images, numbers), strict=True))
        return tuple(self.format_tokens(tokens[n], self.out_type) for n in self.out_indices)

    def block_outputs(
        self, images: torch.Tensor, numbers: Collection[int], norm_last: bool = True
    ) -> list[torch.Tensor]:
        """The tokens behind the blocks ``numbers``, (batch, tokens, embed_dims), first to last.

        Args:
            images: (batch, channels, img_size, img_size).
            numbers: which blocks, from 0.
            norm_last: pass those of the last block through ``norm_f``.

        Raises:
            UserError: the images have another size.
        """
        if images.shape[-2:] != (self.img_size, self.img_size):
            raise UserError(
                f'Vim was built for images of {self.img_size} x {self.img_size} pixels, got '
                f'{images.shape[-2]} x {images.shape[-1]}: resize them or set img_size'
            )
        residual = self.prompt.insert(self._embed(images))
        gate_state = None
        outputs = []
        for number, layer in enumerate(self.layers):
            if self.with_cp and self.training:
                residual, gate_state = checkpoint(layer, residual, gate_state, use_reentrant=False)
            else:
                residual, gate_state = layer(residual, gate_state)
            if number in numbers:
                last = norm_last and number == self.num_layers - 1
                outputs.append(self.prompt.remove(self.norm_last(residual) if last else residual))
        return outputs

    def norm_last(self, tokens: torch.Tensor) -> torch.Tensor:
        """What follows the last block, (batch, tokens, embed_dims) to the same."""
        return _norm(self.norm_f, tokens)

    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        """Tokens with the class token in the middle, (batch, tokens, embed_dims) in float32."""
        patches = self.patch_embed(images)
        middle = self.num_patches // 2
        cls_token = self.cls_token.expand(patches.shape[0], -1, -1)
        tokens = torch.cat([patches[:, :middle], cls_token, patches[:, middle:]], dim=1)
        tokens = tokens + self.pos_embed
        return tokens.to(torch.promote_types(tokens.dtype, torch.float32))

    def format_tokens(self, tokens: torch.Tensor, out_type: str) -> torch.Tensor:
        """Tokens (batch, tokens, embed_dims) as ``out_type`` asks for them."""
        if out_type == 'raw':
            return tokens
        middle = self.num_patches // 2
        if out_type == 'cls_token':
            return tokens[:, middle]
        patches = torch.cat([tokens[:, :middle], tokens[:, middle + 1 :]], dim=1)
        if out_type == 'avg_featmap':
            return patches.mean(dim=1)
        return patches.transpose(1, 2).unflatten(2, (self.grid_size, self.grid_size))


def _norm(norm: nn.RMSNorm, residual: torch.Tensor) -> torch.Tensor:
    """Normalise the float32 residual, in the dtype of the weights where these are half as wide."""
    residual = residual.to(norm.weight.dtype)
    older_onnx = torch.onnx.is_in_onnx_export() and torch.jit.is_tracing()
    if older_onnx and isinstance(norm, nn.RMSNorm):  # for which it has no operator
        scale = (residual.square().mean(-1, keepdim=True) + norm.eps).rsqrt()
        return residual * scale * norm.weight
    return norm(residual)


def resize_pos_embed(pos_embed: torch.Tensor, grid_size: int) -> torch.Tensor:
    """Interpolate a position embedding around its middle class token, bicubically.

    Args:
        pos_embed: (1, old_grid_size² + 1, embed_dims), the class token's at the middle.
        grid_size: patches along a side of the new grid.

    Returns:
        (1, grid_size² + 1, embed_dims).
    """
    num_patches = pos_embed.shape[1] - 1
    old_size = round(num_patches**0.5)
    if old_size == grid_size or old_size**2 != num_patches:
        return pos_embed
    middle = num_patches // 2
    patches = torch.cat([pos_embed[:, :middle], pos_embed[:, middle + 1 :]], dim=1)
    grid = patches.unflatten(1, (old_size, old_size)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid.float(), size=(grid_size, grid_size), mode='bicubic')
    patches = grid.flatten(2).transpose(1, 2).to(pos_embed.dtype)
    new_middle = grid_size**2 // 2
    cls_token = pos_embed[:, middle : middle + 1]
    return torch.cat([patches[:, :new_middle], cls_token, patches[:, new_middle:]], dim=1)


def _arch_settings(arch: str | dict) -> dict:
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise UserError(f'Vim: unknown arch {arch!r}; known are {", ".join(ARCHS)}, or a dict')
        return dict(ARCHS[arch])
    missing = {'embed_dims', 'num_layers'} - set(arch)
    if missing:
        raise UserError(f'Vim: the arch dict lacks {" and ".join(sorted(missing))}')
    known = [
        'embed_dims',
        'num_layers',
        *list(inspect.signature(BidirectionalMixer).parameters)[1:],
    ]
    unknown = set(arch) - set(known)
    if unknown:
        raise UserError(
            f'Vim: the arch dict has unknown {" and ".join(sorted(unknown))}; known are '
            f'{", ".join(known)}'
        )
    return dict(arch)


def _block_numbers(out_indices: int | Sequence[int], num_layers: int) -> tuple[int, ...]:
    indices = [out_indices] if isinstance(out_indices, int) else list(out_indices)
    for index in indices:
        if not -num_layers <= index < num_layers:
            raise UserError(f'Vim: out_indices holds {index}, but there are {num_layers} blocks')
    return tuple(index % num_layers for index in indices)
