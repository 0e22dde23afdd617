"""GPS (Zhang et al. 2024): the weights of each neuron with the largest gradients train."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.models.peft.adapter import merge_layers, replace_module
from memba_vision.models.peft.selection import (
    Batch,
    SelectingAdapter,
    Task,
    parameter_of,
    sum_gradients,
)
from memba_vision.models.peft.setting_checks import check_whole
from memba_vision.models.peft.sparse import SparseLayer, decode_positions, encode_positions
from memba_vision.models.peft.targets import check_targets, find_targets
from memba_vision.registry import ADAPTERS

TEMPERATURE = 0.07


def supervised_contrastive_loss(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the loss that draws images of one class together and others apart.

    Images without another one of their class in the batch count as the others' opposites alone.
    Source: Khosla et al. 2020, equation 2.

    Args:
        features: (batch, channels).
        labels: (batch,).
    """
    unit = F.normalize(features.flatten(1), dim=1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    similarity = (unit @ unit.T / TEMPERATURE).masked_fill(itself, -torch.inf)
    log_shares = similarity.log_softmax(dim=1)
    positive = (labels[:, None] == labels) & ~itself
    anchors = positive.any(dim=1)
    sums = log_shares.masked_fill(~positive, 0).sum(dim=1)[anchors]
    return -(sums / positive.sum(dim=1)[anchors]).sum() / max(len(labels), 1)


@ADAPTERS.register_module()
class GPS(SelectingAdapter):
    """The ``k`` weights of each output with the largest gradient train, and all of their biases.

    Trains ``k`` parameters per output of each layer that ``targets`` names, and the biases of these
    layers: 123,264 on Vim-S. The gradient is that of the supervised contrastive loss of the
    pre-trained features, summed over the training split. Source: Zhang et al. 2024 (CVPR), section
    3, and the authors' code, which trains the biases too.

    Args:
        targets: names or roles of linear layers and 2D convolutions.
        k: weights per output.
        images: see :class:`~memba_vision.models.peft.selection.SelectingAdapter`.
        choice: likewise; the chosen positions in each layer's flat weight.
    """

    def __init__(
        self,
        targets: Sequence[str] = ('all_proj',),
        k: int = 1,
        images: int | None = None,
        choice: dict | None = None,
    ) -> None:
        check_targets('GPS', targets)
        check_whole('GPS', 'k', k)
        super().__init__(images, choice)
        self.targets = tuple(targets)
        self.k = k

    def places(self, backbone: nn.Module) -> dict[str, nn.Module]:
        """Return the layers of the targets by name."""
        return find_targets(backbone, self.targets, [nn.Linear, nn.Conv2d])

    def measure(self, task: Task) -> dict[str, torch.Tensor]:
        """Return the sums of the weights' gradients by layer."""

        def loss(batch: Batch) -> torch.Tensor:
            return supervised_contrastive_loss(task.features(batch), batch.labels)

        weights = {name: layer.weight for name, layer in self.places(task.backbone).items()}
        return sum_gradients(task, self.images, weights, loss)

    def choose(self, backbone: nn.Module, statistics: dict[str, torch.Tensor]) -> dict:
        """Return the positions with the largest gradients of each row."""
        return {name: encode_positions(self._largest(g)) for name, g in statistics.items()}

    def _largest(self, gradient: torch.Tensor) -> torch.Tensor:
        rows = gradient.abs().flatten(1)
        found = rows.topk(min(self.k, rows.shape[1]), dim=1).indices.sort(dim=1).values
        first = torch.arange(len(rows), device=rows.device) * rows.shape[1]
        return (found + first[:, None]).flatten()

    def without_data(self, backbone: nn.Module) -> dict[str, torch.Tensor]:
        """Return gradients that are all the same."""
        shapes = {name: layer.weight.shape for name, layer in self.places(backbone).items()}
        return {n: torch.ones((), device='cpu').expand(shape) for n, shape in shapes.items()}

    def attach(self, backbone: nn.Module) -> None:
        """Have the chosen entries of the weights train, and the biases."""
        layers = self.places(backbone)
        for name, layer in layers.items():
            positions = decode_positions(self.choice[name])
            replace_module(backbone, name, SparseLayer(layer, positions))
        for layer in layers.values():
            if layer.bias is not None:
                parameter_of(layer.bias).requires_grad_(True)

    def merge(self, backbone: nn.Module) -> None:
        """Add the changes to the weights."""
        merge_layers(backbone, SparseLayer)
