"""HiddenLIM: Memba's membrane on LoRA's hidden activations, for backbones without a gate."""

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.gates import GateState
from memba_vision.models.peft.adapter import AdaptedLayer, Adapter, check_state_free, replace_module
from memba_vision.models.peft.lim import Membrane, membrane_settings
from memba_vision.models.peft.lora_layers import LoRALinear
from memba_vision.models.peft.low_rank_gate import check_loras
from memba_vision.models.peft.setting_checks import check_switch
from memba_vision.models.peft.targets import places_of
from memba_vision.models.sites import Sites
from memba_vision.registry import ADAPTERS


class MembraneLoRALinear(AdaptedLayer):
    """Projection with LoRA, whose hidden activations are integrated by a membrane.

    ``y = W h + b + up(scale * dropout(mean over k of LIM_k(down h)))``

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
        """Map (batch, …, in_features) to (batch, …, out_features), positions in image order."""
        current = self.down(hidden)
        potentials, state = self.membrane(current.flatten(1, -2), state)
        low_rank = potentials.mean(dim=0).to(current.dtype).view_as(current)
        out = self.up(self.dropout(low_rank, self.scale), added=self.base_layer(hidden))
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
        target: the projections, a role or a name as the targets of
            :class:`memba_vision.models.peft.lora.LoRA`.
        num_chunks: chunks that the sequence is cut into (T), at least 1.
        leak: share of a potential that is kept from chunk to chunk, in (0, 1].
        threshold: potentials above it are reset to zero; None stands for no reset.
        cross_layer: start from the mean potential of the block before, within a stage; needs a
            backbone whose blocks hand a state to these projections.
    """

    def __init__(
        self,
        target: str = 'in_proj',
        num_chunks: int = 4,
        leak: float = 0.9,
        threshold: float | None = 1.0,
        cross_layer: bool = True,
    ) -> None:
        check_switch('HiddenLIM', 'cross_layer', cross_layer)
        self.needs = ('state',) if cross_layer else ()
        self.target = target
        self.settings = membrane_settings(num_chunks, leak, threshold)
        self.cross_layer = cross_layer

    def attach(self, backbone: nn.Module) -> None:
        """Let a membrane integrate in every LoRA on the target."""
        sites = self.sites(backbone)
        paths = dict.fromkeys(place.module for place in places_of(backbone, self.target))
        loras = {path: backbone.get_submodule(path) for path in paths}
        if not loras:
            raise UserError(
                f'HiddenLIM: target {self.target!r} names no layer of {type(backbone).__name__}'
            )
        lacking = [path for path, layer in loras.items() if type(layer) is not LoRALinear]
        check_loras('HiddenLIM: it', self.target, [*loras], lacking)
        if self.cross_layer:
            check_state_free(backbone, 'HiddenLIM', 'set cross_layer=False in one')
            self._check_transfer(sites, loras)
        for path, lora in loras.items():
            layer = MembraneLoRALinear(lora, Membrane(self.settings, self.cross_layer))
            replace_module(backbone, path, layer)

    def _check_transfer(self, sites: Sites, loras: dict[str, LoRALinear]) -> None:
        stages = {
            rows.module: block.stage
            for block in sites.blocks
            for role in block.stateful
            for rows in block.projections.get(role, ())
        }
        if lacking := [path for path in loras if path not in stages]:
            raise UserError(
                f'HiddenLIM: the blocks hand on no state to {lacking[0]}: set cross_layer=False'
            )
        for stage in set(stages.values()):
            ranks = {len(lora.down.weight) for path, lora in loras.items() if stages[path] == stage}
            if len(ranks) > 1:
                raise UserError(
                    f'HiddenLIM: the LoRAs of {self.target} have the ranks {sorted(ranks)}, but '
                    'cross_layer hands potentials from block to block: give them one rank, or set '
                    'cross_layer=False'
                )

    def merge(self, backbone: nn.Module) -> str:
        """Return the reason why it stays, and the LoRA that it is in too."""
        return 'HiddenLIM stays, and the LoRA that it is in with it: no weight leaks and resets'
