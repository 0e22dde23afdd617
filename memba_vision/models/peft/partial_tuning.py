"""Fine-tuning of some of the backbone's own parameters, or all of them."""

import re
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.peft.adapter import Adapter
from memba_vision.models.sites import ALIASES, PARAMETERS, absence, sites_of
from memba_vision.registry import ADAPTERS


@ADAPTERS.register_module()
class PartialTuning(Adapter):
    """Fine-tuning of the parameters of the backbone that ``patterns`` name.

    It adds none, so there is nothing to merge: the weights are plain ones. On Vim-S, both
    directions: ``A_log`` and ``A_b_log`` 589,824; ``D`` and ``D_b`` 36,864; ``dt_proj.bias`` and
    ``dt_proj_b.bias`` 36,864; ``conv1d.weight`` and ``conv1d_b.weight`` 147,456; ``cls_token``
    384; ``pos_embed`` 75,648; ``*``, full fine-tuning, 25,411,584. Source: Yoshimura et al. 2025
    (MambaPEFT), section 3.1, whose code trains an offset and decays that, ten to a hundred times
    as strongly as the other weights; here matrices decay as all others do, and A and D do not.

    Args:
        patterns: names such as ``'D'`` or ``'conv1d.weight'``, matching every parameter whose
            dotted name is that or ends with it after a dot; ``*`` stands for anything. Roles such
            as ``'scan.A'`` (:data:`memba_vision.models.sites.PARAMETERS`) may stand there too.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        if isinstance(patterns, str) or not patterns:
            raise UserError(
                f'PartialTuning: patterns must be a list of parameter names, got {patterns!r}'
            )
        self.patterns = tuple(patterns)

    def attach(self, backbone: nn.Module) -> None:
        """Unfreeze the parameters."""
        own = {n: p for n, p in backbone.named_parameters() if not p.requires_grad}
        names = {plain_name(name): name for name in own}
        found = [name for pattern in self.patterns for name in _match(pattern, names, backbone)]
        for name in found:
            layer = names[name].rpartition('.')[0]
            if name.endswith('.weight') and layer.endswith('base_layer'):
                raise UserError(
                    f'PartialTuning: {name} would train in full, so the adapter on it adds '
                    'nothing: leave one of the two out'
                )
        for name in found:
            own[names[name]].requires_grad_(True)

    def merge(self, backbone: nn.Module) -> None:
        """Do nothing: the weights are plain ones."""


def _match(pattern: str, frozen: Collection[str], backbone: nn.Module) -> list[str]:
    """Return the names in ``frozen`` that a pattern or a role means.

    A name that nothing in the backbone has stands for a role, as for targets of other adapters.
    """
    everything = [plain_name(name) for name, _ in backbone.named_parameters()]
    meant = [name for name in everything if fnmatchcase(f'.{name}', f'*.{pattern}')]
    role = ALIASES.get(pattern, (pattern,))[0]
    if not meant and role in PARAMETERS:
        meant = [plain_name(name) for name in sites_of(backbone).parameters(role)]
        if not meant:
            raise UserError(f'PartialTuning {absence(backbone, role)}')
    found = [name for name in meant if name in frozen]
    if not found:
        known = sorted({re.sub(r'^layers\.\d+\.(\w+\.\d+\.)*', '', name) for name in frozen})
        raise UserError(
            f'PartialTuning: pattern {pattern!r} matches no frozen parameter; possible names '
            f'are {", ".join(known)}'
        )
    return found


def plain_name(name: str) -> str:
    """Return the name of a parameter of the backbone without adapters around its layer."""
    return name.replace('.base_layer', '')
