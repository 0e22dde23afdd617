"""Finding attention layers, MLPs and norms in models that other libraries define."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby

from torch import nn

from memba_vision.models.block_parts import BlockParts, PatchTokens

#: A projection as the paths in a backbone tell it, with those outputs that count; None is all.
Place = tuple[str, range | None]

#: Attention layers whose input projection makes all queries, then all keys, then all values.
#: Others mix them head by head, so that the rows of one quantity are no range.
QKV_IN_ORDER = frozenset(
    {
        'mmpretrain.models.utils.attention.MultiheadAttention',
        'mmpretrain.models.utils.attention.WindowMSA',
        'timm.layers.attention.Attention',
        'timm.models.beit.Attention',
        'timm.models.eva.EvaAttention',
        'timm.models.swin_transformer.WindowAttention',
        'timm.models.swin_transformer_v2.WindowAttention',
    }
)
#: Attention layers among all tokens that know no positions, so that more tokens may be put in.
WITHOUT_POSITIONS = frozenset(
    {'mmpretrain.models.utils.attention.MultiheadAttention', 'timm.layers.attention.Attention'}
)
_NORM = re.compile(r'Norm(\d?d)?$')
_UP_TO_LAST_NUMBER = re.compile(r'(?:(.*)\.)?\d+(?=\.|$)')


@dataclass
class FoundBlock:
    """Block whose attention layer and MLP were found.

    Attributes:
        path: its own path.
        block_list: the path of the list that it is in; None where it is in none.
        roles: the projections by role.
        whole: the paths of the attention layer and the MLP, by 'attn' and 'mlp'.
        width: the inputs of the first projection.
        any_length: True where its attention layer takes sequences of any length.
        stage: the number of the stage.
        parts: None where it is no whole block.
    """

    path: str
    block_list: str | None
    width: int
    roles: dict[str, list[Place]] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
    any_length: bool = False
    stage: int = 0
    parts: BlockParts | None = None


def find_blocks(backbone: nn.Module) -> list[FoundBlock]:
    """Return the blocks, in their order.

    An attention layer has linear parts ``qkv`` and ``proj``, an MLP ``fc1`` and ``fc2`` or, as
    mmcv's, a sequence ``layers``; adapters may be around each. The last number in its path says to
    which block a layer belongs. The blocks of one list that have one width are a stage.
    """
    blocks: dict[str, FoundBlock] = {}
    for path, module in backbone.named_modules():
        for role, part, rows in _parts(module):
            match = _UP_TO_LAST_NUMBER.match(path)
            name, block_list = (match[0], match[1]) if match else (path, None)
            width = module.get_submodule(part).in_features
            block = blocks.setdefault(name, FoundBlock(name, block_list, width))
            block.roles.setdefault(role, []).append((f'{path}.{part}' if path else part, rows))
            block.whole.setdefault(role.partition('.')[0], path)
            block.any_length |= _kind(module) in WITHOUT_POSITIONS
    stages = [list(some) for _, some in groupby(blocks.values(), lambda b: (b.block_list, b.width))]
    is_sequence = len(stages) == 1 and all(block.any_length for block in blocks.values())
    patches = _find_patches(backbone) if is_sequence else None
    for number, stage in enumerate(stages):
        for block in stage:
            block.stage = number
            if block.whole.keys() == {'attn', 'mlp'}:
                places = block.path, block.whole['attn'], block.whole['mlp']
                block.parts = BlockParts(block.width, *places, patches, is_sequence)
    return list(blocks.values())


def _find_patches(backbone: nn.Module) -> PatchTokens | None:
    """Return the places of patches behind all other tokens, where their numbers are known."""
    for model in (backbone, getattr(backbone, 'model', None)):
        embed = getattr(model, 'patch_embed', None)
        grid = getattr(embed, 'init_out_size', None) or getattr(embed, 'grid_size', None)
        others = getattr(model, 'num_extra_tokens', getattr(model, 'num_prefix_tokens', None))
        if grid and others is not None:
            return PatchTokens(tuple(grid), tuple(range(others)))
    return None


def find_norms(backbone: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the paths of the norms that have weights, each with the paths of its parameters.

    Their classes have names that end in 'Norm', and their weights have one axis. An adapter around
    a norm stands for it.
    """
    found = {}
    for path, module in backbone.named_modules():
        weight = module._parameters.get('weight')
        if weight is not None and weight.ndim == 1 and _NORM.search(type(module).__name__):
            names = [name for name, parameter in module.named_parameters(path, recurse=False)]
            while path.endswith('.base_layer'):
                path = path.removesuffix('.base_layer')
            found[path] = tuple(names)
    return found


def find_embedding(backbone: nn.Module) -> str | None:
    """Return the path of the convolution that makes patches; None where there is no single one."""
    for path, module in backbone.named_modules():
        if path.rpartition('.')[2] == 'patch_embed':
            for part in ('proj', 'projection'):
                found = getattr(module, part, None)
                if isinstance(found, nn.Conv2d) or hasattr(found, 'base_layer'):
                    return f'{path}.{part}'
    return None


def bypasses(module: nn.Module, part: str) -> bool:
    """Return True if ``module`` computes with the weight of a part without calling the part.

    An adapter around the part would have no effect then. Attention layers that add biases of
    queries and values apart do so, some of them only where they have these biases.
    """
    code = _source_of(type(module).forward)
    if not re.search(rf'\bself\.{part}\.weight\b(?!\.(dtype|device|shape))', code):
        return False
    calls = f'self.{part}(' in code
    adds_biases = getattr(module, 'q_bias', None) is not None
    return not calls or (adds_biases and not getattr(module, 'qkv_bias_separate', False))


@cache
def _source_of(function: Callable) -> str:
    """Return the source of a function, '' where it is compiled or was typed in."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return ''


def _parts(module: nn.Module) -> Iterator[tuple[str, str, range | None]]:
    """Yield role, name and rows of the linear parts that make an attention layer or an MLP."""
    if _has_linear(module, 'qkv', 'proj'):
        yield 'attn.qkv', 'qkv', None
        yield from _rows_of_qkv(module)
        yield 'attn.out', 'proj', None
    for first, second in (('fc1', 'fc2'), ('layers.0.0', 'layers.1')):
        if _has_linear(module, first, second):
            yield 'mlp.fc1', first, None
            yield 'mlp.fc2', second, None


def _rows_of_qkv(module: nn.Module) -> Iterator[tuple[str, str, range | None]]:
    width, rest = divmod(module.qkv.out_features, 3)
    if _kind(module) in QKV_IN_ORDER and not rest:
        for number, role in enumerate(('attn.q', 'attn.k', 'attn.v')):
            yield role, 'qkv', range(number * width, (number + 1) * width)


def _kind(module: nn.Module) -> str:
    return f'{type(module).__module__}.{type(module).__qualname__}'


def _has_linear(module: nn.Module, *names: str) -> bool:
    return all(_is_linear(module, name) for name in names)


def _is_linear(module: nn.Module, name: str) -> bool:
    for part in name.split('.'):
        module = module._modules.get(part) if isinstance(module, nn.Module) else None
    return hasattr(module, 'in_features') and hasattr(module, 'out_features')
