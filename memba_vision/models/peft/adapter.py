"""Adapter base class, and helpers that locate and replace the modules that it adapts."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.sites import (
    ALIASES,
    ROLES,
    Rows,
    ScanSite,
    Sites,
    check_sites,
    is_named,
    sites_of,
)
from memba_vision.models.transformer_sites import bypasses


class Adapter(ABC):
    """Base class of adapters, each of them a published method of adaptation.

    A subclass takes its settings as keyword arguments, checks them, and changes the module in
    :meth:`attach`. Registered with ``ADAPTERS``, it is built from ``dict(type=…, **settings)``.
    """

    #: Frozen weights that :meth:`attach` gave other values: a checkpoint holds them too.
    rewritten: Sequence[nn.Parameter] = ()
    #: The places that it needs, roles or slots of :mod:`memba_vision.models.sites`.
    needs: tuple[str, ...] = ()

    def sites(self, backbone: nn.Module) -> Sites:
        """Return the places of a backbone.

        Raises:
            UserError: the backbone lacks one of ``needs``.
        """
        return check_sites(backbone, type(self).__name__, *self.needs)

    @abstractmethod
    def attach(self, backbone: nn.Module) -> None:
        """Change the frozen ``backbone`` in place.

        Parameters that are added, or unfrozen, are the ones that train and are saved.

        Raises:
            UserError: there is no such place in the backbone, or another adapter took it. It is
                raised before anything is changed.
        """

    def merge(self, backbone: nn.Module) -> str | None:
        """Fold what :meth:`attach` added into the weights of ``backbone``, as far as it can be.

        Returns:
            None if nothing is left, or what stays and why.
        """
        return f'{type(self).__name__} stays: it is no change of the weights that the backbone has'

    def save_hf(self, backbone: nn.Module, folder: Path) -> None:
        """Write what :meth:`attach` added into ``folder``, as Hugging Face's peft would save it.

        Raises:
            UserError: peft has no such method.
        """
        raise UserError(f'{type(self).__name__} is no method of the peft library')


class AdaptedLayer(nn.Module):
    """Projection with an adapter beside it, with the projection's interface.

    Args:
        base_layer: the frozen projection, or another adapted layer.
    """

    #: The outputs that are adapted, to detect that two adapters collide; None is all.
    part: str | None = None

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer

    @property
    def weight(self) -> nn.Parameter:
        """The frozen weight at the bottom."""
        return self.base_layer.weight

    @property
    def bias(self) -> nn.Parameter | None:
        """The bias at the bottom, None where there is none."""
        return self.base_layer.bias

    @property
    def in_features(self) -> int:
        """Inputs of the projection."""
        return self.base_layer.in_features

    @property
    def out_features(self) -> int:
        """Outputs of the projection."""
        return self.base_layer.out_features

    def merged(self) -> nn.Module:
        """Return the plain projection with the update added to its weight, in place."""
        raise NotImplementedError


def merge_layers(backbone: nn.Module, *kinds: type[AdaptedLayer]) -> None:
    """Replace every layer of ``kinds`` on a plain projection by its merged projection."""
    names = [name for name, module in backbone.named_modules() if isinstance(module, kinds)]
    for name in reversed(names):  # inner ones first
        layer = backbone.get_submodule(name)
        if isinstance(layer.base_layer, nn.Linear | nn.Conv2d):
            replace_module(backbone, name, layer.merged())


def check_free(backbone: nn.Module, adapter: str, slot: str) -> nn.Module:
    """Return the module in a slot, after a check that no adapter has taken it.

    Args:
        backbone: the backbone.
        adapter: the adapter that wants the slot, for the error's text.
        slot: the path of the module.

    Raises:
        UserError: an adapter, which its module names as ``owner``, has taken it.
    """
    module = backbone.get_submodule(slot)
    owner = getattr(module, 'owner', None)
    if owner is not None:
        which = f'use one {adapter} alone' if owner == adapter else f'use {owner} or {adapter}'
        raise UserError(f'{adapter}: {slot} has been replaced by {owner} already: {which}')
    return module


def check_state_free(backbone: nn.Module, adapter: str, otherwise: str) -> None:
    """Raise a UserError where another adapter's state goes from block to block already.

    Args:
        backbone: the backbone.
        adapter: the adapter that hands on a state, for the error's text.
        otherwise: the way out, beside leaving one of them out.
    """
    if any(getattr(module, 'hands_on_state', False) for module in backbone.modules()):
        raise UserError(
            f"{adapter}: another adapter's state goes from block to block already: use one of the "
            f'two, or {otherwise}'
        )


def wrap_scans(
    backbone: nn.Module,
    adapter: str,
    sites: Sites,
    wrap: Callable[[ScanSite, nn.Module], nn.Module],
) -> None:
    """Put a module around the scan of every direction, block by block.

    Args:
        backbone: the backbone.
        adapter: the adapter that wraps, for the error's text.
        sites: the sites of the backbone.
        wrap: makes the module from a direction's site and the scan that is there.

    Raises:
        UserError: the sequence is made longer around a scan, so that this module would have to be
            inside.
    """
    scans = sites.scans()
    for scan in scans:
        there = backbone.get_submodule(scan.slot)
        if getattr(there, 'lengthens', False):
            raise UserError(
                f'{adapter}: {there.owner} makes the sequence longer than its scan gives back: put '
                f'{there.owner} after {adapter} in the list of adapters'
            )
    for scan in scans:
        replace_module(backbone, scan.slot, wrap(scan, backbone.get_submodule(scan.slot)))


def find_targets(
    backbone: nn.Module,
    targets: Sequence[str],
    kinds: Sequence[type[nn.Module]],
    stacks_on: Sequence[type[AdaptedLayer]] = (),
    part: str | None = None,
) -> dict[str, nn.Module]:
    """Return the modules of the classes ``kinds`` that ``targets`` name, by full name.

    Args:
        backbone: the backbone.
        targets: roles such as ``'mix.in'`` (see :data:`memba_vision.models.sites.ROLES`), or names
            such as ``'in_proj'``, matching every module whose dotted name is that or ends with
            ``'.in_proj'``; some stand for roles in blocks that have none of that name (see
            :data:`memba_vision.models.sites.ALIASES`). Each must match something.
        kinds: the classes that the adapter can work on.
        stacks_on: the adapted layers that it can stand on too, if they adapt another ``part``.
        part: the outputs that it adapts; None is all.

    Raises:
        UserError: a target matches nothing (the possible ones are listed), what another adapter
            has wrapped (a module that holds a ``base_layer``), a projection that trains in full or
            that is never called, or some outputs of a projection alone.
    """
    found = {}
    for target in targets:
        places = places_of(backbone, target)
        if any(place.rows is not None for place in places):
            raise UserError(
                f'target {target!r} stands for some outputs of {places[0].module} alone, and this '
                'adapter changes whole projections: name the whole one, or use LoRA'
            )
        found |= _claim(backbone, target, places, kinds, stacks_on, part)
    return found


def find_parts(
    backbone: nn.Module, targets: Sequence[str], stacks_on: Sequence[type[AdaptedLayer]]
) -> dict[str, list[Rows]]:
    """Return the places of those ``targets`` that stand for some outputs of projections alone.

    Args:
        backbone: the backbone.
        targets: roles and names, as for :func:`find_targets`, which takes the others.
        stacks_on: the adapted layers that the adapter can stand on, if they adapt another part.

    Raises:
        UserError: another adapter has wrapped a place, or a projection trains in full.
    """
    found = {}
    for target in targets:
        places = places_of(backbone, target)
        if any(place.rows is not None for place in places):
            _claim(backbone, target, places, [nn.Linear], stacks_on, target)
            found[target] = places
    return found


def places_of(backbone: nn.Module, target: str) -> list[Rows]:
    """Return the places of a role or, where the backbone has no such role, of a name.

    The places of a name are the modules so named, and what stands for them in other blocks.
    """
    sites = sites_of(backbone)
    places = sites.projections(target) if target in ROLES else []
    if places:
        return places
    named = [Rows(name) for name, _ in backbone.named_modules() if is_named(name, target)]
    return named + sites.stand_ins(target)


def name_all(targets: Collection[str], layers: Collection[str]) -> bool:
    """Return True if ``targets`` are no roles, and name all of the adapted ``layers``."""
    named = all(any(is_named(layer, target) for target in targets) for layer in layers)
    return named and not ROLES.keys() & set(targets)


def _claim(
    backbone: nn.Module,
    target: str,
    places: Sequence[Rows],
    kinds: Sequence[type[nn.Module]],
    stacks_on: Sequence[type[AdaptedLayer]],
    part: str | None,
) -> dict[str, nn.Module]:
    """Return the modules at ``places`` that an adapter can work on; see :func:`find_targets`."""
    if not places and (target in ROLES or (target in ALIASES and sites_of(backbone).blocks)):
        check_sites(backbone, f'target {target!r}', *ALIASES.get(target, (target,))[:1])
    modules = dict(backbone.named_modules())
    taken = [name for name, module in modules.items() if hasattr(module, 'base_layer')]
    inside_taken = tuple(f'{name}.' for name in taken)
    candidates = {
        name: module
        for name, module in modules.items()
        if isinstance(module, (*kinds, *stacks_on))
        and isinstance(_bottom(module), tuple(kinds))
        and not name.startswith(inside_taken)
    }
    names = dict.fromkeys(place.module for place in places)
    for name in names:
        if name in taken and not _can_stand_on(modules[name], stacks_on, part):
            called = name if target in ROLES else target
            raise UserError(
                f'target {called!r} has an adapter already: name each target in one adapter alone'
            )
    matches = {name: candidates[name] for name in names if name in candidates}
    if not matches:
        possible = sorted(_short_names(candidates))
        raise UserError(
            f'target {target!r} matches no {" or ".join(kind.__name__ for kind in kinds)} of '
            f'{type(backbone).__name__}; possible targets are {", ".join(possible)}'
        )
    for name, module in matches.items():
        if module.weight.requires_grad:
            raise UserError(
                f'target {target!r}: {name}.weight trains in full, so an adapter on it adds '
                'nothing: leave one of the two out'
            )
        _check_called(backbone, target, name)
    return matches


def _check_called(backbone: nn.Module, target: str, name: str) -> None:
    parent, _, part = name.rpartition('.')
    module = backbone.get_submodule(parent)
    if bypasses(module, part):
        raise UserError(
            f'target {target!r}: {type(module).__name__} reads the weight of {name} and does not '
            'call it, so an adapter around it would have no effect: choose other targets'
        )


def _bottom(module: nn.Module) -> nn.Module:
    return _bottom(module.base_layer) if isinstance(module, AdaptedLayer) else module


def _can_stand_on(module: nn.Module, kinds: Sequence[type], part: str | None) -> bool:
    if not isinstance(module, tuple(kinds)) or module.part == part:
        return False
    inner = module.base_layer
    return not hasattr(inner, 'base_layer') or _can_stand_on(inner, kinds, part)


def _short_names(names: Collection[str]) -> set[str]:
    """Return the last part of each name, with the part before it if the last one is unique."""
    last_parts = Counter(name.rpartition('.')[2] for name in names)
    return {
        last if last_parts[last := name.rpartition('.')[2]] > 1 else '.'.join(name.split('.')[-2:])
        for name in names
    }


def replace_module(backbone: nn.Module, name: str, replacement: nn.Module) -> None:
    """Replace the module with the dotted ``name``."""
    parent, _, attribute = name.rpartition('.')
    setattr(backbone.get_submodule(parent), attribute, replacement)
