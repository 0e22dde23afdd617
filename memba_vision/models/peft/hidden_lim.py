"""HiddenLIM: Memba's membrane on LoRA's hidden activations, for backbones without a gate."""

import math

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.gates import GateState
from memba_vision.models.peft.adapter import (
    AdaptedLayer,
    Adapter,
    check_state_free,
    replace_module,
)
from memba_vision.models.peft.lim import Membrane
from memba_vision.models.peft.lora import LoRALinear
from memba_vision.models.sites import ROLES, Rows, check_sites
from memba_vision.ops import check_membrane
from memba_vision.registry import ADAPTERS


class MembraneLoRALinear(AdaptedLayer):
    """``y = W h + b + up(scale * dropout(mean over k of LIM_k(down h)))``.

    Args:
        lora: the layer that this one takes over, with its parameters.
        membrane: integrates the hidden activations from both ends of the sequence.
    """

    owner = 'HiddenLIM'

    def __init__(self, lora: LoRALinear, membrane: Membrane) -> None:
        super().__init__(lora.base_layer)
        self.scale = lora.scale
        self.down = lora.down
        self.dropout = lora.dropout
        self.up = lora.up
        self.membrane = membrane
        #: True where it is called with the state of the block before and returns its own, too.
        self.takes_state = membrane.cross_layer

    def forward(
        self, hidden: torch.Tensor, state: GateState = None
    ) -> torch.Tensor | tuple[torch.Tensor, GateState]:
        """(batch, …, in_features) to (batch, …, out_features), the positions in image order."""
        current = self.down(hidden)
        potentials, state = self.membrane(current.flatten(1, -2), state)
        low_rank = potentials.mean(dim=0).to(current.dtype).view_as(current)
        out = self.base_layer(hidden) + self.up(self.scale * self.dropout(low_rank))
        return (out, state) if self.takes_state else out


@ADAPTERS.register_module()
class HiddenLIM(Adapter):
    """The leaky-integrate membrane of Memba inside a LoRA: a variant that needs no gate.

    Where Memba (:class:`memba_vision.models.peft.lim.LIM`) lets the membranes of both directions
    act on the gate alone, here the mean of their potentials takes the place of the hidden
    activations of a LoRA, for all that the projection yields. It stands on a LoRA of that
    projection, which comes before it in the list of adapters, adds no parameters of its own, and
    the adapted model computes the pre-trained function at the start. This is no published method:
    the equations of the membrane are those of Memba (ICLR 2026), section 4.

    Args:
        role: which projections, of :data:`memba_vision.models.sites.ROLES`.
        num_chunks: chunks that the sequence is cut into (T), at least 1.
        leak: what a potential keeps from chunk to chunk, in (0, 1].
        threshold: potentials above it are reset to zero; None stands for no reset.
        cross_layer: start from the mean potential of the block before, within a stage; needs a
            backbone whose blocks hand a state to projections of that role.
    """

    def __init__(
        self,
        role: str = 'mix.in',
        num_chunks: int = 4,
        leak: float = 0.9,
        threshold: float | None = 1.0,
        cross_layer: bool = True,
    ) -> None:
        if role not in ROLES:
            raise UserError(f'HiddenLIM: unknown role {role!r}; known are {", ".join(ROLES)}')
        check_membrane(num_chunks, leak)
        self.needs = (role, 'state') if cross_layer else (role,)
        self.role = role
        self.settings = dict(
            num_chunks=num_chunks,
            leak=leak,
            threshold=math.inf if threshold is None else threshold,
            cross_layer=cross_layer,
        )

    def attach(self, backbone: nn.Module) -> None:
        """Let a membrane integrate in every LoRA on a projection of the role."""
        check_sites(backbone, 'HiddenLIM', self.role)
        places = self._places(backbone)
        loras = {path: self._lora(backbone, path) for stage in places.values() for path in stage}
        if self.settings['cross_layer']:
            self._check_transfer(backbone, places)
        for path, lora in loras.items():
            layer = MembraneLoRALinear(lora, Membrane(**self.settings))
            replace_module(backbone, path, layer)

    def _places(self, backbone: nn.Module) -> dict[int, list[str]]:
        """Return the paths of the projections, by stage."""
        places: dict[int, list[str]] = {}
        for block in self.sites(backbone).blocks:
            rows: tuple[Rows, ...] = block.projections.get(self.role, ())
            places.setdefault(block.stage, []).extend(dict.fromkeys(row.module for row in rows))
        return places

    def _lora(self, backbone: nn.Module, path: str) -> LoRALinear:
        layer = backbone.get_submodule(path)
        if type(layer) is not LoRALinear:
            raise UserError(
                f'HiddenLIM: it integrates the hidden activations of a LoRA on {self.role}: put '
                f"dict(type='LoRA', targets=['{self.role}', …]), the last adapter of {path}, "
                'before it'
            )
        return layer

    def _check_transfer(self, backbone: nn.Module, places: dict[int, list[str]]) -> None:
        otherwise = 'set cross_layer=False'
        for block in self.sites(backbone).blocks:
            if self.role in block.projections and self.role not in block.stateful:
                raise UserError(
                    f'HiddenLIM: the blocks of {type(backbone).__name__} hand on no state to '
                    f'{self.role}: {otherwise}'
                )
        check_state_free(backbone, 'HiddenLIM', f'{otherwise} in one')
        for paths in places.values():
            ranks = sorted({len(backbone.get_submodule(path).down.weight) for path in paths})
            if len(ranks) > 1:
                raise UserError(
                    f'HiddenLIM: the LoRAs of {self.role} have the ranks {ranks}, but cross_layer '
                    f'hands potentials from block to block: give them one rank, or {otherwise}'
                )

    def merge(self, backbone: nn.Module) -> str:
        """It cannot, nor can the LoRA that it is in."""
        return 'HiddenLIM stays, and the LoRA that it is in with it: no weight leaks and resets'
