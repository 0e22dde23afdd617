"""MambaVision: its keys, its loading, and what it computes."""

import math

import pytest
import torch
import torch.nn.functional as F
from formulas import below, layer_norm, make_images, project_and_scan
from official_like import load, write
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models import MambaVision, PEFTModel
from memba_vision.models.modules.windows import from_windows, to_windows
from memba_vision.models.peft.model import attach_adapters

ARCH = dict(
    embed_dims=4, stem_dims=3, depths=(1, 2, 3, 2), num_heads=(2, 4), window_sizes=(3, 2), d_state=2
)
SETTINGS = dict(arch=ARCH, img_size=32)
SCALED = ARCH | dict(layer_scale=True)
PARAMETERS = {
    'tiny': 31_794_248,
    'tiny2': 35_104_008,
    'small': 50_140_584,
    'base': 97_685_288,
    'large': 227_961_048,
    'large2': 241_554_824,
}


def norm_shapes(name, dim):
    statistics = {f'{name}.running_mean': (dim,), f'{name}.running_var': (dim,)}
    affine = {f'{name}.weight': (dim,), f'{name}.bias': (dim,)}
    return affine | statistics | {f'{name}.num_batches_tracked': ()}


def mixer_shapes(dim, state):
    half, rank = dim // 2, math.ceil(dim / 16)
    return {
        'in_proj.weight': (dim, dim),
        'conv1d_x.weight': (half, 1, 3),
        'conv1d_z.weight': (half, 1, 3),
        'x_proj.weight': (rank + 2 * state, half),
        'dt_proj.weight': (half, rank),
        'dt_proj.bias': (half,),
        'A_log': (half, state),
        'D': (half,),
        'out_proj.weight': (dim, dim),
    }


def linear_shapes(name, inputs, outputs):
    return {f'{name}.weight': (outputs, inputs), f'{name}.bias': (outputs,)}


def official_shapes(dim, stem, depths, layer_scale, state=8):
    """Keys and shapes of an official file without its head."""
    shapes = {
        'patch_embed.conv_down.0.weight': (stem, 3, 3, 3),
        'patch_embed.conv_down.3.weight': (dim, stem, 3, 3),
        **norm_shapes('patch_embed.conv_down.1', stem),
        **norm_shapes('patch_embed.conv_down.4', dim),
        **norm_shapes('norm', 8 * dim),
    }
    for i, depth in enumerate(depths):
        d = dim * 2**i
        if i < 3:
            shapes[f'levels.{i}.downsample.reduction.0.weight'] = (2 * d, d, 3, 3)
        for j in range(depth):
            block = f'levels.{i}.blocks.{j}'
            if i < 2:
                for k in (1, 2):
                    shapes |= {
                        f'{block}.conv{k}.weight': (d, d, 3, 3),
                        f'{block}.conv{k}.bias': (d,),
                    }
                    shapes |= norm_shapes(f'{block}.norm{k}', d)
                continue
            for k in (1, 2):
                shapes |= {f'{block}.norm{k}.weight': (d,), f'{block}.norm{k}.bias': (d,)}
                shapes |= {f'{block}.gamma_{k}': (d,)} if layer_scale else {}
            if j < math.ceil(depth / 2):
                mixer = mixer_shapes(d, state)
            else:
                mixer = linear_shapes('qkv', d, 3 * d) | linear_shapes('proj', d, d)
            shapes |= {f'{block}.mixer.{name}': shape for name, shape in mixer.items()}
            shapes |= linear_shapes(f'{block}.mlp.fc1', d, 4 * d)
            shapes |= linear_shapes(f'{block}.mlp.fc2', 4 * d, d)
    return shapes


def make_weights(seed=0, arch=ARCH):
    names = ('embed_dims', 'stem_dims', 'depths')
    shapes = official_shapes(
        *(arch[n] for n in names), arch.get('layer_scale', False), arch['d_state']
    )
    generator = torch.Generator().manual_seed(seed)
    weights = {k: torch.randn(s, generator=generator) * 0.4 for k, s in shapes.items()}
    for name in weights:
        if weights[name].ndim > 1 and not name.endswith('A_log'):
            weights[name] *= 2 * weights[name][0].numel() ** -0.5
        if name.endswith('running_var'):
            weights[name] = weights[name].abs() + 0.5
        if name.endswith('num_batches_tracked'):
            weights[name] = torch.tensor(7)
    return weights


def make_model(weights=None, **settings):
    torch.manual_seed(0)
    model = MambaVision(**{'arch': ARCH, 'img_size': 32, **settings})
    if weights is not None:
        model.load_state_dict(weights)
    return model


# What it computes


def batch_norm(x, w, name, eps=1e-5):
    mean, var = w[f'{name}.running_mean'], w[f'{name}.running_var']
    scale = w[f'{name}.weight'] / (var + eps).sqrt()
    return (x - mean[:, None, None]) * scale[:, None, None] + w[f'{name}.bias'][:, None, None]


def tanh_gelu(x):
    return x / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def erf_gelu(x):
    return x / 2 * (1 + torch.erf(x / math.sqrt(2)))


def conv_silu(x, kernel):
    """Three neighbours of (batch, dim, length), zeros at either end."""
    x = F.pad(x, (1, 1))
    length = x.shape[-1] - 2
    return F.silu(sum(kernel[:, 0, k, None] * x[..., k : k + length] for k in range(3)))


def mixed(w, hidden):
    x, z = (hidden @ w['in_proj.weight'].T).transpose(1, 2).chunk(2, dim=1)
    x, z = conv_silu(x, w['conv1d_x.weight']), conv_silu(z, w['conv1d_z.weight'])
    weights = w['x_proj.weight'], w['dt_proj.weight'], 2 * w['dt_proj.bias'], w['A_log'], w['D']
    y = project_and_scan(x, *weights)
    return torch.cat([y, z], dim=1).transpose(1, 2) @ w['out_proj.weight'].T


def attended(w, hidden, heads):
    q, k, v = (hidden @ w['qkv.weight'].T + w['qkv.bias']).chunk(3, dim=-1)
    outputs = []
    for one_q, one_k, one_v in zip(*(t.chunk(heads, dim=-1) for t in (q, k, v)), strict=True):
        scores = one_q @ one_k.transpose(1, 2) / math.sqrt(one_q.shape[-1])
        outputs.append(scores.softmax(-1) @ one_v)
    return torch.cat(outputs, dim=-1) @ w['proj.weight'].T + w['proj.bias']


def window_block(w, hidden, heads):
    first = layer_norm(w, 'norm1', hidden)
    mixer = below(w, 'mixer.')
    update = mixed(mixer, first) if 'A_log' in mixer else attended(mixer, first, heads)
    hidden = hidden + w.get('gamma_1', 1) * update
    inner = erf_gelu(layer_norm(w, 'norm2', hidden) @ w['mlp.fc1.weight'].T + w['mlp.fc1.bias'])
    return hidden + w.get('gamma_2', 1) * (inner @ w['mlp.fc2.weight'].T + w['mlp.fc2.bias'])


def window_stage(w, maps, depth, heads, size):
    """A stage of blocks in windows, window by window."""
    height, width = maps.shape[-2:]
    maps = F.pad(maps, (0, -width % size, 0, -height % size))
    out = torch.zeros_like(maps)
    for y in range(0, maps.shape[2], size):
        for x in range(0, maps.shape[3], size):
            part = (..., slice(y, y + size), slice(x, x + size))
            hidden = maps[part].flatten(2).transpose(1, 2)
            for j in range(depth):
                hidden = window_block(below(w, f'blocks.{j}.'), hidden, heads)
            out[part] = hidden.transpose(1, 2).unflatten(2, (size, size))
    return out[..., :height, :width]


def conv_stage(w, maps, depth):
    for j in range(depth):
        block = below(w, f'blocks.{j}.')
        hidden = F.conv2d(maps, block['conv1.weight'], block['conv1.bias'], padding=1)
        hidden = tanh_gelu(batch_norm(hidden, block, 'norm1'))
        hidden = F.conv2d(hidden, block['conv2.weight'], block['conv2.bias'], padding=1)
        maps = maps + batch_norm(hidden, block, 'norm2')
    return maps


def reference(w, images, arch=ARCH):
    """The maps of all stages, the last one behind its norm."""
    maps, stem, found = images, below(w, 'patch_embed.conv_down.'), []
    for k in (0, 3):
        maps = F.conv2d(maps, stem[f'{k}.weight'], stride=2, padding=1)
        maps = batch_norm(maps, stem, str(k + 1), eps=1e-4).relu()
    for i, depth in enumerate(arch['depths']):
        level = below(w, f'levels.{i}.')
        if i < 2:
            maps = conv_stage(level, maps, depth)
        else:
            settings = arch['num_heads'][i - 2], arch['window_sizes'][i - 2]
            maps = window_stage(level, maps, depth, *settings)
        found.append(maps if i < 3 else batch_norm(maps, w, 'norm'))
        if i < 3:
            maps = F.conv2d(maps, level['downsample.reduction.0.weight'], stride=2, padding=1)
    return found


@pytest.mark.parametrize('arch', [ARCH, SCALED], ids=['plain', 'layer scale'])
@pytest.mark.parametrize('size', [(96, 96), (80, 59)], ids=str)
def test_it_equals_the_formulas(arch, size):
    weights, images = make_weights(arch=arch), make_images(*size)
    *_, last = expected = reference(weights, images, arch)
    model = make_model(weights, arch=arch, out_type='featmap', out_indices=(0, 1, 2, 3)).eval()
    torch.testing.assert_close(list(model(images)), expected, rtol=1e-5, atol=1e-5)
    model = make_model(weights, arch=arch).eval()
    torch.testing.assert_close(model(images)[0], last.mean((2, 3)), rtol=1e-5, atol=1e-5)
    model.out_type = 'raw'
    torch.testing.assert_close(
        model(images)[0], last.flatten(2).transpose(1, 2), rtol=1e-5, atol=1e-5
    )


def test_its_gradients_are_those_of_the_formulas():
    weights = {k: v.double() for k, v in make_weights(arch=SCALED).items()}
    model = make_model(weights, arch=SCALED).double().eval()
    images = make_images(48, 64).double()
    trained = {n: weights[n].requires_grad_() for n, _ in model.named_parameters()}
    loss = reference(weights, images, SCALED)[-1].mean((2, 3)).pow(3).sum()
    expected = dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))
    model(images)[0].pow(3).sum().backward()
    actual = {name: parameter.grad for name, parameter in model.named_parameters()}
    torch.testing.assert_close(actual, expected, rtol=1e-7, atol=1e-9)


def test_a_large_arch_equals_the_formulas():
    """Windows, heads and widths of an official one, in the stages that have them."""
    arch = dict(embed_dims=80, stem_dims=32, depths=(1, 1, 2, 2), num_heads=(8, 16))
    arch |= dict(window_sizes=(14, 7), d_state=8)
    weights, images = make_weights(arch=arch), make_images(64, 64, batch=1)
    expected = reference(weights, images, arch)[-1].mean((2, 3))
    model = make_model(weights, arch=arch).eval()
    torch.testing.assert_close(model(images)[0], expected, rtol=1e-5, atol=1e-5)


def test_smallest_images():
    assert make_model(make_weights()).eval()(make_images(5, 3))[0].isfinite().all()


@pytest.mark.parametrize(('height', 'width', 'size'), [(6, 9, 3), (5, 7, 3), (2, 1, 4)])
def test_windows_and_back(height, width, size):
    maps = torch.arange(2.0 * 3 * height * width).reshape(2, 3, height, width)
    windows = to_windows(maps, size)
    rows, columns = math.ceil(height / size), math.ceil(width / size)
    assert windows.shape == (2 * rows * columns, size * size, 3)
    assert torch.equal(from_windows(windows, size, height, width), maps)
    y, x = height - 1, width - 1
    window = (y // size) * columns + x // size + rows * columns  # of the second image
    assert torch.equal(windows[window, y % size * size + x % size], maps[1, :, y, x])


# Keys, sizes and depths


@pytest.mark.parametrize('arch', PARAMETERS)
def test_official_keys_and_sizes(arch):
    with torch.device('meta'):
        model = MambaVision(arch)
    names = ('embed_dims', 'stem_dims', 'depths', 'layer_scale')
    expected = official_shapes(*(model.settings[name] for name in names))
    assert {name: tuple(t.shape) for name, t in model.state_dict().items()} == expected
    own = sum(parameter.numel() for parameter in model.parameters())
    assert own + 1000 * model.num_features + 1000 == PARAMETERS[arch]


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 3, 4])
def test_frozen_stages(frozen_stages):
    model = make_model(frozen_stages=frozen_stages).train()
    expected = {f'levels.{i}': i < frozen_stages for i in range(4)}
    expected |= {'patch_embed': frozen_stages > 0, 'norm': frozen_stages == 4}
    for name, parameter in model.named_parameters():
        part = next(part for part in expected if name.startswith(f'{part}.'))
        assert parameter.requires_grad is not expected[part], name
    for part, is_frozen in expected.items():
        assert all(m.training is not is_frozen for m in model.get_submodule(part).modules())


@pytest.mark.parametrize(
    ('name', 'depth'),
    [
        ('patch_embed.conv_down.0.weight', 0),
        ('levels.0.blocks.0.conv1.weight', 1),
        ('levels.0.downsample.reduction.0.weight', 1),
        ('levels.1.blocks.1.norm2.bias', 3),
        ('levels.2.blocks.0.mixer.A_log', 4),
        ('levels.3.blocks.1.mlp.fc1.weight', 8),
        ('norm.weight', 9),
    ],
)
def test_depth_of_a_parameter(name, depth):
    assert make_model().get_layer_depth(f'backbone.{name}', 'backbone.') == (depth, 10)
    assert make_model().get_layer_depth('head.fc.weight', 'backbone.') == (9, 10)


def statistics(model):
    return {k: v.clone() for k, v in model.state_dict().items() if 'running' in k or 'tracked' in k}


def test_a_norm_that_is_frozen_keeps_its_statistics():
    model = make_model(make_weights())
    attach_adapters(model, [dict(type='LoRA', targets=['mix.in'], rank=2)])
    before = statistics(model)
    model.train()
    assert model.levels[2].blocks[0].mixer.in_proj.dropout.training
    model(make_images(64, 64))
    torch.testing.assert_close(statistics(model), before, rtol=0, atol=0)
    trained = make_model(make_weights()).train()
    trained(make_images(64, 64))
    assert all(not torch.equal(v, before[k]) for k, v in statistics(trained).items())


@pytest.mark.parametrize('is_frozen', [True, False])
def test_recomputed_blocks_give_the_same_gradients_and_statistics(is_frozen):
    outcomes = []
    for with_cp in (False, True):
        model = make_model(make_weights(), with_cp=with_cp, drop_path_rate=0.5)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(not is_frozen)
        model.train()
        torch.manual_seed(3)
        model(make_images(64, 64))[0].square().sum().backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
        outcomes.append((gradients, statistics(model)))
    torch.testing.assert_close(*outcomes, rtol=0, atol=0)


@pytest.mark.parametrize('halved', [True, False])
def test_half_precision_keeps_the_residual_in_float32(halved):
    model, images, seen = make_model(make_weights()).eval(), make_images(64, 64), []
    exact = model(images)[0]
    for block in [*model.levels[2].blocks, *model.levels[3].blocks]:
        block.register_forward_hook(lambda module, args, out: seen.append(out[0].dtype))
    if halved:
        model, images = model.bfloat16(), images.bfloat16()
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=not halved):
        feature = model(images)[0]
        feature.float().square().sum().backward()
    assert seen == [torch.float32] * 5
    assert feature.dtype == (torch.bfloat16 if halved else torch.float32)
    assert (feature.float() - exact).norm() < 0.03 * exact.norm()
    assert all(p.grad.isfinite().all() for p in model.parameters())


# Places for adapters


def test_sites():
    sites = make_model().sites()
    assert [block.stage for block in sites.blocks] == [2, 2, 2, 3, 3]
    mixer, attention = sites.blocks[1], sites.blocks[2]
    mlp = {'mlp.fc1', 'mlp.fc2'}
    parts = ('in', 'x', 'z', 'params', 'delta', 'B', 'C', 'dt', 'out')
    assert set(mixer.projections) == {f'mix.{part}' for part in parts} | mlp
    assert set(attention.projections) == {'attn.qkv', 'attn.out'} | mlp
    assert [len(block.scans) for block in sites.blocks] == [1, 1, 0, 1, 0]
    assert not sites.gates()
    assert sites.embed is sites.tokens is None
    model = make_model()
    for block in sites.blocks:
        for (rows,) in block.projections.values():
            outputs = model.get_submodule(rows.module).out_features
            assert rows.rows is None or rows.rows.stop <= outputs
        for scan in block.scans:
            shape = model.get_parameter(scan.A_log).shape
            assert model.get_parameter(scan.D).shape == shape[:1]


LORA = dict(type='LoRA', rank=2, scale=1.0)
HIDDEN = [dict(LORA, targets=['attn.qkv']), dict(type='HiddenLIM', target='attn.qkv')]
CASES = {
    'parts': [dict(LORA, targets=['mix.x', 'mix.z', 'mix.delta', 'mix.B', 'mix.C'])],
    'attention': [dict(LORA, targets=['attn.qkv', 'attn.out'])],
    'mlp': [dict(LORA, targets=['mlp.fc1', 'mlp.fc2'])],
    'offset': [dict(type='StateOffset', of='output')],
    'several': [dict(LORA, targets=['mix.in', 'mix.out']), dict(type='StateOffset')],
    'membranes': HIDDEN,
}


@pytest.mark.parametrize('case', CASES)
def test_adapters_by_role(case):
    images, model = make_images(48, 48), PEFTModel(make_model(make_weights()), CASES[case])
    model.eval()
    start = model(images)[0]
    torch.testing.assert_close(start, make_model(make_weights()).eval()(images)[0])
    own = model.adapter_parameters()
    with torch.no_grad():
        for parameter in own.values():
            parameter.add_(torch.randn_like(parameter))
    feature = model(images)[0]
    feature.square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in own.values())
    assert not torch.allclose(feature, start)
    merged, _ = model.merge()
    torch.testing.assert_close(merged(images)[0], feature, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('kind', ['LoRA', 'DoRA', 'ProDiaL'])
def test_the_bias_that_is_added_twice_stays_so_behind_adapters(kind):
    hidden = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0))

    def mixed_by(backbone):
        return backbone.levels[2].blocks[0].mixer(hidden)[0]

    model = PEFTModel(make_model(make_weights()), [dict(type=kind, targets=['mix.dt'], rank=2)])
    model.eval()
    expected = mixed_by(make_model(make_weights()))
    torch.testing.assert_close(mixed_by(model.module), expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for parameter in model.adapter_parameters().values():
            parameter.add_(torch.randn_like(parameter))
    adapted, merged = mixed_by(model.module), mixed_by(model.merge()[0])
    assert (adapted - expected).norm() > 1e-3 * expected.norm()
    torch.testing.assert_close(merged, adapted, rtol=1e-4, atol=1e-5)


# Files


def test_a_file_of_an_arch_without_a_name_is_described(tmp_path):
    weights = make_weights(arch=SCALED | dict(depths=(1, 1, 1, 1)))
    path = write(tmp_path / 'mambavision.pth', weights, 32, 'state_dict')
    described = r'dict\(embed_dims=4, stem_dims=3, depths=\(1, 1, 1, 1\), layer_scale=True\)'
    with pytest.raises(UserError, match=f'is of the MambaVision with arch={described}'):
        load(make_model, path)


# Mistakes


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(arch='huge'), "MambaVision: unknown arch 'huge'; known are tiny, tiny2, small, base"),
        (
            dict(arch=dict(embed_dims=4)),
            'lacks depths and num_heads and stem_dims and wi',
        ),
        (dict(arch=ARCH | dict(width=3)), 'the arch dict has unknown width; known are embed_dims'),
        (dict(arch=ARCH | dict(depths=(1, 2))), r'depths of the arch must be 4 positive numbers'),
        (dict(arch=ARCH | dict(num_heads=(3, 4))), 'stage 2 is 16 wide and has 3 heads'),
        (dict(out_type='cls_token'), "unknown out_type 'cls_token'; known are avg_featmap, featm"),
        (dict(out_indices=4), 'MambaVision: out_indices holds 4, but there are 4 stages'),
        (dict(frozen_stages=5), 'MambaVision: frozen_stages is 5, but there are 4 stages'),
        (dict(img_size='224'), 'img_size must be a positive whole number'),
    ],
    ids=lambda value: ','.join(value) if isinstance(value, dict) else '',
)
def test_mistakes_are_explained(settings, message):
    with pytest.raises(UserError, match=message):
        make_model(**settings)
