"""Adaptation sites: the places that a backbone offers to adapters, by role.

An adapter says which places it needs, and a backbone which it has; neither knows the other's
classes. Places are named by the dotted paths of modules and parameters in the backbone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from types import MappingProxyType

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.block_parts import BlockParts
from memba_vision.models.transformer_sites import find_blocks, find_embedding, find_norms

#: The roles of projections. ``mix`` stands for a state-space mixer.
ROLES = MappingProxyType(
    {
        'mix.in': 'input projection of a mixer',
        'mix.x': 'rows of the input projection that make x, the sequence to scan',
        'mix.z': 'rows of the input projection that make z, the gate',
        'mix.params': 'projection of x to the step size, B and C',
        'mix.delta': 'rows of that projection that make the step size',
        'mix.B': 'rows of that projection that make B',
        'mix.C': 'rows of that projection that make C',
        'mix.dt': "projection of the step size's bottleneck to all channels",
        'mix.out': 'output projection of a mixer',
        'attn.qkv': 'input projection of an attention layer',
        'attn.q': 'rows of that projection that make the queries',
        'attn.k': 'rows of that projection that make the keys',
        'attn.v': 'rows of that projection that make the values',
        'attn.out': 'output projection of an attention layer',
        'mlp.fc1': 'first layer of an MLP',
        'mlp.fc2': 'second layer of an MLP',
        'embed': 'patch embedding',
        'norm': 'norm, wherever it is',
    }
)
#: The roles of parameters that are trained by themselves.
PARAMETERS = MappingProxyType(
    {
        'scan.A': "logarithm of a scan's decay rates",
        'scan.D': "a scan's skip weights",
        'scan.bias': "bias of a scan's step size",
        'mix.conv': "weight of a mixer's depthwise convolution",
        'cls_token': 'class token',
        'pos_embed': 'position embedding',
        'norm': 'weights and biases of the norms',
    }
)
#: The roles that names of Vim stand for, so that a preset reaches every backbone by these names: a
#: projection's in each block that has nothing of such a name, a parameter's on a backbone that has
#: none. 'in_proj' takes tokens into a mixer, be it a scan or attention, 'out_proj' brings them out.
#: 'branch_in' takes them into a mixer or an MLP, 'branch_proj' brings them out too, and 'all_proj'
#: are all whole projections.
ALIASES = MappingProxyType(
    {
        'branch_in': ('mix.in', 'attn.qkv', 'mlp.fc1'),
        'branch_proj': ('mix.in', 'mix.out', 'attn.qkv', 'attn.out', 'mlp.fc1', 'mlp.fc2'),
        'all_proj': (
            *('embed', 'mix.in', 'mix.params', 'mix.dt', 'mix.out'),
            *('attn.qkv', 'attn.out', 'mlp.fc1', 'mlp.fc2'),
        ),
        'in_proj': ('mix.in', 'attn.qkv'),
        'x_proj': ('mix.params',),
        'x_proj_b': ('mix.params',),
        'dt_proj': ('mix.dt',),
        'dt_proj_b': ('mix.dt',),
        'out_proj': ('mix.out', 'attn.out'),
        'patch_embed.proj': ('embed',),
        'A_log': ('scan.A',),
        'A_b_log': ('scan.A',),
        'D': ('scan.D',),
        'D_b': ('scan.D',),
        'dt_proj.bias': ('scan.bias',),
        'dt_proj_b.bias': ('scan.bias',),
        'conv1d.weight': ('mix.conv',),
        'conv1d_b.weight': ('mix.conv',),
    }
)
#: The other places, which modules of an adapter can take.
SLOTS = MappingProxyType(
    {
        'gate': 'multiplicative gate on the scans of a mixer',
        'scan': 'scan of a direction',
        'state': 'state that blocks hand on, from projection to projection',
        'tokens': 'sequence of tokens before the first block and behind the last one',
        'block': 'whole block',
        'patches': 'places of patches in the sequence of a block, on images of one size',
        'length': 'block that takes a sequence of any length',
    }
)


@dataclass(frozen=True)
class Rows:
    """Projection, or some of its outputs.

    Attributes:
        module: the path of the projection.
        rows: the outputs; None stands for all.
    """

    module: str
    rows: range | None = None


@dataclass(frozen=True)
class ScanSite:
    """One direction of a mixer's scan.

    Attributes:
        slot: the path of the module that is called with a
            :class:`~memba_vision.models.modules.scan.ScanCall`.
        A_log: the path of its decay rates' logarithm, (d_inner, d_state), for :func:`tensor_at`.
        D: the path of its skip weights, (d_inner,), likewise.
    """

    slot: str
    A_log: str
    D: str


@dataclass(frozen=True)
class BlockSites:
    """The places of one block.

    Attributes:
        projections: by role; a role has one entry for each direction or copy.
        scans: one for each direction; none where the block scans nothing.
        gate: the path of the module that gates the scans, called as
            ``gate(scans, gate_input, state)``; None where there is none.
        stage: blocks of one stage have sequences of one shape, and hand on a state.
        parameters: the paths of parameters by role.
        stateful: the roles of projections that may take the state of the block before and hand on
            their own (:func:`memba_vision.models.modules.linear.project`).
        parts: the whole block, its mixer and its MLP; None where they are not known.
    """

    projections: Mapping[str, tuple[Rows, ...]] = field(default_factory=dict)
    scans: tuple[ScanSite, ...] = ()
    gate: str | None = None
    stage: int = 0
    parameters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stateful: tuple[str, ...] = ()
    parts: BlockParts | None = None


@dataclass(frozen=True)
class Sites:
    """All places of a backbone.

    Attributes:
        blocks: in the order in which an image passes them.
        embed: the patch embedding; None where it is no single layer.
        tokens: the path of the slot with ``insert`` and ``remove`` that the sequence passes; None
            where there is none.
        norms: the paths of the norms, each with those of its parameters. They are found.
    """

    blocks: tuple[BlockSites, ...] = ()
    embed: Rows | None = None
    tokens: str | None = None
    norms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def offered(self) -> frozenset[str]:
        """Return the roles and slots that the backbone has somewhere."""
        found = {role for block in self.blocks for role in block.projections}
        found |= {'gate' for block in self.blocks if block.gate}
        found |= {'scan' for block in self.blocks if block.scans}
        found |= {'state' for block in self.blocks if block.stateful}
        parts = self.parts()
        found |= {'block'} if parts else set()
        found |= {'patches' for part in parts if part.patches}
        found |= {'length' for part in parts if part.any_length}
        whole = {'embed': self.embed, 'tokens': self.tokens, 'norm': self.norms}
        return frozenset(found | {place for place, there in whole.items() if there})

    def parts(self) -> list[BlockParts]:
        """Return the parts of the blocks, block by block."""
        return [block.parts for block in self.blocks if block.parts]

    def within(self, share: Sequence[float] | None) -> 'Sites':
        """Return the places of some blocks alone.

        Args:
            share: beginning and end in the depth; see :func:`check_share_of_blocks`.

        Raises:
            UserError: it is not one block.
        """
        if share is None:
            return self
        first, end = (round(part * len(self.blocks)) for part in share)
        if first == end:
            raise UserError(
                f'blocks={list(share)} is less than one of {len(self.blocks)} blocks: name more '
                'of the depth'
            )
        return replace(self, blocks=self.blocks[first:end])

    def scans(self) -> list[ScanSite]:
        """Return the scans of all directions, block by block."""
        return [scan for block in self.blocks for scan in block.scans]

    def gates(self) -> list[str]:
        """Return the paths of the gates, block by block."""
        return [block.gate for block in self.blocks if block.gate]

    def parameters(self, role: str) -> list[str]:
        """Return the paths of the parameters of a role, block by block."""
        if role == 'norm':
            return [path for paths in self.norms.values() for path in paths]
        return [path for block in self.blocks for path in block.parameters.get(role, ())]

    def projections(self, role: str) -> list[Rows]:
        """Return the projections of a role: all blocks' first ones, then all second ones."""
        if role == 'embed':
            return [self.embed] if self.embed else []
        if role == 'norm':
            return [Rows(path) for path in self.norms]
        per_block = [block.projections.get(role, ()) for block in self.blocks]
        most = max(map(len, per_block), default=0)
        return [rows[k] for k in range(most) for rows in per_block if k < len(rows)]

    def stand_ins(self, name: str) -> list[Rows]:
        """Return the projections of those blocks that have none of a name, by :data:`ALIASES`."""
        parts = [block.projections for block in self.blocks]
        parts += [{'embed': (self.embed,)}] if self.embed else []
        found = []
        for role in ALIASES.get(name, ()):
            for rows in (part.get(role, ()) for part in parts):
                found += [] if any(is_named(place.module, name) for place in rows) else rows
        return found


def check_share_of_blocks(adapter: str, share: Sequence[float] | None) -> None:
    """Raise a UserError where ``share`` names no blocks.

    Args:
        adapter: the adapter, for the error's text.
        share: beginning and end of the blocks of an adapter in the depth, from 0 to 1, as [0, 0.5]
            for the first half; None stands for all.
    """
    if share is None:
        return
    is_pair = isinstance(share, Sequence) and len(share) == 2
    are_numbers = is_pair and all(isinstance(part, Real) for part in share)
    if not (are_numbers and 0 <= share[0] < share[1] <= 1):
        raise UserError(
            f'{adapter}: blocks must be two numbers from 0 to 1, the smaller one first, as '
            f'[0, 0.5] for the first half of the depth; got {share!r}'
        )


def is_named(name: str, target: str) -> bool:
    """Return True if ``target`` is the dotted ``name`` or its last parts."""
    return f'.{name}'.endswith(f'.{target}')


def sites_of(backbone: nn.Module) -> Sites:
    """Return the sites of a backbone.

    A backbone with a method ``sites()`` says them itself. Another has those of its parts: of every
    module with a method ``block_sites(name)``, which gets its own path and answers for the modules
    inside. Where no part has that either, attention and MLP layers are found by their structure.
    """
    sites = backbone.sites() if hasattr(backbone, 'sites') else _sites_of_parts(backbone)
    return replace(sites, norms=find_norms(backbone))


def _sites_of_parts(backbone: nn.Module) -> Sites:
    names: list[str] = []
    for name, module in backbone.named_modules():
        is_inside = names and name.startswith(f'{names[-1]}.')
        if hasattr(module, 'block_sites') and not is_inside:
            names.append(name)
    blocks = (backbone.get_submodule(name).block_sites(name) for name in names)
    return Sites(tuple(blocks)) if names else _found_sites(backbone)


def _found_sites(backbone: nn.Module) -> Sites:
    blocks = []
    for found in find_blocks(backbone):
        rows = {
            role: tuple(Rows(*place) for place in places) for role, places in found.roles.items()
        }
        blocks.append(BlockSites(rows, stage=found.stage, parts=found.parts))
    embed = find_embedding(backbone)
    return Sites(tuple(blocks), embed=Rows(embed) if embed else None)


def tensor_at(backbone: nn.Module, path: str) -> torch.Tensor:
    """Return the parameter at a path, or the part of one that a module has under that name."""
    owner, _, name = path.rpartition('.')
    return getattr(backbone.get_submodule(owner), name)


def lacking(backbone: nn.Module, needs: Iterable[str]) -> str | None:
    """Return a line on the first place that a backbone lacks, None if it has all of them."""
    offered = sites_of(backbone).offered()
    absent = (need for need in needs if need not in offered)
    return next((absence(backbone, need) for need in absent), None)


def absence(backbone: nn.Module, need: str) -> str:
    """Return a line on a place that a backbone lacks."""
    described = {**ROLES, **PARAMETERS, **SLOTS}.get(need, 'place of that name')
    line = f'needs "{need}" ({described}), which {type(backbone).__name__} has not'
    if need == 'patches' and getattr(backbone, 'dynamic_img_size', False):
        return f'{line} with dynamic_img_size=True: leave that out, and set img_size'
    return line


def check_sites(backbone: nn.Module, adapter: str, *needs: str) -> Sites:
    """Return the sites of a backbone, after a check that it has those that an adapter needs.

    Raises:
        UserError: a place is lacking.
    """
    problem = lacking(backbone, needs)
    if problem:
        raise UserError(f'{adapter} {problem}')
    return sites_of(backbone)
