"""Targets of adapters: the places that roles and names stand for, and claims on modules there."""

from collections import Counter
from collections.abc import Collection, Sequence

from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.peft.adapter import AdaptedLayer
from memba_vision.models.sites import ALIASES, ROLES, Rows, check_sites, is_named, sites_of
from memba_vision.models.transformer_sites import bypasses


def check_targets(adapter: str, targets: Sequence[str]) -> None:
    """Raise a UserError where ``targets`` is no list of names."""
    if not isinstance(targets, list | tuple) or not targets:
        raise UserError(f'{adapter}: targets must be a list of layer names, got {targets!r}')


def places_of(backbone: nn.Module, target: str) -> list[Rows]:
    """Return the places of a role or, where the backbone has no such role, of a name.

    The places of a name are the modules so named, and their stand-ins in other blocks.
    """
    sites = sites_of(backbone)
    places = sites.projections(target) if target in ROLES else []
    if places:
        return places
    named = [Rows(name) for name, _ in backbone.named_modules() if is_named(name, target)]
    return named + sites.stand_ins(target)


def _needed_places(backbone: nn.Module, target: str) -> list[Rows]:
    """Return the places of a target; raise a UserError where the backbone lacks its role."""
    places = places_of(backbone, target)
    if not places:
        roles = [role for role in (target, *ALIASES.get(target, ())) if role in ROLES]
        if roles and (target in ROLES or sites_of(backbone).blocks):
            check_sites(backbone, f'target {target!r}', roles[0])
    return places


def places_within(
    backbone: nn.Module, places: list[Rows], blocks: Sequence[float] | None
) -> list[Rows]:
    """Return those places that are in some blocks.

    Raises:
        UserError: none is.
    """
    if blocks is None:
        return places
    inside = tuple(f'{part.block}.' for part in sites_of(backbone).within(blocks).parts())
    found = [place for place in places if place.module.startswith(inside)]
    if places and not found:
        raise UserError(
            f'blocks={list(blocks)} has no {places[0].module.rpartition(".")[2]} in it: name more '
            'of the depth'
        )
    return found


def name_these(backbone: nn.Module, names: Collection[str], layers: Collection[str]) -> bool:
    """Return True if ``names`` are no roles, and name these ``layers`` and no module beside them.

    They mean the same to Hugging Face's peft then.
    """
    if ROLES.keys() & set(names):
        return False
    modules = (module for module, _ in backbone.named_modules())
    return set(layers) == {m for m in modules if any(is_named(m, name) for name in names)}


def find_targets(
    backbone: nn.Module,
    targets: Sequence[str],
    kinds: Sequence[type[nn.Module]],
    stacks_on: Sequence[type[AdaptedLayer]] = (),
    part: str | None = None,
    blocks: Sequence[float] | None = None,
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
        blocks: of which blocks, see :func:`memba_vision.models.sites.check_share_of_blocks`.

    Raises:
        UserError: a target matches nothing (the possible ones are listed), a module that another
            adapter has wrapped (it holds a ``base_layer``), a projection that trains in full or
            that is never called, or some outputs of a projection alone.
    """
    found = {}
    for target in targets:
        places = places_within(backbone, _needed_places(backbone, target), blocks)
        if any(place.rows is not None for place in places):
            raise UserError(
                f'target {target!r} stands for some outputs of {places[0].module} alone, and this '
                'adapter changes whole projections: name the whole one, or use LoRA'
            )
        found |= _claim(backbone, target, places, kinds, stacks_on, part)
    return found


def find_parts(
    backbone: nn.Module,
    targets: Sequence[str],
    stacks_on: Sequence[type[AdaptedLayer]],
    blocks: Sequence[float] | None = None,
) -> dict[str, list[Rows]]:
    """Return the places of those ``targets`` that stand for some outputs of projections alone.

    Args:
        backbone: the backbone.
        targets: roles and names, as for :func:`find_targets`, which takes the others.
        stacks_on: the adapted layers that the adapter can stand on, if they adapt another part.
        blocks: of which blocks, as for :func:`find_targets`.

    Raises:
        UserError: another adapter has wrapped a place, or a projection trains in full.
    """
    found = {}
    for target in targets:
        places = places_within(backbone, places_of(backbone, target), blocks)
        if any(place.rows is not None for place in places):
            _claim(backbone, target, places, [nn.Linear], stacks_on, target)
            found[target] = places
    return found


def _claim(
    backbone: nn.Module,
    target: str,
    places: Sequence[Rows],
    kinds: Sequence[type[nn.Module]],
    stacks_on: Sequence[type[AdaptedLayer]],
    part: str | None,
) -> dict[str, nn.Module]:
    """Return the modules at ``places`` that an adapter can work on; see :func:`find_targets`."""
    modules = dict(backbone.named_modules())
    taken = {name: module for name, module in modules.items() if hasattr(module, 'base_layer')}
    names = dict.fromkeys(place.module for place in places)
    for name in names:
        if name in taken and not _can_stand_on(taken[name], stacks_on, part):
            called = name if target in ROLES else target
            raise UserError(
                f'target {called!r} has an adapter already: name each target in one adapter alone'
            )
    inside_taken = tuple(f'{name}.' for name in taken)
    candidates = {
        name: module
        for name, module in modules.items()
        if isinstance(module, (*kinds, *stacks_on))
        and isinstance(_bottom(module), tuple(kinds))
        and not name.startswith(inside_taken)
    }
    matches = {name: candidates[name] for name in names if name in candidates}
    if not matches:
        possible = sorted(_short_names(candidates))
        raise UserError(
            f'target {target!r} matches no {" or ".join(kind.__name__ for kind in kinds)} of '
            f'{type(backbone).__name__}; possible targets are {", ".join(possible)}'
        )
    for name, module in matches.items():
        _check_has_effect(backbone, target, name, module)
    return matches


def _check_has_effect(backbone: nn.Module, target: str, name: str, module: nn.Module) -> None:
    """Raise a UserError where an adapter on a module would add nothing, or never be called."""
    if module.weight is not None and module.weight.requires_grad:
        raise UserError(
            f'target {target!r}: {name}.weight trains in full, so an adapter on it adds '
            'nothing: leave one of the two out'
        )
    parent, _, part = name.rpartition('.')
    owner = backbone.get_submodule(parent)
    if bypasses(owner, part):
        raise UserError(
            f'target {target!r}: {type(owner).__name__} reads the weight of {name} and does not '
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
