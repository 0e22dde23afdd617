"""FacT (Jie and Deng 2023): updates of all layers as one tensor, of factors that they share."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.dropout import ScaledDropout
from memba_vision.models.modules.linear import Linear
from memba_vision.models.peft.adapter import AdaptedLayer, merge_layers, replace_module
from memba_vision.models.peft.low_rank import LowRankAdapter
from memba_vision.models.peft.targets import find_targets
from memba_vision.registry import ADAPTERS


class SharedFactors(nn.Module):
    """Factors that all layers of one width share: ``down`` and ``up``, which is zero at the start.

    Args:
        width: channels of the residual stream.
        rank: channels between the factors.
        like: a parameter whose device and dtype are taken.
    """

    def __init__(self, width: int, rank: int, like: torch.Tensor) -> None:
        super().__init__()
        self.rank = rank
        self.down = Linear(width, rank, bias=False, device=like.device, dtype=like.dtype)
        self.up = Linear(rank, width, bias=False, device=like.device, dtype=like.dtype)
        nn.init.zeros_(self.up.weight)


class TensorTrain(nn.Module):
    """Matrix between the factors that is the layer's own (FacT-TT).

    Args:
        rank: channels between the factors.
        inputs: pieces of a layer's input, as wide as the residual stream.
        outputs: pieces of its output.
        like: a parameter whose device and dtype are taken.
    """

    def __init__(self, rank: int, inputs: int, outputs: int, like: torch.Tensor) -> None:
        super().__init__()
        self.matrix = nn.Parameter(like.new_empty(outputs * rank, inputs * rank))
        nn.init.kaiming_uniform_(self.matrix, a=math.sqrt(5))

    def forward(self) -> torch.Tensor:
        """Return the matrix, (outputs * rank, inputs * rank)."""
        return self.matrix


class TuckerCore(nn.Module):
    """Core and factor of the layers from which all layers' matrices are made (FacT-TK).

    Args:
        rank: channels between the factors.
        pieces: pieces of all layers' weights.
        like: a parameter whose device and dtype are taken.
    """

    def __init__(self, rank: int, pieces: int, like: torch.Tensor) -> None:
        super().__init__()
        self.core = nn.Parameter(like.new_empty(rank, rank, rank))
        self.layers = nn.Parameter(like.new_empty(rank, pieces))
        nn.init.xavier_uniform_(self.core)
        nn.init.xavier_uniform_(self.layers)


class Tucker(nn.Module):
    """Matrix between the factors that is made from a shared core.

    Args:
        core: the core. It is registered elsewhere.
        pieces: numbers of the pieces that are this layer's, by output and input.
        inputs: pieces of its input.
    """

    def __init__(self, core: TuckerCore, pieces: range, inputs: int) -> None:
        super().__init__()
        self._core = (core,)  # in a tuple it is not a child
        self.pieces = pieces
        self.inputs = inputs

    def forward(self) -> torch.Tensor:
        """Return the matrix, (outputs * rank, inputs * rank)."""
        core = self._core[0]
        factors = core.layers[:, self.pieces.start : self.pieces.stop]
        made = torch.einsum('oik,kp->poi', core.core, factors)
        return made.unflatten(0, (-1, self.inputs)).transpose(1, 2).flatten(2).flatten(0, 1)


class FactoredLinear(AdaptedLayer):
    """Projection ``y = W h + b + scale * up(dropout(M down(h)))``.

    ``down`` takes each piece of ``h``, and ``up`` makes each piece of ``y``.

    Args:
        base_layer: the frozen projection; inputs and outputs are multiples of the factors' width.
        factors: the shared factors. They are registered elsewhere.
        between: makes ``M``, (outputs * rank, inputs * rank).
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def __init__(
        self,
        base_layer: nn.Linear,
        factors: SharedFactors,
        between: nn.Module,
        scale: float,
        drop_rate: float,
    ) -> None:
        super().__init__(base_layer)
        self._factors = (factors,)  # in a tuple it is not a child
        self.between = between
        self.scale = scale
        self.dropout = ScaledDropout(drop_rate)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Project (..., in_features) to (..., out_features)."""
        factors = self._factors[0]
        pieces = hidden.unflatten(-1, (-1, factors.down.in_features))
        low_rank = F.linear(factors.down(pieces).flatten(-2), self.between())
        low_rank = self.dropout(low_rank, self.scale).unflatten(-1, (-1, factors.rank))
        return self.base_layer(hidden) + factors.up(low_rank).flatten(-2)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Return the projection with the update added to its weight."""
        factors = self._factors[0]
        matrix = self.between()
        by_piece = matrix.view(-1, factors.rank, matrix.shape[1] // factors.rank, factors.rank)
        update = torch.einsum('vo,boai,iw->bvaw', factors.up.weight, by_piece, factors.down.weight)
        self.base_layer.weight.add_(self.scale * update.reshape(self.base_layer.weight.shape))
        return self.base_layer


@ADAPTERS.register_module()
class FacT(LowRankAdapter):
    """FacT-TT and FacT-TK on all projections that ``targets`` name.

    A projection is cut into pieces as wide as the residual stream. Layers of one width share
    ``down`` and ``up``, ``2 * rank * width`` parameters; 'tt' adds ``rank²`` per piece, 'tk'
    ``rank³ + rank * pieces``. On Vim-S, with 144 pieces, rank 16 of 'tt' makes 49,152 and rank 32
    of 'tk' 61,952. Source: Jie and Deng 2023 (AAAI), section "Factor-Tuning".

    Args:
        form: 'tt', tensor train, or 'tk', Tucker.
        targets: names or roles of linear layers.
        rank: channels between the factors.
        scale: factor of the updates.
        drop_rate: dropout on the bottlenecks' activations.
    """

    FORMS = ('tt', 'tk')

    def __init__(
        self,
        form: str = 'tt',
        targets: Sequence[str] = ('branch_proj',),
        rank: int = 16,
        scale: float = 1.0,
        drop_rate: float = 0.1,
    ) -> None:
        super().__init__(targets, rank, scale, drop_rate)
        if form not in self.FORMS:
            raise UserError(f'FacT: unknown form {form!r}; known are {", ".join(self.FORMS)}')
        self.form = form

    def attach(self, backbone: nn.Module) -> None:
        """Put the factors into the backbone, and wrap the targets."""
        found = find_targets(backbone, self.targets, [nn.Linear])
        if hasattr(backbone, 'fact'):
            raise UserError('FacT: there is one already; use one FacT alone')
        backbone.fact = nn.ModuleDict()
        for width in sorted({_width(layer) for layer in found.values()}):
            layers = {name: layer for name, layer in found.items() if _width(layer) == width}
            self._share(backbone, width, layers)

    def _share(self, backbone: nn.Module, width: int, layers: dict[str, nn.Linear]) -> None:
        like, rank = next(iter(layers.values())).weight, self.settings['rank']
        factors = SharedFactors(width, rank, like)
        backbone.fact[str(width)] = factors
        shapes = {n: (x.in_features // width, x.out_features // width) for n, x in layers.items()}
        if self.form == 'tk':
            pieces = sum(inputs * outputs for inputs, outputs in shapes.values())
            factors.tucker = TuckerCore(rank, pieces, like)
        first = 0
        for name, layer in layers.items():
            inputs, outputs = shapes[name]
            if self.form == 'tk':
                numbers = range(first, first + inputs * outputs)
                between = Tucker(factors.tucker, numbers, inputs)
                first = numbers.stop
            else:
                between = TensorTrain(rank, inputs, outputs, like)
            settings = {key: self.settings[key] for key in ('scale', 'drop_rate')}
            replace_module(backbone, name, FactoredLinear(layer, factors, between, **settings))

    def merge(self, backbone: nn.Module) -> None:
        """Add the updates to the weights, and take the factors out."""
        merge_layers(backbone, FactoredLinear)
        del backbone.fact


def _width(layer: nn.Linear) -> int:
    """Return the widest pieces that make inputs and outputs: those of the residual stream."""
    return math.gcd(layer.in_features, layer.out_features)
