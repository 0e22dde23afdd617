"""VMamba once more, from its formulas and in plain torch: position by position, slow."""

import math

import torch
import torch.nn.functional as F
from formulas import layer_norm, project_and_scan


def official_shapes(
    embed_dims: int, depths: tuple[int, ...], ssm_ratio: int, d_state: int, version: str
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an official file, with a head of 10 classes."""
    shapes = _stem_shapes(embed_dims, version)
    dim = embed_dims
    for stage, depth in enumerate(depths):
        for block in range(depth):
            inner = _block_shapes(dim, ssm_ratio, d_state, version)
            shapes |= {f'layers.{stage}.blocks.{block}.{k}': v for k, v in inner.items()}
        if stage + 1 < len(depths):
            inner = _downsample_shapes(dim, version)
            shapes |= {f'layers.{stage}.downsample.{k}': v for k, v in inner.items()}
            dim *= 2
    shapes |= _norm('classifier.norm', dim)
    return shapes | {'classifier.head.weight': (10, dim), 'classifier.head.bias': (10,)}


def _norm(name, dim):
    return {f'{name}.weight': (dim,), f'{name}.bias': (dim,)}


def _stem_shapes(dim, version):
    if version == 'v0':
        conv = {'patch_embed.0.weight': (dim, 3, 4, 4), 'patch_embed.0.bias': (dim,)}
        return conv | _norm('patch_embed.2', dim)
    half = dim // 2
    first = {'patch_embed.0.weight': (half, 3, 3, 3), 'patch_embed.0.bias': (half,)}
    second = {'patch_embed.5.weight': (dim, half, 3, 3), 'patch_embed.5.bias': (dim,)}
    return first | _norm('patch_embed.2', half) | second | _norm('patch_embed.7', dim)


def _block_shapes(dim, ratio, state, version):
    inner, rank = ratio * dim, math.ceil(dim / 16)
    shapes = {
        **_norm('norm', dim),
        'op.in_proj.weight': (2 * inner if version == 'v0' else inner, dim),
        'op.conv2d.weight': (inner, 1, 3, 3),
        'op.x_proj_weight': (4, rank + 2 * state, inner),
        'op.dt_projs_weight': (4, inner, rank),
        'op.dt_projs_bias': (4, inner),
        'op.A_logs': (4 * inner, state),
        'op.Ds': (4 * inner,),
        **_norm('op.out_norm', inner),
        'op.out_proj.weight': (dim, inner),
    }
    if version == 'v0':
        return shapes | {'op.conv2d.bias': (inner,)}
    return shapes | {
        **_norm('norm2', dim),
        'mlp.fc1.weight': (4 * dim, dim),
        'mlp.fc1.bias': (4 * dim,),
        'mlp.fc2.weight': (dim, 4 * dim),
        'mlp.fc2.bias': (dim,),
    }


def _downsample_shapes(dim, version):
    if version == 'v0':
        return {**_norm('norm', 4 * dim), 'reduction.weight': (2 * dim, 4 * dim)}
    return {'1.weight': (2 * dim, dim, 3, 3), '1.bias': (2 * dim,), **_norm('3', 2 * dim)}


def random_weights(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights of a size at which every one of them shows in the features."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator)
        fan_in = math.prod(shape[1:]) if len(shape) > 1 else 1
        if name.endswith(('A_logs', 'Ds', 'dt_projs_bias')) or len(shape) == 1:
            weights[name] = 0.5 * values + ('norm' in name and name.endswith('weight'))
        else:
            weights[name] = values / fan_in**0.5
    return weights


def features(weights: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """What the official head takes, (batch, width), of (batch, 3, height, width)."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    return _mean(w, _last_map(w, images.double())).float()


def _mean(w, x):
    return layer_norm(w, 'classifier.norm', x).mean(dim=(1, 2))


def _last_map(w, images):
    """(batch, rows, columns, width); maps have their channels last from here on."""
    is_v0 = 'patch_embed.5.weight' not in w
    if is_v0:
        x = layer_norm(w, 'patch_embed.2', _conv(w, 'patch_embed.0', images, stride=4))
    else:
        x = _conv(w, 'patch_embed.0', images, stride=2, padding=1)
        x = F.gelu(layer_norm(w, 'patch_embed.2', x))
        x = _conv(w, 'patch_embed.5', x.permute(0, 3, 1, 2), stride=2, padding=1)
        x = layer_norm(w, 'patch_embed.7', x)
    stage = 0
    while f'layers.{stage}.blocks.0.norm.weight' in w:
        block = 0
        while f'layers.{stage}.blocks.{block}.norm.weight' in w:
            x = _block(w, f'layers.{stage}.blocks.{block}', x, is_v0)
            block += 1
        if f'layers.{stage}.downsample.reduction.weight' in w:
            x = _merge(w, f'layers.{stage}.downsample', x)
        elif f'layers.{stage}.downsample.1.weight' in w:
            name = f'layers.{stage}.downsample'
            x = _conv(w, f'{name}.1', x.permute(0, 3, 1, 2), stride=2, padding=1)
            x = layer_norm(w, f'{name}.3', x)
        stage += 1
    return x


def _conv(w, name, x, **settings):
    out = F.conv2d(x, w[f'{name}.weight'], w.get(f'{name}.bias'), **settings)
    return out.permute(0, 2, 3, 1)


def _merge(w, name, x):
    batch, rows, columns, dim = x.shape
    even = x.new_zeros(batch, rows + rows % 2, columns + columns % 2, dim)
    even[:, :rows, :columns] = x
    x = even.unflatten(1, (-1, 2)).unflatten(3, (-1, 2))  # batch, row, dr, column, dc, dim
    parts = [x[:, :, dr, :, dc] for dr, dc in ((0, 0), (1, 0), (0, 1), (1, 1))]
    return layer_norm(w, f'{name}.norm', torch.cat(parts, -1)) @ w[f'{name}.reduction.weight'].T


def _block(w, name, x, is_v0):
    x = x + _ss2d(w, f'{name}.op', layer_norm(w, f'{name}.norm', x), is_v0)
    if is_v0:
        return x
    hidden = layer_norm(w, f'{name}.norm2', x) @ w[f'{name}.mlp.fc1.weight'].T
    hidden = F.gelu(hidden + w[f'{name}.mlp.fc1.bias'])
    return x + hidden @ w[f'{name}.mlp.fc2.weight'].T + w[f'{name}.mlp.fc2.bias']


def _ss2d(w, name, x, is_v0):
    x = x @ w[f'{name}.in_proj.weight'].T
    if is_v0:
        x, z = x.chunk(2, -1)
    channels = x.shape[-1]
    settings = dict(padding=1, groups=channels)
    x = F.silu(_conv(w, f'{name}.conv2d', x.permute(0, 3, 1, 2), **settings))
    rows, columns = x.shape[1:3]
    row_major = [(r, c) for r in range(rows) for c in range(columns)]
    column_major = [(r, c) for c in range(columns) for r in range(rows)]
    ways = [row_major, column_major, row_major[::-1], column_major[::-1]]
    y = sum(_scan(w, name, k, x, way) for k, way in enumerate(ways))
    y = layer_norm(w, f'{name}.out_norm', y)
    return (y * F.silu(z) if is_v0 else y) @ w[f'{name}.out_proj.weight'].T


def _scan(w, name, k, x, way):
    """Scan the positions ``way``, one after the other, by direction k; return a map again."""
    A_log, D = (w[f'{name}.{part}'].unflatten(0, (4, -1))[k] for part in ('A_logs', 'Ds'))
    parts = (
        w[f'{name}.{part}'][k] for part in ('x_proj_weight', 'dt_projs_weight', 'dt_projs_bias')
    )
    at = (slice(None), *(list(numbers) for numbers in zip(*way, strict=True)))
    out = torch.zeros_like(x)
    out[at] = project_and_scan(x[at].transpose(1, 2), *parts, A_log, D).transpose(1, 2)
    return out
