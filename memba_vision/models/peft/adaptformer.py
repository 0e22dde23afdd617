"""AdaptFormer (Chen et al. 2022): a ReLU bottleneck beside an MLP."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.models.peft.adapter import Adapter
from memba_vision.models.peft.beside import add_beside
from memba_vision.models.peft.bottleneck import Bottleneck
from memba_vision.models.peft.low_rank import check_low_rank
from memba_vision.models.sites import check_share_of_blocks
from memba_vision.registry import ADAPTERS


class AdaptMLP(Bottleneck):
    """Bottleneck ``scale * up(dropout(relu(down(h))))`` with biases; ``up`` is zero at the start.

    The arguments are those of :class:`~memba_vision.models.peft.bottleneck.Bottleneck`.
    """

    def inside(self, low_rank: torch.Tensor, *call: Any) -> torch.Tensor:
        """Rectify (..., rank)."""
        return F.relu(low_rank)


@ADAPTERS.register_module()
class AdaptFormer(Adapter):
    """A ReLU bottleneck beside the MLP of every block or, where it has none, beside its mixer.

    It gets the normalised tokens that the MLP gets. Trains ``rank * 2 * width + rank + width``
    parameters per block; rank 8 on Vim-S makes 156,864. Source: Chen et al. 2022 (NeurIPS),
    section 3.2; the authors' code leaves the norm before the bottleneck out.

    Args:
        rank: width of the bottleneck.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
        blocks: see :func:`memba_vision.models.sites.check_share_of_blocks`.
    """

    added_later = ('blocks',)
    needs = ('block',)

    def __init__(
        self,
        rank: int = 8,
        scale: float = 0.1,
        drop_rate: float = 0.1,
        blocks: Sequence[float] | None = None,
    ) -> None:
        check_low_rank('AdaptFormer', rank, drop_rate, scale)
        check_share_of_blocks('AdaptFormer', blocks)
        self.blocks = blocks
        self.settings = dict(rank=rank, scale=scale, drop_rate=drop_rate)

    def attach(self, backbone: nn.Module) -> None:
        """Put a bottleneck beside each MLP, or each mixer."""
        like = next(backbone.parameters())
        for part in self.sites(backbone).within(self.blocks).parts():
            update = AdaptMLP(part.width, like=like, **self.settings)
            add_beside(backbone, part.mlp or part.mixer, 'adaptformer', update)

    def merge(self, backbone: nn.Module) -> str:
        """Return the reason why it stays: a ReLU is in between."""
        return 'AdaptFormer stays: its ReLU makes it no linear map that a weight could take up'
