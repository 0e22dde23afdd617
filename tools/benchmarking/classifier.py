"""Adapted backbones with a head, and the passes through them that are timed."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from benchmarking import passes
from benchmarking.contest import Call
from benchmarking.methods import adapters
from benchmarking.setting import Sizes, Workload
from memba_vision.models.backbones.vim import Vim
from memba_vision.models.backbones.vmamba import VMamba
from memba_vision.models.peft.model import PEFTModel

CLASSES = 100
LEARNING_RATE = 1e-4


class WithHead(nn.Module):
    """A backbone and a linear head.

    Args:
        backbone: yields (batch, width) as its last output.
        width: of that output.
    """

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(width, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify (batch, 3, image, image) as (batch, classes)."""
        return self.head(self.backbone(images)[-1])


class Classifier(WithHead):
    """A frozen Vim with random weights, a method's adapters, and a linear head.

    Args:
        method: one of :mod:`benchmarking.methods`.
        sizes: width, state and rank.
        depth: blocks.
        image: height and width of the images, in pixels.
    """

    def __init__(self, method: str, sizes: Sizes, depth: int, image: int) -> None:
        arch = dict(embed_dims=sizes.width, num_layers=depth, d_state=sizes.state)
        vim = Vim(arch, img_size=image, drop_path_rate=0.1)
        super().__init__(PEFTModel(vim, adapters(method, sizes)), sizes.width)


def vmamba(sizes: Sizes, targets: Sequence[str]) -> WithHead:
    """A frozen VMamba with random weights, LoRA on ``targets``, and a linear head."""
    arch = dict(embed_dims=sizes.pyramid_dims, depths=sizes.vmamba_depths, ssm_ratio=1)
    lora = dict(type='LoRA', targets=list(targets), rank=sizes.rank)
    backbone = VMamba(arch, img_size=sizes.image, drop_path_rate=0.1)  # as Swin has it
    return WithHead(PEFTModel(backbone, [lora]), backbone.embed_dims)


def training_step(
    model: nn.Module, images: torch.Tensor, workload: Workload, capturable: bool = False
) -> Call:
    """Forward pass, cross-entropy, backward pass and AdamW on all that trains.

    With ``capturable`` the optimizer counts its steps on the GPU, so that a CUDA graph can.
    """
    model.train()
    trained = passes.trained(model)
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, capturable=capturable)
    labels = torch.arange(len(images), device=images.device) % CLASSES
    classify = workload.autocast(model)

    def step() -> None:
        loss = F.cross_entropy(classify(images).float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def forward_pass(model: nn.Module, images: torch.Tensor, workload: Workload) -> Call:
    """A forward pass as in testing."""
    model.eval()
    classify = workload.autocast(model)
    return passes.forward(lambda: classify(images))


def model_pass(kind: str, model: nn.Module, images: torch.Tensor, workload: Workload) -> Call:
    """A pass of either kind, see :mod:`benchmarking.passes`."""
    make = training_step if kind == passes.STEP else forward_pass
    return make(model, images, workload)


def random_images(workload: Workload, image: int) -> torch.Tensor:
    """Return normally distributed images, (batch, 3, image, image)."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(workload.batch, 3, image, image, generator=generator)
    return values.to(workload.device)


def model_builders(
    methods: Sequence[str], kind: str, sizes: Sizes, depth: int, workload: Workload
) -> dict[str, Callable[[], Call]]:
    """Return builders of a pass through a model of each method, by the method's name."""
    images = random_images(workload, sizes.image)

    def build(method: str) -> Call:
        model = Classifier(method, sizes, depth, sizes.image).to(workload.device)
        return model_pass(kind, model, images, workload)

    return {method: (lambda method=method: build(method)) for method in methods}
