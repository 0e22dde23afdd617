"""What every adapter is, and how it finds the places it adapts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn

from memba_vision.errors import UserError


class Adapter(ABC):
    """One published way to adapt a backbone.

    A subclass takes its settings as keyword arguments, checks them, and changes the module in
    :meth:`attach`. Registered with ``ADAPTERS``, it is built from ``dict(type=…, **settings)``.
    """

    @abstractmethod
    def attach(self, backbone: nn.Module) -> None:
        """Change the frozen ``backbone`` in place.

        Parameters that are added, or unfrozen, are the ones that train and are saved.

        Raises:
            UserError: there is no such place in the backbone, or another adapter took it. It is
                raised before anything is changed.
        """


def find_targets(
    backbone: nn.Module, targets: Sequence[str], kind: type[nn.Module]
) -> dict[str, nn.Module]:
    """The modules of class ``kind`` that ``targets`` name, by full name.

    Args:
        backbone: where to look.
        targets: names such as ``'in_proj'``, matching every module whose dotted name is that or
            ends with ``'.in_proj'``. Each must match something.
        kind: the class that the adapter can work on.

    Raises:
        UserError: a target matches nothing (the possible ones are listed), or what another
            adapter has wrapped: a module that holds a ``base_layer``.
    """
    modules = dict(backbone.named_modules())
    taken = [name for name, module in modules.items() if hasattr(module, 'base_layer')]
    inside_taken = tuple(f'{name}.' for name in taken)
    candidates = {
        name: module
        for name, module in modules.items()
        if isinstance(module, kind) and not name.startswith(inside_taken)
    }
    found = {}
    for target in targets:
        if any(_is_named(name, target) for name in taken):
            raise UserError(
                f'target {target!r} has an adapter already: name each target in one adapter alone'
            )
        matches = {n: m for n, m in candidates.items() if _is_named(n, target)}
        if not matches:
            possible = sorted({name.rpartition('.')[2] for name in candidates})
            raise UserError(
                f'target {target!r} matches no {kind.__name__} of {type(backbone).__name__}; '
                f'possible targets are {", ".join(possible)}'
            )
        found.update(matches)
    return found


def _is_named(name: str, target: str) -> bool:
    return f'.{name}'.endswith(f'.{target}')


def replace_module(backbone: nn.Module, name: str, replacement: nn.Module) -> None:
    """Put ``replacement`` where the module with the dotted ``name`` is."""
    parent, _, attribute = name.rpartition('.')
    setattr(backbone.get_submodule(parent), attribute, replacement)
