"""The backbone: its keys, its strict loading, and what it computes."""

import argparse
import math
import re

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from memba_vision.errors import UserError
from memba_vision.models import Vim
from memba_vision.models.backbones import vim as vim_module
from memba_vision.models.backbones.vim import resize_pos_embed
from memba_vision.models.modules.mixer import BidirectionalMixer
from memba_vision.models.peft import MembaModel, PEFTModel
from memba_vision.models.peft.model import attach_adapters
from memba_vision.ops import selective_scan
from memba_vision.visualization.maps import token_grid

ARCH = dict(embed_dims=16, num_layers=2, d_state=4)
SETTINGS = dict(arch=ARCH, img_size=32, patch_size=8)  # 4 x 4 patches, 17 tokens


def make_vim(seed=0, **settings):
    torch.manual_seed(seed)
    return Vim(**{**SETTINGS, **settings})


def make_images(size=32, batch=2, seed=0):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


# Keys and sizes


def official_shapes(d, depth, tokens, d_state=16):
    """Return keys and shapes of an official checkpoint without its head."""
    dt_rank = math.ceil(d / 16)
    shapes = {
        'cls_token': (1, 1, d),
        'pos_embed': (1, tokens, d),
        'patch_embed.proj.weight': (d, 3, 16, 16),
        'patch_embed.proj.bias': (d,),
        'norm_f.weight': (d,),
    }
    for i in range(depth):
        shapes |= {
            f'layers.{i}.norm.weight': (d,),
            f'layers.{i}.mixer.in_proj.weight': (4 * d, d),
            f'layers.{i}.mixer.out_proj.weight': (d, 2 * d),
            f'layers.{i}.mixer.conv1d.weight': (2 * d, 1, 4),
            f'layers.{i}.mixer.conv1d.bias': (2 * d,),
            f'layers.{i}.mixer.conv1d_b.weight': (2 * d, 1, 4),
            f'layers.{i}.mixer.conv1d_b.bias': (2 * d,),
            f'layers.{i}.mixer.x_proj.weight': (dt_rank + 2 * d_state, 2 * d),
            f'layers.{i}.mixer.x_proj_b.weight': (dt_rank + 2 * d_state, 2 * d),
            f'layers.{i}.mixer.dt_proj.weight': (2 * d, dt_rank),
            f'layers.{i}.mixer.dt_proj.bias': (2 * d,),
            f'layers.{i}.mixer.dt_proj_b.weight': (2 * d, dt_rank),
            f'layers.{i}.mixer.dt_proj_b.bias': (2 * d,),
            f'layers.{i}.mixer.A_log': (2 * d, d_state),
            f'layers.{i}.mixer.A_b_log': (2 * d, d_state),
            f'layers.{i}.mixer.D': (2 * d,),
            f'layers.{i}.mixer.D_b': (2 * d,),
        }
    return shapes


def test_small_has_the_official_keys_and_size():
    vim = Vim('small')
    shapes = {key: tuple(tensor.shape) for key, tensor in vim.state_dict().items()}
    assert shapes == official_shapes(384, 24, 197)
    assert sum(parameter.numel() for parameter in vim.parameters()) == 25_411_584


def test_tiny_has_the_official_keys():
    shapes = {key: tuple(tensor.shape) for key, tensor in Vim('tiny').state_dict().items()}
    assert shapes == official_shapes(192, 24, 197)


def test_decay_rates_start_at_one_to_d_state():
    mixer = make_vim().layers[0].mixer
    assert torch.allclose(mixer.A_log.exp(), torch.arange(1.0, 5.0).expand(32, 4))
    assert torch.equal(mixer.A_log, mixer.A_b_log)


def test_step_sizes_start_between_their_bounds():
    bias = make_vim().layers[0].mixer.dt_proj.bias
    steps = F.softplus(bias)
    assert steps.min() >= 0.001 * 0.99
    assert steps.max() <= 0.1 * 1.01


# Loading


@pytest.fixture
def official(tmp_path):
    """Writes a checkpoint as the authors of Vim do, after ``change`` of its weights."""

    def write(change=lambda weights: None, **settings):
        weights = make_vim(seed=1, **settings).state_dict()
        generator = torch.Generator().manual_seed(2)
        for tensor in weights.values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
        weights |= {'head.weight': torch.ones(10, 16), 'head.bias': torch.ones(10)}
        change(weights)
        path = tmp_path / 'vim.pth'
        torch.save({'model': weights, 'args': argparse.Namespace(lr=1e-3), 'epoch': 299}, path)
        return path, weights

    return write


def load(path, prefix=None, **settings):
    init_cfg = dict(type='Pretrained', checkpoint=str(path))
    if prefix is not None:
        init_cfg['prefix'] = prefix
    vim = make_vim(**settings, init_cfg=init_cfg)
    vim.init_weights()
    return vim


def assert_holds(vim, weights):
    own = vim.state_dict()
    assert own.keys() == {key for key in weights if not key.startswith('head.')}
    assert all(torch.equal(tensor, weights[key]) for key, tensor in own.items())


def test_an_official_checkpoint_is_loaded_bit_by_bit(official):
    path, weights = official()
    assert_holds(load(path), weights)


def test_safetensors_are_loaded_bit_by_bit(official, tmp_path):
    _, weights = official()
    save_file(weights, tmp_path / 'vim.safetensors')
    assert_holds(load(tmp_path / 'vim.safetensors'), weights)


def test_the_backbone_of_a_classifier_is_loaded_by_its_prefix(official, tmp_path):
    _, weights = official()
    state_dict = {f'backbone.{key}': tensor for key, tensor in weights.items()}
    state_dict['head.fc.weight'] = torch.ones(3)
    torch.save({'state_dict': state_dict, 'meta': {}}, tmp_path / 'epoch_1.pth')
    assert_holds(load(tmp_path / 'epoch_1.pth', prefix='backbone.'), weights)


def remove(key):
    return lambda weights: weights.pop(key)


def add(key):
    return lambda weights: weights.update({key: torch.ones(1)})


def cut(key):
    return lambda weights: weights.update({key: weights[key][:-1]})


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (remove('layers.1.mixer.A_b_log'), 'missing layers.1.mixer.A_b_log'),
        (remove('cls_token'), 'missing cls_token'),
        (remove('pos_embed'), 'missing pos_embed'),
        (add('layers.2.norm.weight'), 'unexpected layers.2.norm.weight'),
        (add('header.weight'), 'unexpected header.weight'),
        (cut('layers.0.mixer.D'), 'layers.0.mixer.D is (31,), expected (32,)'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_a_checkpoint_that_does_not_fit_is_an_error_that_names_the_key(official, change, message):
    path, _ = official(change)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        load(path)
    assert str(path) in str(error.value)


def test_every_wrong_key_is_named_and_nothing_is_loaded(official):
    path, weights = official(lambda w: (w.pop('norm_f.weight'), w.pop('layers.0.mixer.A_log')))
    vim = make_vim(init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    with pytest.raises(UserError, match=r'missing layers\.0\.mixer\.A_log; missing norm_f\.weight'):
        vim.init_weights()
    assert not torch.equal(vim.cls_token, weights['cls_token'])


def test_a_checkpoint_of_another_arch_is_an_error(official):
    path, _ = official(arch={**ARCH, 'num_layers': 1})
    with pytest.raises(UserError, match=r'missing layers\.1\..*Choose the arch'):
        load(path)


@pytest.mark.parametrize('init_cfg', [None, dict(type='Pretrained', checkpoint=None)], ids=str)
def test_without_a_checkpoint_the_weights_stay_random(init_cfg):
    vim = make_vim(init_cfg=init_cfg)
    before = {key: tensor.clone() for key, tensor in vim.state_dict().items()}
    vim.init_weights()
    assert_holds(vim, before)


# Position embedding


def grid_and_class_token(pos_embed):
    middle = (pos_embed.shape[1] - 1) // 2
    patches = torch.cat([pos_embed[:, :middle], pos_embed[:, middle + 1 :]], dim=1)
    size = math.isqrt(patches.shape[1])
    return patches.unflatten(1, (size, size)), pos_embed[:, middle]


@pytest.mark.parametrize('size', [3, 6, 14])
def test_resizing_to_the_same_size_is_the_identity(size):
    pos_embed = torch.randn(1, size**2 + 1, 5)
    assert torch.equal(resize_pos_embed(pos_embed, size), pos_embed)


@pytest.mark.parametrize(('old', 'new'), [(6, 8), (8, 6), (5, 8), (14, 24), (6, 7)])
def test_resizing_keeps_rows_columns_and_the_class_token(old, new):
    """A value that rises along the rows must still do so, and along nothing else."""
    rows = torch.arange(old).float()[:, None].expand(old, old)
    patches = torch.stack([rows, rows.T, torch.full((old, old), 3.0)], dim=-1).flatten(0, 1)
    middle = old**2 // 2
    pos_embed = torch.cat([patches[:middle], torch.full((1, 3), -7.0), patches[middle:]])[None]
    grid, class_token = grid_and_class_token(resize_pos_embed(pos_embed, new))
    assert grid.shape == (1, new, new, 3)
    assert torch.equal(class_token, torch.full((1, 3), -7.0))
    rising, across, constant = grid[0].unbind(-1)
    assert (rising.diff(dim=0) > 0).all()
    torch.testing.assert_close(rising, rising[:, :1].expand(new, new))
    torch.testing.assert_close(across, rising.T)
    torch.testing.assert_close(constant, torch.full((new, new), 3.0))
    torch.testing.assert_close(rising.mean(), rows.mean())


def test_a_checkpoint_at_48_pixels_is_loaded_at_64(official, monkeypatch):
    path, weights = official(img_size=48)
    said = []
    monkeypatch.setattr(vim_module, 'print_log', lambda text, **options: said.append(text))
    load(path, img_size=48)
    assert not said
    vim = load(path, img_size=64)
    assert 'of 36 patches is interpolated to 64' in said[0]
    assert vim.pos_embed.shape == (1, 65, 16)
    grid, class_token = grid_and_class_token(vim.pos_embed)
    old_grid, old_class_token = grid_and_class_token(weights['pos_embed'])
    assert torch.equal(class_token, old_class_token)
    expected = F.interpolate(old_grid.permute(0, 3, 1, 2), size=(8, 8), mode='bicubic')
    torch.testing.assert_close(grid, expected.permute(0, 2, 3, 1))
    assert torch.equal(vim.layers[1].mixer.A_log, weights['layers.1.mixer.A_log'])
    assert vim(make_images(64))[0].isfinite().all()


def test_a_position_embedding_that_is_no_square_is_misshapen(official):
    path, _ = official(lambda w: w.update(pos_embed=torch.zeros(1, 19, 16)))
    with pytest.raises(UserError, match=r'pos_embed is \(1, 19, 16\), expected \(1, 17, 16\)'):
        load(path)


# What goes in and comes out


def test_out_types_are_views_of_the_same_tokens():
    images = make_images()
    outputs = {}
    for out_type in ('raw', 'cls_token', 'avg_featmap', 'featmap'):
        (outputs[out_type],) = make_vim(out_type=out_type)(images)
    raw = outputs['raw']
    assert raw.shape == (2, 17, 16)
    patches = torch.cat([raw[:, :8], raw[:, 9:]], dim=1)
    torch.testing.assert_close(outputs['cls_token'], raw[:, 8])
    torch.testing.assert_close(outputs['avg_featmap'], patches.mean(1))
    assert outputs['featmap'].shape == (2, 16, 4, 4)
    torch.testing.assert_close(outputs['featmap'][:, :, 1, 2], patches[:, 4 + 2])


def test_out_indices_pick_blocks_in_order():
    images = make_images()
    first, last = make_vim(out_indices=(0, -1), out_type='raw')(images)
    vim = make_vim(out_type='raw')
    torch.testing.assert_close(last, vim(images)[0])
    torch.testing.assert_close(vim.norm_f(vim.layers[1](first)[0]), last)
    turned = make_vim(out_indices=(-1, 0, -1), out_type='raw')(images)
    for actual, expected in zip(turned, (last, first, last), strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize(
    ('img_size', 'patch_size', 'stride', 'grid'),
    [(32, 8, None, 4), (32, 16, 8, 3), (224, 16, 8, 27), (33, 16, 16, 2)],
)
def test_stride(img_size, patch_size, stride, grid):
    arch = {**ARCH, 'num_layers': 1}
    vim = make_vim(arch=arch, img_size=img_size, patch_size=patch_size, stride=stride)
    assert vim.pos_embed.shape[1] == grid**2 + 1
    assert vim(make_images(img_size, batch=1))[0].shape == (1, 16)


def test_drop_path_rises_linearly():
    vim = make_vim(arch={**ARCH, 'num_layers': 3}, drop_path_rate=0.1)
    assert [layer.drop_path.drop_prob for layer in vim.layers] == pytest.approx([0, 0.05, 0.1])


@pytest.mark.parametrize('shape', [(24, 24), (32, 40), (64, 64)], ids=str)
def test_images_of_another_size_are_an_error(shape):
    with pytest.raises(UserError, match=rf'32 x 32 pixels, got {shape[0]} x {shape[1]}'):
        make_vim()(torch.zeros(1, 3, *shape))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(stride=0), 'stride must be a positive whole number, or two: .*, got 0'),
        (dict(arch='huge'), "unknown arch 'huge'; known are tiny, small, base"),
        (dict(arch=dict(embed_dims=16)), 'the arch dict lacks num_layers'),
        (dict(out_type='patches'), "unknown out_type 'patches'; known are cls_token"),
        (dict(img_size=4), 'img_size 4 is smaller than patch_size 8'),
        (dict(img_size=(32, 4)), 'img_size 32 x 4 is smaller than patch_size 8'),
        (dict(out_indices=(0, 2)), 'out_indices holds 2, but there are 2 blocks'),
        (dict(with_cls_token=False), "out_type='cls_token' needs a class token"),
        (dict(frozen_stages=3), 'frozen_stages is 3, but there are 2 blocks'),
        (dict(arch={**ARCH, 'dstate': 4}), 'the arch dict has unknown dstate; known are'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_bad_settings_are_errors_that_say_so(settings, message):
    with pytest.raises(UserError, match=message):
        make_vim(**settings)


# What it computes


def make_mixer(dim=6):
    torch.manual_seed(0)
    mixer = BidirectionalMixer(dim, d_state=3).double()
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return mixer


def reference_scan(mixer, x, suffix):
    """One direction of a mixer in its own scan order: (batch, d_inner, length) to the same."""
    weights = dict(mixer.named_parameters())
    conv, bias = weights[f'conv1d{suffix}.weight'], weights[f'conv1d{suffix}.bias']
    x = F.silu(F.conv1d(F.pad(x, (3, 0)), conv, bias, groups=len(conv)))
    rank, state = weights[f'dt_proj{suffix}.weight'].shape[1], weights[f'A{suffix}_log'].shape[1]
    low_rank = torch.einsum('or,brl->bol', weights[f'x_proj{suffix}.weight'], x)
    delta = torch.einsum('or,brl->bol', weights[f'dt_proj{suffix}.weight'], low_rank[:, :rank])
    return selective_scan(
        x,
        delta,
        -weights[f'A{suffix}_log'].exp(),
        low_rank[:, rank : rank + state],
        low_rank[:, rank + state :],
        weights[f'D{suffix}'],
        delta_bias=weights[f'dt_proj{suffix}.bias'],
        delta_softplus=True,
        backend='naive',
    )


def reference_mixer(mixer, hidden):
    x, z = (hidden @ mixer.in_proj.weight.T).transpose(1, 2).chunk(2, dim=1)
    forward = reference_scan(mixer, x, '') * F.silu(z)
    backward = reference_scan(mixer, x.flip(-1), '_b') * F.silu(z.flip(-1))
    merged = (forward + backward.flip(-1)) / 2
    return merged.transpose(1, 2) @ mixer.out_proj.weight.T


def test_mixer_equals_a_plain_reference():
    mixer = make_mixer()
    hidden = torch.randn(2, 7, 6, dtype=torch.float64)
    actual, state = mixer(hidden)
    expected = reference_mixer(mixer, hidden)
    assert state is None
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    parameters = list(mixer.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(actual.square().sum(), parameters),
        torch.autograd.grad(expected.square().sum(), parameters),
        rtol=1e-8,
        atol=1e-12,
    )


def test_vim_equals_a_plain_reference():
    vim = make_vim(out_type='raw').double()
    images = make_images().double()
    tokens = F.unfold(images, 8, stride=8).transpose(1, 2)
    proj = vim.patch_embed.proj
    tokens = tokens @ proj.weight.flatten(1).T + proj.bias
    residual = torch.cat([tokens[:, :8], vim.cls_token.expand(2, 1, 16), tokens[:, 8:]], dim=1)
    residual = residual + vim.pos_embed

    def norm(x, weight):
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight

    for layer in vim.layers:
        residual = residual + reference_mixer(layer.mixer, norm(residual, layer.norm.weight))
    expected = norm(residual, vim.norm_f.weight)
    torch.testing.assert_close(vim(images)[0], expected, rtol=1e-9, atol=1e-12)


def outputs_and_grads(model, images, compiled=None):
    torch.manual_seed(0)
    model.zero_grad()
    (features,) = (model if compiled is None else compiled)(images)
    features.square().sum().backward()
    return [features, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


def make_memba(**settings):
    torch.manual_seed(0)
    module = dict(type='Vim', **{**SETTINGS, **settings})
    memba = MembaModel(module, rank=3, scale=1.0, threshold=0.3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in memba.adapter_parameters().items():
            if name.endswith('up.weight'):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return memba


@pytest.mark.parametrize('make', [make_vim, make_memba], ids=['vim', 'memba'])
def test_checkpointed_blocks_give_the_same_gradients(make):
    """With drop path and, in Memba, dropout: the blocks are recomputed with the same numbers."""
    images = make_images(batch=4)
    plain, recomputed = make(drop_path_rate=0.5), make(drop_path_rate=0.5, with_cp=True)
    plain.train()
    recomputed.train()
    expected = outputs_and_grads(plain, images)
    actual = outputs_and_grads(recomputed, images)
    assert len(expected) > 1
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize('make', [make_vim, make_memba], ids=['vim', 'memba'])
def test_compiled_equals_eager(make):
    model, images = make(), make_images()
    model.eval()
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    expected = outputs_and_grads(model, images)
    actual = outputs_and_grads(model, images, compiled)
    assert len(expected) > 1
    # A compiled model multiplies with another library.
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('make', [make_vim, make_memba], ids=['vim', 'memba'])
def test_two_models_in_one_process_do_not_disturb_each_other(make):
    first, second = make(), make()
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.mul_(1.1)
    first.eval()
    second.eval()
    images, others = make_images(), make_images(seed=1)
    expected = outputs_and_grads(first, images)
    first.zero_grad()
    (features,) = first(images)
    second(others)[0].sum().backward()
    first(others)
    features.square().sum().backward()
    grads = [p.grad for p in first.parameters() if p.grad is not None]
    torch.testing.assert_close([features, *grads], expected, rtol=0, atol=0)


@pytest.mark.parametrize('make', [make_vim, make_memba], ids=['vim', 'memba'])
def test_autocast_is_finite_and_keeps_the_residual_in_float32(make):
    model, images = make(), make_images()
    model.eval()
    residuals = []
    vim = getattr(model, 'module', model)
    for layer in vim.layers:
        layer.register_forward_hook(lambda module, args, out: residuals.append(out[0].dtype))
    exact = model(images)[0]
    residuals.clear()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        (features,) = model(images)
        loss = features.square().sum()
    loss.backward()
    assert residuals == [torch.float32] * 2
    assert features.dtype == torch.float32
    assert (features - exact).norm() < 0.03 * exact.norm()
    grads = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize('make', [make_vim, make_memba], ids=['vim', 'memba'])
def test_weights_of_half_precision_keep_the_residual_in_float32(make):
    model = make().eval()
    exact = model(make_images())[0]
    model.bfloat16()
    residuals = []
    for layer in getattr(model, 'module', model).layers:
        layer.register_forward_hook(lambda module, args, out: residuals.append(out[0].dtype))
    features = model(make_images().bfloat16())[0]
    assert residuals == [torch.float32] * 2
    assert features.dtype == torch.bfloat16
    assert (features.float() - exact).norm() < 0.05 * exact.norm()


# Rectangles, and images of any size


@pytest.mark.parametrize(
    ('settings', 'grid'),
    [
        (dict(img_size=(32, 48)), (4, 6)),
        (dict(img_size=[40, 24]), (5, 3)),  # an odd number of patches
        (dict(img_size=(32, 64), patch_size=(8, 16)), (4, 4)),
        (dict(img_size=(32, 24), stride=(4, 8)), (7, 3)),
    ],
    ids=str,
)
def test_rectangles_have_the_class_token_in_the_middle(settings, grid):
    images = torch.randn(2, 3, *settings['img_size'])
    vims = [make_vim(out_type=kind, **settings) for kind in ('raw', 'cls_token', 'featmap')]
    raw, cls_token, featmap = (vim(images)[0] for vim in vims)
    middle = grid[0] * grid[1] // 2
    assert vims[0].grid_size == grid
    assert vims[0].pos_embed.shape == (1, grid[0] * grid[1] + 1, 16)
    assert torch.equal(cls_token, raw[:, middle])
    patches = torch.cat([raw[:, :middle], raw[:, middle + 1 :]], dim=1)
    assert featmap.shape == (2, 16, *grid)
    assert torch.equal(featmap[:, :, 1, 2], patches[:, grid[1] + 2])


def test_rectangles_are_embedded_row_by_row():
    vim = make_vim(img_size=(16, 24), patch_size=8)
    with torch.no_grad():
        vim.pos_embed.zero_()
    images = torch.randn(1, 3, 16, 24)
    tokens = vim._embed(images)[0]
    expected = [
        vim.patch_embed(images[..., y : y + 8, x : x + 8]) for y in (0, 8) for x in (0, 8, 16)
    ]
    expected = torch.cat([*expected[:3], vim.cls_token, *expected[3:]], dim=1)[0]
    torch.testing.assert_close(tokens, expected)


@pytest.mark.parametrize(('old', 'new'), [((4, 4), (6, 3)), ((6, 3), (4, 4)), ((6, 3), (3, 6))])
def test_a_position_embedding_is_interpolated_to_a_rectangle(old, new):
    rows = torch.arange(old[0]).float()[:, None].expand(old)
    columns = torch.arange(old[1]).float().expand(old)
    patches = torch.stack([rows, columns], dim=-1).flatten(0, 1)
    middle = len(patches) // 2
    pos_embed = torch.cat([patches[:middle], torch.full((1, 2), -7.0), patches[middle:]])[None]
    resized = resize_pos_embed(pos_embed, new, old)
    middle = new[0] * new[1] // 2
    assert torch.equal(resized[0, middle], torch.full((2,), -7.0))
    grid = torch.cat([resized[0, :middle], resized[0, middle + 1 :]]).unflatten(0, new)
    assert (grid[..., 0].diff(dim=0) > 0).all()
    assert (grid[..., 1].diff(dim=1) > 0).all()
    torch.testing.assert_close(grid[..., 0], grid[:, :1, 0].expand(new))
    torch.testing.assert_close(grid[..., 1], grid[:1, :, 1].expand(new))


def test_a_square_checkpoint_is_loaded_into_a_rectangle(official):
    path, weights = official()
    vim = load(path, img_size=(64, 24))
    assert torch.equal(vim.pos_embed, resize_pos_embed(weights['pos_embed'], (8, 3)))
    assert vim(torch.randn(1, 3, 64, 24))[0].isfinite().all()


def test_a_position_embedding_that_could_be_of_either_shape_is_taken_for_that_of_the_model(
    official, monkeypatch
):
    said = []
    monkeypatch.setattr(vim_module, 'print_log', lambda text, **options: said.append(text))
    path, weights = official()
    assert torch.equal(load(path, img_size=(64, 16)).pos_embed, weights['pos_embed'])
    assert 'of 16 patches is taken for one of 8 x 2; if it is of square images' in said[0]


@pytest.mark.parametrize('img_size', [48, (48, 24)], ids=str)
def test_a_state_dict_is_interpolated_when_it_is_loaded(img_size):
    source, vim = make_vim(seed=1), make_vim(img_size=img_size)
    classifier = torch.nn.ModuleDict(dict(backbone=vim))
    classifier.load_state_dict({f'backbone.{n}': w for n, w in source.state_dict().items()})
    assert torch.equal(vim.pos_embed, resize_pos_embed(source.pos_embed, vim.grid_size))
    again = make_vim(img_size=img_size)
    again.load_state_dict(vim.state_dict())
    assert torch.equal(again.pos_embed, vim.pos_embed)


def test_images_of_any_size():
    vim = make_vim(dynamic_img_size=True, out_type='featmap')
    fixed = make_vim(img_size=(40, 24), out_type='featmap')
    fixed.load_state_dict(vim.state_dict())
    images = torch.randn(2, 3, 40, 24)
    assert torch.equal(vim(images)[0], fixed(images)[0])
    assert torch.equal(vim(make_images())[0], make_vim(out_type='featmap')(make_images())[0])
    with pytest.raises(UserError, match='an image of 4 x 32 pixels is smaller than a patch, 8'):
        vim(torch.zeros(1, 3, 4, 32))


ON_PATCHES = {
    'lora': dict(type='LoRA', targets=['patch_embed.proj'], rank=2),
    'peft': dict(type='HFPeft', peft_type='LORA', target_modules=['patch_embed.proj'], r=2),
}


@pytest.mark.parametrize('adapter', ON_PATCHES.values(), ids=ON_PATCHES)
def test_images_of_any_size_with_an_adapter_on_the_patch_embedding(adapter):
    if adapter['type'] == 'HFPeft':
        pytest.importorskip('peft')
    vim = make_vim(dynamic_img_size=True)
    images = torch.randn(2, 3, 40, 24)
    expected = vim(images)[0]
    model = PEFTModel(vim, [adapter]).eval()
    torch.testing.assert_close(model(images)[0], expected)
    model.module.set_img_size((40, 24))
    assert token_grid(model.module).extent == (0, 24, 40, 0)


@pytest.mark.parametrize('img_size', ['32', 0, (32,), (32, -8), 32.5, (8, 8, 8)], ids=str)
def test_sizes_that_are_none(img_size):
    with pytest.raises(UserError, match='img_size must be a positive whole number, or two'):
        make_vim(img_size=img_size)


def test_rectangles_of_a_memba():
    model = make_memba(img_size=(48, 24)).train()
    model(torch.randn(2, 3, 48, 24))[0].square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.adapter_parameters().values())


# What mmpretrain's users and tools expect


def test_without_a_class_token():
    vim = make_vim(with_cls_token=False, out_type='raw')
    plain = make_vim(out_type='raw')
    weights = plain.state_dict()
    del weights['cls_token']
    weights['pos_embed'] = torch.cat([plain.pos_embed[:, :8], plain.pos_embed[:, 9:]], dim=1)
    vim.load_state_dict(weights)
    images = make_images()
    (tokens,) = vim(images)
    assert tokens.shape == (2, 16, 16)
    embedded = plain._embed(images)
    embedded = torch.cat([embedded[:, :8], embedded[:, 9:]], dim=1)
    for layer in plain.layers:
        embedded, _ = layer(embedded)
    torch.testing.assert_close(tokens, plain.norm_f(embedded))
    vim.out_type = 'avg_featmap'
    assert torch.equal(vim(images)[0], tokens.mean(1))
    larger = make_vim(with_cls_token=False, out_type='raw', img_size=48)
    larger.load_state_dict(weights)
    assert larger.pos_embed.shape == (1, 36, 16)


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 2])
def test_frozen_stages(frozen_stages):
    vim = make_vim(frozen_stages=frozen_stages, drop_path_rate=0.5)
    vim.train()
    before = frozen_stages > 0
    expected = {'cls_token': before, 'pos_embed': before, 'patch_embed': before}
    expected |= {f'layers.{i}': i < frozen_stages for i in range(2)}
    expected['norm_f'] = frozen_stages == 2
    for name, parameter in vim.named_parameters():
        part = next(part for part in expected if name.startswith(part))
        assert parameter.requires_grad is not expected[part], name
    assert [layer.training for layer in vim.layers] == [i >= frozen_stages for i in range(2)]
    vim.eval()
    assert not any(module.training for module in vim.modules())


@pytest.mark.parametrize(
    ('name', 'depth'),
    [
        ('backbone.cls_token', 0),
        ('backbone.pos_embed', 0),
        ('backbone.patch_embed.proj.weight', 0),
        ('backbone.layers.0.norm.weight', 1),
        ('backbone.layers.1.mixer.A_log', 2),
        ('backbone.norm_f.weight', 3),
        ('head.fc.weight', 3),
    ],
)
def test_depth_of_a_parameter(name, depth):
    assert make_vim().get_layer_depth(name, 'backbone.') == (depth, 4)


def gradient_map(vim, images, layer):
    """Gradients of the class token's first feature at a layer that mmpretrain's vis_cam hooks."""
    seen = []

    def keep(module, inputs, output):
        output.register_hook(seen.append)

    handle = layer.register_forward_hook(keep)
    (feature,) = vim(images)
    feature[:, 0].sum().backward()
    handle.remove()
    return feature.detach(), seen[0]


@pytest.mark.parametrize('img_size', [(32, 32), (40, 24)], ids=str)
@pytest.mark.parametrize('num_prompts', [0, 4])
def test_a_hook_gets_the_patches_as_a_map(img_size, num_prompts):
    vim = make_vim(img_size=img_size)
    if num_prompts:
        attach_adapters(vim, [dict(type='PromptTuning', num_tokens=num_prompts)])
    images = torch.randn(1, 3, *img_size, requires_grad=True)
    sequences = []

    def keep(module, inputs, output):
        sequences.append(output[0])
        output[0].retain_grad()

    vim.layers[0].register_forward_hook(keep)
    expected = vim(images)[0].detach()
    feature, gradients = gradient_map(vim, images, vim.patch_map)
    assert torch.equal(feature, expected)
    assert gradients.shape == (1, 16, *vim.grid_size)
    tokens = vim.prompt.remove(sequences[1].grad)
    assert torch.equal(gradients, vim.format_tokens(tokens, 'featmap'))
    assert gradients.abs().min() > 0


@pytest.mark.parametrize('img_size', [8, 16, 32, (64, 48), (64, 16), (24, 8), (40, 24)], ids=str)
@pytest.mark.parametrize('with_cls_token', [True, False])
def test_mmpretrains_vis_cam_refuses_tokens_that_are_no_map(img_size, with_cls_token):
    """It cuts so many tokens off, and refuses what is no square then."""
    vim = make_vim(img_size=img_size, with_cls_token=with_cls_token, out_type='raw')
    left = vim.pos_embed.shape[1] - vim.num_extra_tokens
    is_map = not with_cls_token and isinstance(img_size, int)
    assert (math.isqrt(left) ** 2 == left) == is_map
