"""MambaVision: convolutions, then mixers and attention in windows (Hatamizadeh and Kautz 2025)."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.backbones.arch_check import count_blocks
from memba_vision.models.backbones.arguments import (
    arch_settings,
    check_frozen_stages,
    check_out_type,
    output_numbers,
)
from memba_vision.models.backbones.base_backbone import StagedBackbone
from memba_vision.models.backbones.weight_files import WeightFiles
from memba_vision.models.modules.attention import Attention
from memba_vision.models.modules.mamba_vision_blocks import (
    ConvBlock,
    Downsample,
    Stage,
    Stem,
    WindowBlock,
)
from memba_vision.models.modules.mamba_vision_mixer import MambaVisionMixer
from memba_vision.models.modules.patches import to_pair
from memba_vision.models.sites import Sites
from memba_vision.registry import MODELS

_NARROW = dict(num_heads=(8, 16), window_sizes=(14, 7), layer_scale=False)
_SCALED = _NARROW | dict(layer_scale=True)
_LARGE = _SCALED | dict(num_heads=(16, 32))
ARCHS = {
    'tiny': dict(embed_dims=80, stem_dims=32, depths=(1, 3, 8, 4), **_NARROW),
    'tiny2': dict(embed_dims=80, stem_dims=32, depths=(1, 3, 11, 4), **_NARROW),
    'small': dict(embed_dims=96, stem_dims=64, depths=(3, 3, 7, 5), **_NARROW),
    'base': dict(embed_dims=128, stem_dims=64, depths=(3, 3, 10, 5), **_SCALED),
    'large': dict(embed_dims=196, stem_dims=64, depths=(3, 3, 10, 5), **_LARGE),
    'large2': dict(embed_dims=196, stem_dims=64, depths=(3, 3, 12, 5), **_LARGE),
}
SETTINGS = ('embed_dims', 'stem_dims', 'depths', 'num_heads', 'window_sizes')
OPTIONAL = dict(layer_scale=False, d_state=8)
OUT_TYPES = ('avg_featmap', 'featmap', 'raw')
NUM_STAGES, CONV_STAGES = 4, 2


class MambaVisionFiles(WeightFiles):
    """The files of MambaVision, which tell their arch by their shapes."""

    anchors = ('patch_embed.conv_down.0.weight',)

    def arch_of(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any] | None:
        """Return the known settings of the arch, None where the weights are of no MambaVision."""
        stem = tensors.get('patch_embed.conv_down.3.weight')
        if stem is None or stem.ndim != 4:
            return None
        depths = (count_blocks(tensors, f'levels.{n}.blocks.') for n in range(NUM_STAGES))
        scaled = any(name.endswith('.gamma_1') for name in tensors)
        values = stem.shape[0], stem.shape[1], tuple(depths), scaled
        return dict(zip(('embed_dims', 'stem_dims', 'depths', 'layer_scale'), values, strict=True))


FILES = MambaVisionFiles()


@MODELS.register_module()
class MambaVision(StagedBackbone):
    """MambaVision with parameter names as in the official checkpoints, which load strictly.

    Images of any size, rectangles too, pass ``patch_embed`` and the four stages in ``levels``. The
    first two are convolutions. The others cut their map into windows and take these as a batch of
    sequences: in the first half of their blocks, rounded up, mixers scan them in one direction, in
    the rest they pass attention. The map of the last stage passes ``norm``. Source: Hatamizadeh
    and Kautz 2025, section 3. The official weights are under CC-BY-NC-SA-4.0, for non-commercial
    use.

    Args:
        arch: 'tiny', 'tiny2', 'small', 'base', 'large' or 'large2', or a dict with ``embed_dims``,
            the width of the first stage, which doubles from stage to stage, ``stem_dims``, that in
            ``patch_embed``, ``depths`` of the four stages, ``num_heads`` and ``window_sizes`` of
            the last two, and perhaps ``layer_scale`` (False) and ``d_state`` (8).
        img_size: height and width of the images that pipelines and exports are to make, in pixels;
            the backbone takes any.
        in_channels: channels of the images.
        out_indices: stages whose output is returned, from 0; negative numbers count from the end.
        drop_path_rate: drop rate of the last block's residual branches; it rises linearly from 0.
        out_type: 'avg_featmap' (batch, dim), the mean over the map, 'featmap' (batch, dim, rows,
            columns) or 'raw' (batch, rows * columns, dim).
        with_cp: recompute each block in the backward pass instead of keeping what it stores, those
            aside whose BatchNorm trains.
        init_cfg: ``dict(type='Pretrained', checkpoint=…)`` loads an official checkpoint or one of a
            classifier, as :class:`Vim` does.
        frozen_stages: number of first stages that, as ``patch_embed``, do not train and stay in
            evaluation mode; with all four ``norm`` too. 0 and -1 freeze nothing.

    A BatchNorm whose weight does not train stays in evaluation mode.

    Raises:
        UserError: unknown ``arch`` or ``out_type``, stages that are not there, widths that heads
            do not divide, or weights that do not fit.
    """

    #: Parameters that weight decay would harm, by the last part of their name.
    no_weight_decay = ('A_log', 'D', 'gamma_1', 'gamma_2')
    #: mmpretrain's classifiers call it before they load.
    _checkpoint_filter = FILES.rename_for_classifier
    files = FILES  #: loads its weights
    archs = ARCHS
    stages_name, norm_name = 'levels', 'norm'

    def __init__(
        self,
        arch: str | dict = 'tiny',
        img_size: int | Sequence[int] = 224,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = -1,
        drop_path_rate: float = 0.0,
        out_type: str = 'avg_featmap',
        with_cp: bool = False,
        init_cfg: dict | None = None,
        frozen_stages: int = -1,
    ) -> None:
        super().__init__(init_cfg)
        given = arch_settings('MambaVision', arch, ARCHS, SETTINGS, OPTIONAL)
        self.settings = settings = {**OPTIONAL, **given, 'depths': tuple(given['depths'])}
        _check_arch_dict(settings)
        check_out_type('MambaVision', out_type, OUT_TYPES)
        check_frozen_stages('MambaVision', frozen_stages, NUM_STAGES, 'stages')
        self.embed_dims = settings['embed_dims']
        self.depths = settings['depths']
        self.img_size = to_pair(img_size, 'img_size')
        self.out_type = out_type
        self.out_indices = output_numbers('MambaVision', out_indices, NUM_STAGES, 'stages')
        self.frozen_stages = frozen_stages
        self.num_features = self.embed_dims * 2 ** (NUM_STAGES - 1)

        self.patch_embed = Stem(in_channels, settings['stem_dims'], self.embed_dims)
        rates = iter(torch.linspace(0, drop_path_rate, sum(self.depths), device='cpu').tolist())
        self.levels = nn.ModuleList(
            _make_stage(number, settings, list(itertools.islice(rates, depth)), with_cp)
            for number, depth in enumerate(self.depths)
        )
        self.norm = nn.BatchNorm2d(self.num_features)
        self._load_strictly_and_freeze()

    @property
    def feature_dim(self) -> int:
        """Channels of the last output."""
        return self.embed_dims * 2 ** self.out_indices[-1]

    def train(self, mode: bool = True) -> 'MambaVision':
        """Switch drop path and statistics, but leave what is frozen in evaluation mode."""
        super().train(mode)
        frozen_norms = (
            module
            for module in self.modules()
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad
        )
        for norm in frozen_norms:
            norm.eval()
        return self

    def sites(self) -> Sites:
        """Return the places that adapters find here: those of the blocks in windows."""
        names = {
            f'levels.{stage}.blocks.{number}': stage
            for stage in range(CONV_STAGES, NUM_STAGES)
            for number in range(self.depths[stage])
        }
        blocks = (
            replace(self.get_submodule(name).block_sites(name), stage=stage)
            for name, stage in names.items()
        )
        return Sites(tuple(blocks))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return features of (batch, channels, height, width), one per entry of ``out_indices``."""
        maps, outputs = self.patch_embed(images), {}
        for number, stage in enumerate(self.levels):
            maps = stage(maps)
            if number in self.out_indices:
                outputs[number] = self._formatted(self._normed(maps, number))
            if number == max(self.out_indices):
                break
            maps = stage.downsample(maps)
        return tuple(outputs[number] for number in self.out_indices)

    def _normed(self, maps: torch.Tensor, stage: int) -> torch.Tensor:
        return self.norm(maps.to(self.norm.weight.dtype)) if stage == NUM_STAGES - 1 else maps

    def _formatted(self, maps: torch.Tensor) -> torch.Tensor:
        if self.out_type == 'avg_featmap':
            return maps.mean(dim=(2, 3))
        return maps if self.out_type == 'featmap' else maps.flatten(2).transpose(1, 2)


def _make_stage(
    number: int, settings: Mapping[str, Any], rates: Sequence[float], with_cp: bool
) -> Stage:
    """Make the stage of a number, with a block for each drop rate."""
    dim = settings['embed_dims'] * 2**number
    downsample = Downsample(dim) if number < NUM_STAGES - 1 else None
    if number < CONV_STAGES:
        blocks = [ConvBlock(dim, rate) for rate in rates]
        return Stage(blocks, None, downsample, with_cp)
    heads = settings['num_heads'][number - CONV_STAGES]
    mixers = math.ceil(len(rates) / 2)
    blocks = []
    for k, rate in enumerate(rates):
        mixer = MambaVisionMixer(dim, settings['d_state']) if k < mixers else Attention(dim, heads)
        blocks.append(WindowBlock(dim, mixer, rate, settings['layer_scale']))
    return Stage(blocks, settings['window_sizes'][number - CONV_STAGES], downsample, with_cp)


def _check_arch_dict(settings: Mapping[str, Any]) -> None:
    lengths = dict(depths=NUM_STAGES, num_heads=2, window_sizes=2)
    for name, length in lengths.items():
        if len(settings[name]) != length or min(settings[name]) < 1:
            raise UserError(
                f'MambaVision: {name} of the arch must be {length} positive numbers, got '
                f'{settings[name]}'
            )
    for number, heads in enumerate(settings['num_heads'], start=CONV_STAGES):
        dim = settings['embed_dims'] * 2**number
        if dim % heads:
            raise UserError(
                f'MambaVision: num_heads must divide the widths, but stage {number} is {dim} wide '
                f'and has {heads} heads'
            )
