"""Finding the attention and MLP layers of transformers that other libraries define."""

import inspect
import re
from collections.abc import Iterator
from itertools import groupby

from torch import nn

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
_UP_TO_LAST_NUMBER = re.compile(r'(?:(.*)\.)?\d+(?=\.|$)')


def find_blocks(backbone: nn.Module) -> Iterator[tuple[int, dict[str, list[Place]]]]:
    """Yield the number of the stage and the projections by role of each block, in their order.

    An attention layer has linear parts ``qkv`` and ``proj``, an MLP ``fc1`` and ``fc2`` or, as
    mmcv's, a sequence ``layers``; adapters may be around each. The last number in its path says to
    which block a layer belongs. The blocks of one list that have one width are a stage.
    """
    blocks: dict[str, dict[str, list[Place]]] = {}
    keys: dict[str, tuple[str | None, int]] = {}
    for path, module in backbone.named_modules():
        for role, part, rows in _parts(module):
            match = _UP_TO_LAST_NUMBER.match(path)
            block, block_list = (match[0], match[1]) if match else (path, None)
            name = f'{path}.{part}' if path else part
            blocks.setdefault(block, {}).setdefault(role, []).append((name, rows))
            keys.setdefault(block, (block_list, module.get_submodule(part).in_features))
    for stage, (_, members) in enumerate(groupby(blocks, key=keys.get)):
        for block in members:
            yield stage, blocks[block]


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
    try:
        code = inspect.getsource(type(module).forward)
    except (OSError, TypeError):  # compiled, or typed in
        return False
    if not re.search(rf'\bself\.{part}\.weight\b(?!\.(dtype|device|shape))', code):
        return False
    calls = f'self.{part}(' in code
    adds_biases = getattr(module, 'q_bias', None) is not None
    return not calls or (adds_biases and not getattr(module, 'qkv_bias_separate', False))


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
    kind = type(module)
    width, rest = divmod(module.qkv.out_features, 3)
    if f'{kind.__module__}.{kind.__qualname__}' in QKV_IN_ORDER and not rest:
        for number, role in enumerate(('attn.q', 'attn.k', 'attn.v')):
            yield role, 'qkv', range(number * width, (number + 1) * width)


def _has_linear(module: nn.Module, *names: str) -> bool:
    return all(_is_linear(module, name) for name in names)


def _is_linear(module: nn.Module, name: str) -> bool:
    for part in name.split('.'):
        module = module._modules.get(part) if isinstance(module, nn.Module) else None
    return hasattr(module, 'in_features') and hasattr(module, 'out_features')
