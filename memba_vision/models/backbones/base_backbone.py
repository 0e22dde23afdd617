"""Base classes of the backbones: weights from files, frozen parts, depths of parameters."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mmengine.model import BaseModule
from torch import nn

from memba_vision.models.backbones.weight_files import WeightFiles

#: Parts before the stages, the stages, and parts behind them, which are frozen in this order.
Parts = tuple[Sequence[nn.Module | nn.Parameter], Sequence[nn.Module], Sequence[nn.Module]]


class Backbone(BaseModule):
    """Base class of backbones that load official files and can freeze their first stages.

    A subclass sets ``frozen_stages`` and the class attributes, and says in :meth:`_parts` what can
    be frozen. It ends its constructor with :meth:`_load_strictly_and_freeze`.
    """

    files: ClassVar[WeightFiles]  #: loads its weights
    archs: ClassVar[Mapping[str, Mapping[str, Any]]]  #: settings of the archs that have names
    frozen_stages: int

    def init_weights(self) -> None:
        """Initialize as ``init_cfg`` says; without it, keep the random weights."""
        self._is_init = True
        self.files.initialize(self)

    def train(self, mode: bool = True) -> 'Backbone':
        """Switch drop path and statistics, but leave the frozen parts in evaluation mode."""
        super().train(mode)
        for part in self._frozen_parts():
            if isinstance(part, nn.Module):
                part.eval()
        return self

    def _parts(self) -> Parts:
        raise NotImplementedError

    def _frozen_parts(self) -> list[nn.Module | nn.Parameter]:
        if self.frozen_stages < 1:
            return []
        first, stages, last = self._parts()
        frozen = [*first, *stages[: self.frozen_stages]]
        return frozen + list(last) if self.frozen_stages == len(stages) else frozen

    def _load_strictly_and_freeze(self) -> None:
        self.register_load_state_dict_pre_hook(self.files.fit_files)
        for part in self._frozen_parts():
            part.requires_grad_(False)
        self.train(self.training)


class StagedBackbone(Backbone):
    """Base class of backbones with ``patch_embed``, stages of ``blocks``, and a norm.

    A subclass sets ``depths``, the numbers of blocks of its stages.
    """

    stages_name: ClassVar[str]  #: the attribute with the stages
    norm_name: ClassVar[str]  #: the attribute with the norm behind them
    depths: Sequence[int]

    def _parts(self) -> Parts:
        stages = self.get_submodule(self.stages_name)
        return [self.patch_embed], stages, [self.get_submodule(self.norm_name)]

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the depth of a parameter, for learning rates that decay with it.

        Args:
            param_name: its name in the whole model.
            prefix: the backbone's own name in the model, with a dot behind it.

        Returns:
            0 for ``patch_embed``, from 1 on for the blocks of all stages, a stage's last number for
            its transition to the next one, and the highest for the norm and whatever follows the
            backbone; and the number of depths.
        """
        depths = sum(self.depths) + 2
        parts = param_name.removeprefix(prefix).split('.')
        if not param_name.startswith(prefix) or parts[0] not in ('patch_embed', self.stages_name):
            return depths - 1, depths
        if parts[0] == 'patch_embed':
            return 0, depths
        stage = int(parts[1])
        block = int(parts[3]) + 1 if parts[2] == 'blocks' else self.depths[stage]
        return sum(self.depths[:stage]) + block, depths
