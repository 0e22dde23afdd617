"""Effect of adapters on the features of a backbone before any training."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from torch import nn

from memba_vision.datasets.image_formats import FORMATS
from memba_vision.datasets.vtab1k_tools.folders import walk_images
from memba_vision.errors import UserError
from memba_vision.models.backbones.initialization import initialize_backbone
from memba_vision.models.modules.patches import Size, input_size
from memba_vision.models.peft.model import attach_adapters
from memba_vision.registry import MODELS
from memba_vision.runs.config import preprocessor_settings
from memba_vision.serving.images import read_pixels
from memba_vision.visualization.trace import GateCall, integrate, watching


class Step0:
    """Comparison of adapted features with those of the pre-trained backbone.

    Args:
        backbone: the backbone with its weights, which is not changed.
        images: normalised images (batch, channels, height, width).
    """

    def __init__(self, backbone: nn.Module, images: torch.Tensor) -> None:
        backbone.eval()
        self.backbone = backbone
        self.images = images
        self.features = self._features(backbone)

    @torch.no_grad()
    def _features(self, backbone: nn.Module) -> torch.Tensor:
        return backbone(self.images)[-1].flatten(1)

    def describe(self, adapters: Sequence[dict]) -> tuple[str, str]:
        """Return the cosine between the features, and the share of potentials reset in each block.

        The cosine is the mean over the images. The shares, in percent from the first block to the
        last, are empty if there is no membrane.
        """
        torch.manual_seed(0)
        adapted = copy.deepcopy(self.backbone)
        attach_adapters(adapted, adapters)
        adapted.eval()
        shares = []

        def note(call: GateCall) -> None:
            shares.append(integrate(call).was_reset().float().mean().item())

        with watching(adapted, note):
            features = self._features(adapted)
        cosine = nn.functional.cosine_similarity(features, self.features).mean()
        return f'{cosine.item():.4f}', ' '.join(f'{100 * share:.1f}' for share in shares)


def load_step0(config: Config, checkpoint: str, images: str | None, count: int = 8) -> Step0:
    """Build the backbone of ``config`` with the weights of ``checkpoint``.

    Args:
        config: config of a model that adapts a backbone.
        checkpoint: the backbone's weights.
        images: a folder with images, at any depth; None stands for normal noise.
        count: number of images.

    Raises:
        UserError: the weights do not fit, or there is no image.
    """
    settings = config.model.backbone.module
    init_default_scope('mmpretrain')
    init_cfg = dict(type='Pretrained', checkpoint=checkpoint)
    backbone = MODELS.build({**settings, 'init_cfg': init_cfg})
    initialize_backbone(backbone)
    size = input_size(backbone)
    if images:
        batch = _read_images(config, images, size, count)
    else:
        generator = torch.Generator().manual_seed(0)
        batch = torch.randn((count, 3, *size), generator=generator)
    return Step0(backbone, batch)


def _read_images(config: Config, folder: str, size: Size, count: int) -> torch.Tensor:
    paths = sorted(walk_images(Path(folder), [])) if Path(folder).is_dir() else []
    if not paths:
        raise UserError(f'--images {folder}: there is no image ({", ".join(FORMATS)})')
    chosen = paths[:: max(1, len(paths) // count)][:count]
    pixels = [_read_image(path, size) for path in chosen]
    preprocessing = preprocessor_settings(config)
    middle, spread = (torch.tensor(preprocessing[key]) for key in ('mean', 'std'))
    return ((torch.stack(pixels) - middle) / spread).permute(0, 3, 1, 2).contiguous()


def _read_image(path: Path, size: Size) -> torch.Tensor:
    """Return an image as float32 (height, width, 3), red first, from 0 to 255."""
    image = Image.fromarray(read_pixels(path)).resize(size[::-1], Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image, dtype=np.float32))
