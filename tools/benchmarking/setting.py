"""Settings of the benchmark: sizes of models, batches, precisions and time limits."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from memba_vision.errors import UserError


@dataclass(frozen=True)
class Sizes:
    """Sizes of Vim-S and of what is measured with it.

    Attributes:
        width: of the residual stream; the mixers work on twice as many channels.
        state: state dimensions per channel.
        rank: of LoRA, on both projections.
        image: height and width of the images, in pixels; patches have 16 by 16.
        depth: blocks of the whole model.
        part_depth: blocks of the model where many are measured: in 'membrane' and 'growth'.
        growing_images: image sizes of 'growth'; each has twice the side of the one before.
        largest_batch: of 'growth'.
        pyramid_dims: width of the first stage of the hierarchical models; that of VMamba-T and
            Swin-T by default, as are their depths.
        vmamba_depths: blocks of VMamba's stages.
        swin_depths: blocks of Swin's stages.
        vit_depth: blocks of ViT; it is as wide as Vim.
    """

    width: int = 384
    state: int = 16
    rank: int = 64
    image: int = 224
    depth: int = 24
    part_depth: int = 6
    growing_images: tuple[int, ...] = (224, 448, 896)
    largest_batch: int = 64
    pyramid_dims: int = 96
    vmamba_depths: tuple[int, ...] = (2, 2, 8, 2)
    swin_depths: tuple[int, ...] = (2, 2, 6, 2)
    vit_depth: int = 12

    @property
    def channels(self) -> int:
        """Channels that the scan works on."""
        return 2 * self.width

    @property
    def length(self) -> int:
        """Tokens of an image, with the class token."""
        return (self.image // 16) ** 2 + 1


QUICK = Sizes(
    width=16,
    state=4,
    rank=2,
    image=64,
    depth=2,
    part_depth=1,
    growing_images=(32, 64, 128),
    largest_batch=4,
    pyramid_dims=32,
    vmamba_depths=(1, 1),
    swin_depths=(1, 1),
    vit_depth=1,
)
QUICK_SECONDS = 2


@dataclass(frozen=True)
class Workload:
    """A batch size and a precision; half precision stands for autocast where modules run."""

    device: torch.device
    batch: int
    dtype: torch.dtype

    def __str__(self) -> str:
        return f'batch {self.batch}, {str(self.dtype).removeprefix("torch.")}'

    def autocast(self, function: Callable) -> Callable:
        """Let ``function`` run in this precision."""
        half = self.dtype != torch.float32

        def run(*args: torch.Tensor) -> object:
            with torch.autocast(self.device.type, self.dtype, enabled=half):
                return function(*args)

        return run


@dataclass(frozen=True)
class Setting:
    """Shared settings of the parts of the benchmark.

    Attributes:
        device: the device.
        sizes: of the models.
        workloads: each is measured; the first is that of the published figures.
        seconds: time limit of a part's measurements, without first calls.
        only: words that restrict part 'peers'.
    """

    device: torch.device
    sizes: Sizes
    workloads: tuple[Workload, ...]
    seconds: float
    only: frozenset[str] = frozenset()


def choose_setting(device: str, quick: bool, seconds: float, part_depth: int | None) -> Setting:
    """The setting for a device, 'cpu', 'cuda' or 'auto'.

    On a GPU there is a large batch in bfloat16 too, and every model has its full depth.

    Raises:
        UserError: there is no such device.
    """
    place = _device(device)
    on_gpu = place.type == 'cuda'
    sizes = QUICK if quick else replace(Sizes(), part_depth=Sizes.depth if on_gpu else 6)
    sizes = replace(sizes, part_depth=part_depth or sizes.part_depth)
    workloads = [Workload(place, 2 if quick else 8, torch.float32)]
    if on_gpu:
        workloads.append(Workload(place, 4 if quick else 64, torch.bfloat16))
    return Setting(
        place, sizes, tuple(workloads), min(seconds, QUICK_SECONDS) if quick else seconds
    )


def _device(name: str) -> torch.device:
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    if name == 'cuda' and not torch.cuda.is_available():
        raise UserError('--device cuda: torch sees no GPU here; use --device cpu')
    return torch.device(name)
