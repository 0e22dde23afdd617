"""Base classes of adapters and of adapted layers, and helpers that replace modules and slots."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.sites import ScanSite, Sites, check_sites


class Adapter(ABC):
    """Base class of adapters, each of them a published method of adaptation.

    A subclass takes its settings as keyword arguments, checks them, and changes the module in
    :meth:`attach`. Registered with ``ADAPTERS``, it is built from ``dict(type=…, **settings)``.
    """

    #: Frozen weights that :meth:`attach` gave other values: a checkpoint holds them too.
    rewritten: Sequence[nn.Parameter] = ()
    #: Settings that came later: the header of a checkpoint names them where they have no defaults.
    added_later: tuple[str, ...] = ()
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
        """Fold the additions of :meth:`attach` into the weights of ``backbone``, where possible.

        Returns:
            None if nothing is left, or a line on the parts that stay, with the reason.
        """
        return f'{type(self).__name__} stays: it is no change of the weights that the backbone has'

    def save_hf(self, backbone: nn.Module, folder: Path) -> None:
        """Write the additions of :meth:`attach` into ``folder``, as Hugging Face's peft would.

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
        """Frozen weight at the bottom."""
        return self.base_layer.weight

    @property
    def bias(self) -> nn.Parameter | None:
        """Bias at the bottom, None where there is none."""
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


def merge_layers(backbone: nn.Module, *kinds: type[nn.Module]) -> None:
    """Replace every layer of ``kinds`` that is on a plain layer by its merged layer.

    Args:
        backbone: the backbone.
        kinds: classes with a ``base_layer`` and a method ``merged()``, as :class:`AdaptedLayer`.
    """
    names = [name for name, module in backbone.named_modules() if isinstance(module, kinds)]
    for name in reversed(names):  # inner ones first
        layer = backbone.get_submodule(name)
        if not hasattr(layer.base_layer, 'base_layer'):
            untie(backbone, layer.base_layer, 'weight', 'bias')
            with merging_into(layer.base_layer):
                merged = layer.merged()
            replace_module(backbone, name, merged)


@contextmanager
def merging_into(layer: nn.Module) -> Iterator[None]:
    """Merge an adapter into a plain layer in the context, whose new bias is then set right.

    A mixer that adds the bias of a projection a second time reads the frozen one beside an adapter,
    and the merged one later: each of these takes up its share of the change.
    """
    uses = getattr(layer, 'bias_uses', 1)
    before = layer.bias.detach().clone() if uses > 1 else None
    yield
    if before is not None:
        layer.bias.data.copy_(before.lerp(layer.bias.detach(), 1 / uses))


@torch.no_grad()
def untie(backbone: nn.Module, owner: nn.Module, *names: str) -> None:
    """Give a module parameters of its own where others, which have no such update, share them.

    Args:
        backbone: the backbone.
        owner: the module whose parameters change.
        names: theirs in it; those that it lacks, and parts of other modules', are left alone.
    """
    for name in names:
        shared = owner._parameters.get(name)
        if shared is None:
            continue
        places = [p for m in backbone.modules() for p in m._parameters.values() if p is shared]
        if len(places) > 1:
            setattr(owner, name, nn.Parameter(shared.detach().clone(), shared.requires_grad))


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
    """Raise a UserError where a state cannot go from block to block, or another adapter's does.

    Args:
        backbone: the backbone.
        adapter: the adapter that hands on a state, for the error's text.
        otherwise: the way out, beside leaving one of them out.
    """
    if hands_on_state(backbone):
        raise UserError(
            f"{adapter}: another adapter's state goes from block to block already: use one of the "
            f'two, or {otherwise}'
        )
    if any(getattr(module, 'in_some_blocks', False) for module in backbone.modules()):
        raise UserError(
            f'{adapter}: its state goes from block to block, and blocks of VPT makes the sequence '
            'longer in some of them: leave blocks out, or set cross_layer=False where there is one'
        )


def hands_on_state(backbone: nn.Module) -> bool:
    """Return True where an adapter hands on a state of the sequence from block to block."""
    return any(getattr(module, 'hands_on_state', False) for module in backbone.modules())


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


def replace_module(backbone: nn.Module, name: str, replacement: nn.Module) -> None:
    """Replace the module with the dotted ``name``, and where its weights are tied, in all places.

    One without parameters is replaced in this place alone.
    """
    replaced = backbone.get_submodule(name)
    parent, _, attribute = name.rpartition('.')
    places = [(backbone.get_submodule(parent), attribute)]
    if next(replaced.parameters(), None) is not None:
        places += _owners_of(replaced, backbone, replacement)
    for module, key in places:
        setattr(module, key, replacement)


def _owners_of(
    wanted: nn.Module, root: nn.Module, besides: nn.Module
) -> list[tuple[nn.Module, str]]:
    """Return the modules below ``root``, but not below ``besides``, that have a module as a child.

    Large models call this hundreds of times, and ``named_modules`` spends most on its paths.
    """
    owners, waiting, seen = [], [root], {None, root, wanted, besides}
    while waiting:
        owner = waiting.pop()
        if not owner._modules:
            continue
        children = set(owner._modules.values())
        if wanted in children:
            owners += [(owner, key) for key, child in owner._modules.items() if child is wanted]
        children -= seen
        waiting += children
        seen |= children
    return owners
