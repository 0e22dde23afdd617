"""Adapters from papers on transformers, each against its formula in a few lines of plain torch."""

import copy

import pytest
import torch
import torch.nn.functional as F
from backbones_for_contracts import BACKBONES
from mmpretrain.registry import MODELS
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.block_parts import PatchTokens
from memba_vision.models.sites import sites_of

VIM = BACKBONES['vim']


def build(*adapters, backbone='vim', std=0.3, **settings):
    """An adapted tiny backbone whose own parameters are random."""
    torch.manual_seed(0)
    module = BACKBONES[backbone] | settings
    model = MODELS.build(dict(type='PEFTModel', module=module, adapters=list(adapters)))
    with torch.no_grad():
        for parameter in model.adapter_parameters().values():
            parameter.copy_(torch.randn_like(parameter) * std)
    model.eval()
    return model


def make_images(batch=2):
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def make_hidden(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


# SSF


def test_ssf_scales_and_shifts_what_has_a_bias():
    model = build(dict(type='SSF'))
    block = model.module.layers[0]
    for layer in (block.mixer.dt_proj, block.mixer.x_proj, model.module.patch_embed.proj):
        x = make_hidden(2, 3, 8, 8) if layer.weight.ndim == 4 else make_hidden(2, layer.in_features)
        expected = layer.base_layer(x).movedim(1, -1) * layer.scale
        expected = expected if layer.shift is None else expected + layer.shift
        torch.testing.assert_close(layer(x).movedim(1, -1), expected)
    assert block.mixer.x_proj.shift is None
    x = make_hidden(2, 5, 16)
    torch.testing.assert_close(block.norm(x), block.norm.scale * block.norm.base_layer(x))


def test_ssf_on_norms_over_channels_of_maps():
    model = build(dict(type='SSF'), backbone='vmamba_v2')
    norm = model.module.get_submodule('patch_embed.2')
    x = make_hidden(2, 4, 3, 5)
    along = (-1, 1, 1)
    expected = norm.scale.view(along) * norm.base_layer(x) + norm.shift.view(along)
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize('backbone', BACKBONES)
def test_layernorm_tuning_trains_all_norms_and_nothing_else(backbone):
    model = build(dict(type='PartialTuning', patterns=['norm']), backbone=backbone)
    trained = set(model.adapter_parameters())
    norms = [name for name, module in model.module.named_modules() if is_norm(module)]
    assert trained == {
        f'{name}.{part}'
        for name in norms
        for part, _ in model.module.get_submodule(name).named_parameters()
    }
    assert len(norms) > 2


@pytest.mark.parametrize('backbone', BACKBONES)
def test_bitfit_trains_all_biases_and_nothing_else(backbone):
    model = build(dict(type='PartialTuning', patterns=['*bias']), backbone=backbone)
    biases = [getattr(module, 'bias', None) for module in model.module.modules()]
    sites = sites_of(model.module)
    steps = [model.module.get_parameter(name) for name in sites.parameters('scan.bias')]
    expected = {id(bias) for bias in (*biases, *steps) if isinstance(bias, nn.Parameter)}
    assert {id(p) for p in model.adapter_parameters().values()} == expected


def is_norm(module):
    return isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.BatchNorm2d)


def test_norms_have_one_adapter():
    with pytest.raises(UserError, match=r"'.*norm.*' has an adapter already"):
        build(dict(type='SSF'), dict(type='SSF', targets=['norm']))
    sites = sites_of(build(dict(type='SSF')).module)
    assert sites.norms.keys() == sites_of(MODELS.build(VIM)).norms.keys()


# Updates of the residual stream. A part's own ``forward`` leaves out the hooks that are on it.


def bottleneck(update, hidden, inside):
    low_rank = inside(hidden @ update.down.weight.T + update.down.bias)
    return low_rank @ update.up.weight.T + update.up.bias


def test_adaptformer_is_beside_the_mixer_or_the_mlp():
    for backbone, path in [('vim', 'layers.1.mixer'), ('timm_vit', 'model.blocks.3.mlp')]:
        part = build(dict(type='AdaptFormer', rank=3), backbone=backbone).module.get_submodule(path)
        hidden = make_hidden(2, 17, 16 if backbone == 'vim' else 64)
        plain, actual = part.forward(hidden), part(hidden)
        plain, actual = (out[0] if isinstance(out, tuple) else out for out in (plain, actual))
        expected = plain + 0.1 * bottleneck(part.adaptformer, hidden, F.relu)
        torch.testing.assert_close(actual, expected)


def test_adapter_plus_is_behind_the_block():
    for backbone, path in [('vim', 'layers.1'), ('timm_vit', 'model.blocks.3')]:
        block = build(dict(type='AdapterPlus', rank=3), backbone=backbone).module.get_submodule(
            path
        )
        hidden = make_hidden(2, 17, 16 if backbone == 'vim' else 64)
        plain, actual = block.forward(hidden), block(hidden)
        plain, actual = (out[0] if isinstance(out, tuple) else out for out in (plain, actual))
        update = block.adapter_plus
        expected = plain + update.scale * bottleneck(update, plain, F.gelu)
        torch.testing.assert_close(actual, expected)


def test_adapter_plus_starts_near_zero():
    torch.manual_seed(0)
    adapters = [dict(type='AdapterPlus')]
    update = MODELS.build(dict(type='PEFTModel', module=VIM, adapters=adapters)).module.layers[0]
    for layer in (update.adapter_plus.down, update.adapter_plus.up):
        assert 0 < layer.weight.abs().max() <= 0.02
        assert not layer.bias.any()
    assert (update.adapter_plus.scale == 1).all()


def convolve(x, weight, bias, others):
    """Convolve (batch, tokens, channels) over a 4 x 4 grid, tap by tap; others see the middle."""
    size, groups = weight.shape[-1], x.shape[-1] // weight.shape[1]
    dense = torch.zeros(len(weight), x.shape[-1], size, size)
    for channel in range(len(weight)):
        first = channel // (len(weight) // groups) * weight.shape[1]
        dense[channel, first : first + weight.shape[1]] = weight[channel]
    patches = [number for number in range(x.shape[1]) if number not in others]
    out = torch.zeros(*x.shape[:2], len(weight)) + bias
    middle = size // 2
    for number in others:
        out[:, number] += x[:, number] @ dense[:, :, middle, middle].T
    for place, number in enumerate(patches):
        row, column = divmod(place, 4)
        for i in range(size):
            for j in range(size):
                y, z = row + i - middle, column + j - middle
                if 0 <= y < 4 and 0 <= z < 4:
                    out[:, number] += x[:, patches[4 * y + z]] @ dense[:, :, i, j].T
    return out


GRIDS = [('vim', 'layers.1', (8,)), ('mamba_reg', 'layers.1', (5, 11)), ('vit', 'layers.1', (0,))]


def quick_gelu(x):
    return x / (1 + torch.exp(-1.702 * x))


@pytest.mark.parametrize(('backbone', 'path', 'others'), GRIDS, ids=lambda value: str(value))
def test_convpass_convolves_over_the_grid(backbone, path, others):
    model = build(dict(type='Convpass', rank=3, scale=0.5), backbone=backbone)
    block = model.module.get_submodule(path)
    mixer = block.attn if backbone == 'vit' else block.mixer
    update = mixer.convpass
    hidden = make_hidden(2, 16 + len(others), 16)
    plain, actual = mixer.forward(hidden), mixer(hidden)
    plain, actual = (out[0] if isinstance(out, tuple) else out for out in (plain, actual))

    def inside(low_rank):
        weights = update.conv.weight, update.conv.bias
        return quick_gelu(convolve(quick_gelu(low_rank), *weights, others))

    torch.testing.assert_close(actual, plain + 0.5 * bottleneck(update, hidden, inside))
    assert hasattr(block, 'ffn') == (backbone == 'vit')
    assert backbone != 'vit' or hasattr(block.ffn, 'convpass')


def test_convpass_takes_the_grid_that_vmamba_hands_on():
    model = build(dict(type='Convpass', rank=3), backbone='vmamba_v2')
    op = model.module.get_submodule('layers.1.blocks.0.op')
    hidden = make_hidden(2, 16, 16)
    update = op.convpass

    def inside(low_rank):
        weights = update.conv.weight, update.conv.bias
        return quick_gelu(convolve(quick_gelu(low_rank), *weights, ()))

    expected = op.forward(hidden, (4, 4))[0] + bottleneck(update, hidden, inside)
    torch.testing.assert_close(op(hidden, (4, 4))[0], expected)
    assert op(make_hidden(2, 15, 16), (3, 5))[0].shape == (2, 15, 16)


@pytest.mark.parametrize(('backbone', 'path', 'others'), GRIDS, ids=lambda value: str(value))
def test_mona_filters_at_three_sizes(backbone, path, others):
    block = build(dict(type='Mona', rank=3), backbone=backbone).module.get_submodule(path)
    hidden = make_hidden(2, 16 + len(others), 16)
    plain, actual = block.forward(hidden), block(hidden)
    plain, actual = (out[0] if isinstance(out, tuple) else out for out in (plain, actual))
    update = block.mona
    centred = plain - plain.mean(-1, keepdim=True)
    normalised = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    normalised = normalised * update.norm.weight + update.norm.bias
    weighted = update.norm_scale * normalised + update.input_scale * plain

    def inside(x):
        filtered = [convolve(x, conv.weight, conv.bias, others) for conv in update.filters.convs]
        x = x + sum(filtered) / 3
        projector = update.filters.projector
        return F.gelu(x + x @ projector.weight[:, :, 0, 0].T + projector.bias)

    expected = plain + bottleneck(update, weighted, inside)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_rep_adapter_maps_in_groups_before_the_projection():
    model = build(dict(type='RepAdapter', rank=4, scale=0.5), backbone='timm_vit')
    layer = model.module.get_submodule('model.blocks.2.attn.qkv')
    hidden = make_hidden(2, 5, 64)
    low_rank = hidden @ layer.down.weight.T + layer.down.bias
    halves = [low_rank[..., :2] @ layer.up.weight[0].T, low_rank[..., 2:] @ layer.up.weight[1].T]
    inner = hidden + 0.5 * (torch.cat(halves, dim=-1) + layer.up.bias)
    torch.testing.assert_close(layer(hidden), layer.base_layer(inner))
    assert build(dict(type='RepAdapter', rank=4)).module.layers[0].mixer.in_proj.up.bias is None


# Prompts


@pytest.mark.parametrize('form', ['lora', 'vector', 'scalar'])
def test_glora_scales_and_shifts_weight_and_bias(form):
    small = 'vector' if form == 'lora' else form
    column = 'vector' if form == 'scalar' else form
    forms = dict(A=form, B=form, C=column, D=small, E=small)
    backbone = build(dict(type='GLoRA', targets=['all_proj'], rank=3, **forms))
    layer = next(m for n, m in backbone.module.named_modules() if n.endswith('0.mixer.dt_proj'))
    weight, bias, hidden = layer.base_layer.weight, layer.base_layer.bias, make_hidden(2, 5, 1)

    def support(name, rows):
        up, down = layer.supports[name].up, layer.supports[name].down
        return up.expand(rows, 1) if down is None else up @ down

    A, B, D, E = (support(name, 32) for name in 'ABDE')
    shift = bias + bias * D[:, 0] + E[:, 0] + weight @ support('C', 1)[:, 0]
    expected = F.linear(hidden, weight + weight * A + B, shift)
    torch.testing.assert_close(layer(hidden), expected)
    without = backbone.module.layers[0].mixer.in_proj.supports
    assert set(without) == {'A', 'B'}  # it has no bias


def test_glora_leaves_out_what_has_no_form():
    forms = dict(A='none', B='vector', C='none', D='none', E='none')
    own = build(dict(type='GLoRA', targets=['in_proj'], **forms)).adapter_parameters()
    assert all(name.endswith('supports.B.up') for name in own)
    assert sum(p.numel() for p in own.values()) == 2 * 64


@pytest.mark.parametrize(
    ('adapter', 'path'),
    [
        (dict(type='LoRA', targets=['in_proj'], rank=2), 'mixer.in_proj.up.weight'),
        (dict(type='LoRA', targets=['mix.x'], rank=2), 'mixer.in_proj.up.weight'),
        (dict(type='GLoRA', targets=['out_proj']), 'mixer.out_proj.supports.A.up'),
        (dict(type='AdaptFormer'), 'mixer.adaptformer.up.weight'),
        (dict(type='VPT', deep=True), 'vpt.tokens'),
    ],
    ids=str,
)
def test_some_blocks_alone(adapter, path):
    own = build(adapter | dict(blocks=[0.5, 1.0])).adapter_parameters()
    assert f'layers.1.{path}' in own
    assert not any(name.startswith('layers.0.') for name in own)
    both = build(adapter | dict(blocks=[0.5, 1.0]), adapter | dict(blocks=[0, 0.5]))
    assert f'layers.0.{path}' in both.adapter_parameters()


@pytest.mark.parametrize('backbone', ['vim', 'vit'])
def test_shallow_prompts_go_through_all_blocks(backbone):
    model = build(dict(type='VPT', num_tokens=3), backbone=backbone, out_type='raw')
    inputs = []
    for layer in model.module.layers:
        layer.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    out = model(make_images())[-1]
    (prompts,) = model.adapter_parameters().values()
    assert [x.shape[1] for x in inputs] == [20, 20]
    assert torch.equal(inputs[0][:, :3], prompts.expand(2, -1, -1))
    assert out.shape == (2, 17, 16)


def test_deep_prompts_are_new_for_every_block():
    model = build(dict(type='VPT', num_tokens=3, deep=True), backbone='vit', out_type='raw')
    plain = copy.deepcopy(model.module)
    for layer in plain.layers:
        layer._forward_hooks.clear()
        layer._forward_pre_hooks.clear()
    start = []
    plain.layers[0].register_forward_pre_hook(lambda _, args: start.append(args[0]))
    plain(make_images())
    tokens = start[0]
    for layer in plain.layers:
        layer._forward_pre_hooks.clear()
        prompts = layer.vpt.tokens.expand(2, -1, -1)
        tokens = layer(torch.cat([prompts, tokens], dim=1))[:, 3:]
    torch.testing.assert_close(model(make_images())[-1], plain.ln1(tokens))


def test_deep_prompts_leave_earlier_outputs_their_shape():
    model = build(dict(type='VPT', num_tokens=3, deep=True), out_indices=[0, 1], out_type='featmap')
    assert [out.shape for out in model(make_images())] == [(2, 16, 4, 4)] * 2


def test_prompts_start_within_the_bound_of_the_paper():
    torch.manual_seed(0)
    adapters = [dict(type='VPT', num_tokens=500, deep=False)]
    tokens = MODELS.build(
        dict(type='PEFTModel', module=VIM, adapters=adapters)
    ).module.prompt.tokens
    bound = (6 / (3 * 8 * 8 + 16)) ** 0.5
    assert 0.99 * bound < tokens.abs().max() <= bound


@pytest.mark.parametrize(('backbone', 'path', 'others'), GRIDS, ids=str)
def test_svp_adds_prompts_to_the_patches(backbone, path, others):
    model = build(dict(type='SVP', rank=3, share=2), backbone=backbone)
    block, shared = model.module.get_submodule(path), model.module.svp[0]
    assert len(model.module.svp) == 1
    x = make_hidden(2, 16 + len(others), 16)
    own = block.svp
    inner = (x @ own.down.weight.T + own.down.bias) @ own.up.weight.T + own.up.bias
    cross = x @ shared.project.weight.T + shared.project.bias
    prompts = own.scale * inner * inner.sigmoid() + shared.scale * cross * cross.sigmoid()
    prompts[:, list(others)] = 0
    actual, expected = block(x), block.forward(x + prompts)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize(('share', 'groups'), [(1, 3), (2, 2), (8, 2)])
def test_svp_shares_a_map_among_blocks_of_a_stage(share, groups):
    model = build(dict(type='SVP', rank=3, share=share), backbone='vmamba_v2')
    assert len(model.module.svp) == groups


# FacT


@pytest.mark.parametrize('form', ['tt', 'tk'])
def test_fact_is_a_product_of_shared_factors(form):
    model = build(dict(type='FacT', form=form, rank=3, scale=0.5), backbone='vit')
    vit = model.module
    factors = vit.fact['16']
    layers = {name: module for name, module in vit.named_modules() if hasattr(module, 'between')}
    assert len(layers) == 8
    taken = []
    for layer in layers.values():
        hidden = make_hidden(2, 5, layer.in_features)
        update = torch.zeros(2, 5, layer.out_features)
        inputs = layer.in_features // 16
        for o in range(layer.out_features // 16):
            for i in range(inputs):
                if form == 'tt':
                    matrix = layer.between.matrix[3 * o : 3 * o + 3, 3 * i : 3 * i + 3]
                else:
                    core, vector = (
                        factors.tucker.core,
                        factors.tucker.layers[:, layer.between.pieces[o * inputs + i]],
                    )
                    matrix = sum(core[:, :, k] * vector[k] for k in range(3))
                    taken.append(layer.between.pieces[o * inputs + i])
                change = factors.up.weight @ matrix @ factors.down.weight
                update[..., 16 * o : 16 * o + 16] += hidden[..., 16 * i : 16 * i + 16] @ change.T
        torch.testing.assert_close(layer(hidden), layer.base_layer(hidden) + 0.5 * update)
    assert form == 'tt' or sorted(taken) == list(range(factors.tucker.layers.shape[1]))


# All of them


UPDATES = {
    'adaptformer': dict(type='AdaptFormer', rank=3),
    'adapter_plus': dict(type='AdapterPlus', rank=3),
    'convpass': dict(type='Convpass', rank=3),
    'mona': dict(type='Mona', rank=3),
    'svp': dict(type='SVP', rank=3),
}
ALL = [*UPDATES.values(), dict(type='RepAdapter', rank=2), dict(type='SSF', targets=['out_proj'])]
LORA = dict(type='LoRA', targets=['x_proj'], rank=2)


@pytest.mark.slow
@pytest.mark.parametrize('backbone', ['vim', 'vmamba_v2', 'timm_vit'])
def test_all_at_once_compiled(backbone):
    model = build(*ALL, backbone=backbone, std=0.1)
    parameters = list(model.adapter_parameters().values())
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
    expected = torch.autograd.grad(model(make_images())[0].pow(3).sum(), parameters)
    actual = torch.autograd.grad(compiled(make_images())[0].pow(3).sum(), parameters)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
    assert all(gradient.any() for gradient in expected)


@pytest.mark.parametrize('adapter', UPDATES.values(), ids=UPDATES)
@torch.no_grad()
def test_a_copy_has_updates_of_its_own(adapter):
    model = build(adapter)
    other = copy.deepcopy(model)
    for parameter in other.adapter_parameters().values():
        parameter.zero_()
    plain = MODELS.build(dict(type='PEFTModel', module=VIM)).eval()
    plain.module.load_state_dict(
        {n: t for n, t in other.module.state_dict().items() if n in plain.module.state_dict()}
    )
    assert torch.equal(other(make_images())[0], plain(make_images())[0])
    assert not torch.equal(model(make_images())[0], plain(make_images())[0])


@pytest.mark.parametrize('adapter', UPDATES.values(), ids=UPDATES)
def test_updates_take_the_residual_stream_of_half_precision(adapter):
    model = build(adapter, std=0.1)
    expected = model(make_images())[0]
    actual = model.to(torch.bfloat16)(make_images().to(torch.bfloat16))[0].float()
    assert (actual - expected).norm() < 0.05 * expected.norm()


PROMPT = dict(type='PromptTuning', num_tokens=2)
REFUSED = {
    'twice': ([UPDATES['mona'], UPDATES['mona']], 'use one adapter of that kind alone'),
    'rank': ([dict(type='AdaptFormer', rank=0)], 'rank must be at least 1'),
    'rank_2.0': ([dict(type='AdaptFormer', rank=2.0)], 'rank must be a whole number, got 2.0'),
    'rank_text': ([dict(type='SVP', rank='2')], "rank must be a whole number, got '2'"),
    'scale_text': ([LORA | dict(scale='1')], "scale must be a number, got '1'"),
    'drop_text': ([dict(type='Mona', drop_rate='0')], "drop_rate must be a number, got '0'"),
    'prompts_8.0': ([PROMPT | dict(num_tokens=8.0)], 'num_tokens must be a whole number, got 8.0'),
    'affix_3.0': ([dict(type='AffixTuning', num_tokens=3.0)], 'num_tokens must be a whole number'),
    'states': ([dict(type='AdditionalScan', num_states='2')], 'num_states must be a whole number'),
    'every': ([dict(type='SSMLoRA', every=0.5)], 'every must be a whole number, got 0.5'),
    'leak': ([dict(type='LIM', site='gate', leak='0.5')], r"leak must be in \(0, 1\], got '0.5'"),
    'block': ([dict(type='AdaptFormer', blocks=0.5)], 'blocks must be two numbers .* got 0.5'),
    'block_text': ([dict(type='AdaptFormer', blocks=['0', '1'])], 'blocks must be two numbers'),
    'groups': ([dict(type='RepAdapter', rank=8, groups=3)], 'groups must divide rank, 8; got 3'),
    'inputs': ([dict(type='RepAdapter', rank=6, groups=3)], 'must divide the 16 inputs of layers'),
    'fact_form': ([dict(type='FacT', form='cp')], "unknown form 'cp'; known are tt, tk"),
    'fact_twice': (
        [dict(type='FacT', targets=['in_proj']), dict(type='FacT', targets=['out_proj'])],
        'use one FacT alone',
    ),
    'svp_twice': ([UPDATES['svp'], UPDATES['svp']], 'use one SVP alone'),
    'share': ([dict(type='SVP', share=0)], 'share must be at least 1, got 0'),
    'no_prompts': ([dict(type='VPT', num_tokens=0)], 'num_tokens must be at least 1, got 0'),
    'drop_rate': ([dict(type='VPT', drop_rate=1)], r'drop_rate must be in \[0, 1\), got 1'),
    'two_prompts': ([PROMPT, dict(type='VPT')], 'use PromptTuning or VPT'),
    'deep_twice': ([dict(type='VPT', deep=True)] * 2, 'use one adapter of that kind alone'),
    'blocks': ([dict(type='AdaptFormer', blocks=[1, 0])], 'blocks must be two numbers from 0 to 1'),
    'no_block': ([dict(type='AdaptFormer', blocks=[0, 0.1])], 'is less than one of 2 blocks'),
    'shallow': ([dict(type='VPT', blocks=[0, 0.5])], 'blocks is for deep prompts'),
    'form': ([dict(type='GLoRA', C='scalar')], "unknown form 'scalar' of C; known are lora, vec"),
    'no_form': ([dict(type='GLoRA', **dict.fromkeys('ABCDE', 'none'))], 'so nothing trains'),
    'no_bias': ([dict(type='GLoRA', A='none', B='none')], 'no layer of branch_proj has a bias'),
    'on_lora': ([dict(LORA, targets=['in_proj']), dict(type='RepAdapter')], 'an adapter already'),
}


@pytest.mark.parametrize(('adapters', 'message'), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(adapters, message):
    with pytest.raises(UserError, match=message):
        build(*adapters)


@pytest.mark.parametrize('name', ['convpass', 'mona', 'svp'])
def test_a_grid_has_to_be_known(name):
    adapter = UPDATES[name]
    with pytest.raises(UserError, match=r'needs "patches" .* dynamic_img_size=True: leave'):
        build(adapter, dynamic_img_size=True)
    with pytest.raises(UserError, match=r'expects 17 tokens, .* and got 19: leave out .*prompts'):
        build(adapter, PROMPT)(make_images())
    vit = build(adapter, backbone='vit')
    with pytest.raises(UserError, match='knows images of 4 x 4 patches, and got one of 2 x 8'):
        vit(torch.zeros(1, 3, 16, 64))  # as many patches


def test_shallow_prompts_need_the_last_output_alone_where_there_is_no_slot():
    with pytest.raises(UserError, match=r'set out_indices=-1, got .* or deep=True'):
        build(dict(type='VPT'), backbone='vit', out_indices=[0, 1])


@pytest.mark.parametrize('others', [(), (0,), (3,), (0, 1), (2, 5, 9), (9, 10)], ids=str)
def test_patches_come_out_of_the_sequence_and_go_back(others):
    tokens = torch.arange(11)[None, :, None]
    patches, rest = PatchTokens((1, 11 - len(others)), others).take_apart(tokens)
    assert tuple(rest.flatten().tolist()) == others
    assert sorted([*patches.flatten().tolist(), *others]) == list(range(11))
    assert torch.equal(PatchTokens(None, others).put_together(patches, rest), tokens)
