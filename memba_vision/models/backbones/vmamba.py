"""VMamba, a vision Mamba in four stages that scans maps in four directions (Liu et al. 2024)."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.drop import DropPath
from torch import nn
from torch.utils.checkpoint import checkpoint

from memba_vision.errors import UserError
from memba_vision.models.backbones.arguments import (
    arch_settings,
    check_frozen_stages,
    check_out_type,
    output_numbers,
)
from memba_vision.models.backbones.base_backbone import StagedBackbone
from memba_vision.models.backbones.vmamba_weights import ARCHS, DEFAULTS, FILES
from memba_vision.models.block_parts import BlockParts, PatchTokens
from memba_vision.models.modules.gates import GateState
from memba_vision.models.modules.linear import Linear
from memba_vision.models.modules.mlp import Mlp
from memba_vision.models.modules.norm import LayerNorm, MapNorm
from memba_vision.models.modules.patches import Size, to_pair
from memba_vision.models.modules.ss2d import SS2D
from memba_vision.models.sites import BlockSites, Rows, Sites
from memba_vision.registry import MODELS

OUT_TYPES = ('avg_featmap', 'featmap', 'raw')
PATCH_SIZE = 4


def numbered(layers: dict[int, nn.Module]) -> nn.Sequential:
    """Return layers in a row, under numbers that may have gaps."""
    return nn.Sequential(OrderedDict((str(number), layer) for number, layer in layers.items()))


class VSSBlock(nn.Module):
    """Norm, SS2D and residual sum; in v2 the same with an MLP behind it.

    Args:
        dim: width.
        drop_path_rate: drop rate of the residual branches.
        with_mlp: add the MLP.
        mixer: settings of :class:`~memba_vision.models.modules.ss2d.SS2D`.
    """

    def __init__(self, dim: int, drop_path_rate: float, with_mlp: bool, **mixer) -> None:
        super().__init__()
        self.dim = dim
        self.norm = LayerNorm(dim)
        self.op = SS2D(dim, **mixer)
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = LayerNorm(dim) if with_mlp else None
        self.mlp = Mlp(dim) if with_mlp else None

    def forward(
        self, residual: torch.Tensor, grid: Size, state: GateState = None
    ) -> tuple[torch.Tensor, GateState]:
        """Return the residual stream, (batch, length, dim) over ``grid``, and the state."""
        mixed, state = self.op(self.norm(residual), grid, state)
        residual = residual + self.drop_path(mixed)
        if self.mlp is not None:
            residual = residual + self.drop_path(self.mlp(self.norm2(residual)))
        return residual, state

    def block_sites(self, name: str) -> BlockSites:
        """Return the places that adapters find here; ``name`` is the path of this module."""
        mlp = None if self.mlp is None else f'{name}.mlp'
        parts = BlockParts(self.dim, name, f'{name}.op', mlp, PatchTokens())
        sites = replace(self.op.block_sites(f'{name}.op'), parts=parts)
        if self.mlp is None:
            return sites
        layers = {f'mlp.{layer}': (Rows(f'{mlp}.{layer}'),) for layer in ('fc1', 'fc2')}
        return replace(sites, projections={**sites.projections, **layers})


class PatchMerging(nn.Module):
    """Half a map's height and width: the norm of 2 x 2 neighbours side by side, and a projection.

    A map of an odd height or width gets zeros at the bottom or right.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = LayerNorm(4 * dim)
        self.reduction = Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (batch, dim, rows, columns) to (batch, 2 * dim, half of both, rounded up)."""
        rows, columns = images.shape[2:]
        images = F.pad(images, (0, columns % 2, 0, rows % 2))
        places = ((0, 0), (1, 0), (0, 1), (1, 1))
        neighbours = [images[:, :, row::2, column::2] for row, column in places]
        merged = torch.cat(neighbours, dim=1).movedim(1, -1)
        return self.reduction(self.norm(merged)).movedim(-1, 1)


class VSSStage(nn.Module):
    """Blocks at one resolution, and a layer that halves it, which the last stage lacks."""

    def __init__(self, blocks: Sequence[VSSBlock], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample


@MODELS.register_module()
class VMamba(StagedBackbone):
    """VMamba with parameter names as in the official checkpoints, which load strictly.

    A batch goes through ``patch_embed`` to a map of a quarter of its height and width, then through
    the stages of ``layers``, each of which but the last halves the map behind its blocks and
    doubles the width. ``classifier.norm`` follows the last block. There is no position embedding:
    any image of at least 4 pixels a side will do. What a gate carries from block to block travels
    as an argument, within a stage.

    v2, the published S, B and T of today, has a stem and transitions of 3 x 3 convolutions, no gate
    and an MLP in every block; v0 cuts patches of 4 pixels (what is left at the bottom and right is
    not seen), merges 2 x 2 neighbours, and gates.

    Args:
        arch: 'tiny_s1l8', 'tiny_s2l5', 'small_s2l15', 'small_s1l20', 'base_s2l15', 'base_s1l20',
            'v0_tiny', 'v0_small' or 'v0_base', or a dict with ``embed_dims``, ``depths`` (blocks of
            each stage) and, if need be, ``version`` ('v2' or 'v0'), ``d_state`` and ``ssm_ratio``.
        img_size: height and width of the images, in pixels, for exports and tools that make some.
        in_channels: channels of the images.
        out_indices: stages whose output is returned; negative numbers count from the end.
        drop_path_rate: drop rate of the last block's residual branches; it rises linearly from 0.
        out_type: 'avg_featmap' (batch, width), the input of the official head, 'featmap'
            (batch, width, rows, columns) or 'raw' (batch, rows * columns, width).
        frozen_stages: number of first stages that, as ``patch_embed``, do not train and stay in
            evaluation mode; with all of them ``classifier.norm`` too. 0 and -1 freeze nothing.
        with_cp: recompute each block in the backward pass instead of storing its activations.
        init_cfg: ``dict(type='Pretrained', checkpoint=…)`` loads an official checkpoint, one with
            older names, or a classifier's; ``key`` and ``prefix`` choose where a file holds several
            models. Keys must match exactly, those of the head aside. mmengine's other initializers,
            and lists, work too. None leaves the weights random.

    Raises:
        UserError: unknown ``arch`` or ``out_type``, stages that are not there, or weights that do
            not fit; weights of another architecture are named.
    """

    #: Parameters that weight decay would harm, by the last part of their name.
    no_weight_decay = ('A_logs', 'Ds')
    #: mmpretrain's classifiers call it before they load.
    _checkpoint_filter = FILES.rename_for_classifier
    files = FILES  #: loads its weights
    archs = ARCHS
    stages_name, norm_name = 'layers', 'classifier'

    def __init__(
        self,
        arch: str | dict = 'tiny_s1l8',
        img_size: int | Sequence[int] = 224,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = -1,
        drop_path_rate: float = 0.0,
        out_type: str = 'avg_featmap',
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.settings = _settings(arch)
        self.depths = self.settings['depths']
        self.num_stages = len(self.depths)
        check_out_type('VMamba', out_type, OUT_TYPES)
        check_frozen_stages('VMamba', frozen_stages, self.num_stages, 'stages')
        self.out_type = out_type
        self.out_indices = output_numbers('VMamba', out_indices, self.num_stages, 'stages')
        self.frozen_stages = frozen_stages
        self.with_cp = with_cp
        self.img_size = to_pair(img_size, 'img_size')

        first = self.settings['embed_dims']
        self.stage_dims = tuple(first * 2**stage for stage in range(self.num_stages))
        #: Width of the last stage.
        self.embed_dims = self.stage_dims[-1]
        modern = self.settings['version'] == 'v2'
        self.patch_embed = _stem(in_channels, first, modern)
        self.layers = nn.ModuleList(self._stages(drop_path_rate, modern))
        self.classifier = nn.ModuleDict({'norm': LayerNorm(self.embed_dims)})
        self._load_strictly_and_freeze()

    def _stages(self, drop_path_rate: float, modern: bool) -> list[VSSStage]:
        mixer = dict(
            d_state=self.settings['d_state'],
            ssm_ratio=self.settings['ssm_ratio'],
            gated=not modern,
            conv_bias=not modern,
        )
        rates = iter(torch.linspace(0, drop_path_rate, sum(self.depths), device='cpu').tolist())
        stages = []
        for number, (depth, dim) in enumerate(zip(self.depths, self.stage_dims, strict=True)):
            blocks = [VSSBlock(dim, next(rates), modern, **mixer) for _ in range(depth)]
            is_last = number == self.num_stages - 1
            stages.append(VSSStage(blocks, None if is_last else _downsample(dim, modern)))
        return stages

    @property
    def feature_dim(self) -> int:
        """Channels of the last output."""
        return self.stage_dims[self.out_indices[-1]]

    def sites(self) -> Sites:
        """Return the places that adapters find here."""
        blocks = (
            replace(block.block_sites(f'layers.{number}.blocks.{k}'), stage=number)
            for number, stage in enumerate(self.layers)
            for k, block in enumerate(stage.blocks)
        )
        is_one_layer = self.settings['version'] == 'v0'
        return Sites(tuple(blocks), embed=Rows('patch_embed.0') if is_one_layer else None)

    def stage_grids(self) -> tuple[Size, ...]:
        """Return rows and columns of the map of each stage, for images of ``img_size``."""
        modern = self.settings['version'] == 'v2'
        height, width = self.img_size
        first = (-(-height // 4), -(-width // 4)) if modern else (height // 4, width // 4)
        return tuple(
            (-(-first[0] // 2**stage), -(-first[1] // 2**stage)) for stage in range(self.num_stages)
        )

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return features of (batch, channels, height, width), one per entry of ``out_indices``.

        Raises:
            UserError: the images are smaller than a patch.
        """
        if min(images.shape[-2:]) < PATCH_SIZE:
            height, width = images.shape[-2:]
            raise UserError(
                f'VMamba: an image of {height} x {width} pixels is smaller than a patch, '
                f'{PATCH_SIZE}: enlarge it'
            )
        maps = self.patch_embed(images)
        outputs = {}
        for number, stage in enumerate(self.layers):
            maps = self._through_blocks(stage, maps)
            if number in self.out_indices:
                is_last = number == self.num_stages - 1
                outputs[number] = self._format(maps, self.classifier.norm if is_last else None)
            if number == max(self.out_indices):
                break
            # In half precision, the weights are narrower than the residual.
            maps = stage.downsample(maps.to(self.classifier.norm.weight.dtype))
        return tuple(outputs[number] for number in self.out_indices)

    def _through_blocks(self, stage: VSSStage, maps: torch.Tensor) -> torch.Tensor:
        """Map (batch, width, rows, columns) to the same shape, in float32 at the least."""
        grid = tuple(maps.shape[2:])
        residual = maps.flatten(2).transpose(1, 2)
        residual = residual.to(torch.promote_types(residual.dtype, torch.float32))
        state = None
        for block in stage.blocks:
            if self.with_cp and self.training:
                residual, state = checkpoint(block, residual, grid, state, use_reentrant=False)
            else:
                residual, state = block(residual, grid, state)
        return residual.transpose(1, 2).unflatten(2, grid)

    def _format(self, maps: torch.Tensor, norm: nn.Module | None) -> torch.Tensor:
        """Bring a stage's map, (batch, width, rows, columns), into the form of ``out_type``."""
        tokens = maps.flatten(2).transpose(1, 2)
        tokens = tokens if norm is None else norm(tokens)
        if self.out_type == 'raw':
            return tokens
        if self.out_type == 'avg_featmap':
            return tokens.mean(dim=1)
        return tokens.transpose(1, 2).unflatten(2, tuple(maps.shape[2:]))


def _settings(arch: str | Mapping) -> dict:
    """Return all settings of an architecture."""
    optional = ('version', 'd_state', 'ssm_ratio')
    given = arch_settings('VMamba', arch, ARCHS, ('embed_dims', 'depths'), optional)
    version = given.get('version', 'v2')
    if version not in DEFAULTS:
        raise UserError(f'VMamba: unknown version {version!r}; known are {", ".join(DEFAULTS)}')
    settings = {**DEFAULTS[version], **given, 'version': version}
    depths = settings['depths']
    sizes = [*(depths if isinstance(depths, Sequence) else [None])]
    sizes += [settings[name] for name in ('embed_dims', 'd_state', 'ssm_ratio')]
    if not all(type(size) is int and size > 0 for size in sizes) or not depths:
        raise UserError(
            'VMamba: depths are the numbers of blocks of the stages, and embed_dims, d_state and '
            f'ssm_ratio positive whole numbers, got {dict(given)}'
        )
    return settings | {'depths': tuple(depths)}


def _stem(in_channels: int, dim: int, modern: bool) -> nn.Sequential:
    """Return the layers from pixels to (batch, dim, rows, columns), a quarter of both sizes."""
    if not modern:
        cut = nn.Conv2d(in_channels, dim, PATCH_SIZE, PATCH_SIZE)
        return numbered({0: cut, 2: MapNorm(dim)})
    half = dim // 2
    return numbered(
        {
            0: nn.Conv2d(in_channels, half, 3, stride=2, padding=1),
            2: MapNorm(half),
            4: nn.GELU(),
            5: nn.Conv2d(half, dim, 3, stride=2, padding=1),
            7: MapNorm(dim),
        }
    )


def _downsample(dim: int, modern: bool) -> nn.Module:
    if not modern:
        return PatchMerging(dim)
    halve = nn.Conv2d(dim, 2 * dim, 3, stride=2, padding=1)
    return numbered({1: halve, 3: MapNorm(2 * dim)})
