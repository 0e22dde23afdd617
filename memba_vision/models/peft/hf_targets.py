"""Targets of a method of Hugging Face's peft, in all spellings of its config."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.stacked import LinearSlice
from memba_vision.models.peft.adapter import AdaptedLayer
from memba_vision.models.peft.targets import find_targets
from memba_vision.models.sites import is_named

#: The name in peft for all linear layers.
ALL_LINEAR = 'all-linear'

NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)

#: Methods that change something else than linear layers and 2D convolutions.
KINDS = {'LN_TUNING': NORMS}


def find_modules(
    backbone: nn.Module, targets: Sequence[str] | str, peft_type: str
) -> dict[str, nn.Module]:
    """Return the modules that ``targets`` name, by full name.

    Args:
        backbone: the backbone.
        targets: a list of names; or a regular expression of whole names; or ``ALL_LINEAR``.
        peft_type: the method, as peft spells it.

    Raises:
        UserError: they name nothing, or what another adapter took.
    """
    found = _find_modules(backbone, targets, KINDS.get(peft_type, (nn.Linear, nn.Conv2d)))
    for name, module in found.items():
        if isinstance(module, LinearSlice):
            raise UserError(
                f'HFPeft: {name} is a slice of a parameter of its mixer, and peft wants a weight '
                "of the layer's own: choose other target_modules, or LoRA of this package"
            )
    return found


def _find_modules(
    backbone: nn.Module, targets: Sequence[str] | str, kinds: tuple[type[nn.Module], ...]
) -> dict[str, nn.Module]:
    if not isinstance(targets, str):
        return find_targets(backbone, targets, kinds)
    if targets.lower() == ALL_LINEAR:
        names = list(_free(backbone, nn.Linear))
    else:
        free_or_taken = _free(backbone, (*kinds, AdaptedLayer))
        names = [name for name in free_or_taken if _compiled(targets).fullmatch(name)]
    if not names:
        kind = ' or '.join(kind.__name__ for kind in kinds)
        raise UserError(
            f'HFPeft: target_modules={targets!r} matches no {kind} that is free: a text is '
            f"{ALL_LINEAR!r} or a regular expression of whole names, such as '.*in_proj'; a list "
            'holds the last parts of names'
        )
    return find_targets(backbone, names, kinds)


def check_parameters(backbone: nn.Module, targets: Sequence[str]) -> None:
    """Raise a UserError where one of ``targets`` names no parameter, or one that trains."""
    for target in targets:
        named = {n: p for n, p in backbone.named_parameters() if is_named(n, target)}
        if not named:
            raise UserError(
                f'HFPeft: target_parameters: {target!r} names no parameter of '
                f"{type(backbone).__name__}; a name is the last parts of one, as 'mixer.A_log'"
            )
        if any(parameter.requires_grad for parameter in named.values()):
            raise UserError(
                f'HFPeft: target_parameters: {target!r} trains in full already: leave one of the '
                'two out'
            )


@contextmanager
def as_plain_linear(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Change linear layers of derived classes into ``torch.nn.Linear`` in the context.

    Some methods require that very class, though they use only its interface.
    """
    classes = [(module, type(module)) for module in modules if isinstance(module, nn.Linear)]
    for module, _ in classes:
        module.__class__ = nn.Linear
    try:
        yield
    finally:
        for module, kind in classes:
            module.__class__ = kind


def _free(backbone: nn.Module, kinds: type | tuple[type, ...]) -> Iterator[str]:
    """Yield the names of the frozen modules of these classes, without those of adapters."""
    inside = tuple(f'{n}.' for n, m in backbone.named_modules() if hasattr(m, 'base_layer'))
    for name, module in backbone.named_modules():
        trains = any(parameter.requires_grad for parameter in module.parameters(recurse=False))
        if isinstance(module, kinds) and not trains and not name.startswith(inside):
            yield name


def _compiled(pattern: str) -> re.Pattern:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(
            f'HFPeft: target_modules={pattern!r} is no regular expression: {error}'
        ) from error
