"""MambaReg: its keys, its loading, and what it computes."""

import math

import pytest
import torch
import torch.nn.functional as F
from formulas import below, make_images, project_and_scan
from official_like import assert_holds, load, write

from memba_vision.errors import UserError
from memba_vision.models import MambaReg, Vim
from memba_vision.models.backbones.vim import resize_pos_embed

ARCH = dict(embed_dims=16, num_layers=2, num_registers=3, reduction=2, d_state=4)
SETTINGS = dict(arch=ARCH, img_size=32, patch_size=8)  # 4 x 4 patches
PARAMETERS = {'small': 27_801_064, 'base': 99_301_096, 'large': 341_222_376}
FEATURES = {'small': 2304, 'base': 2304, 'large': 2048}


def official_shapes(d, depth, n, r, patches=196, d_state=16, patch=16):
    """Keys and shapes of an official file without its head."""
    shapes = {
        'cls_token': (1, n, d),
        'pos_embed_cls': (1, n, d),
        'pos_embed': (1, patches, d),
        'patch_embed.proj.weight': (d, 3, patch, patch),
        'patch_embed.proj.bias': (d,),
        'norm_f.weight': (d,),
        'neck.weight': (d // r, d),
        'norm_neck.weight': (d * n // r,),
    }
    rank = math.ceil(d / 16)
    for i in range(depth):
        shapes[f'layers.{i}.norm.weight'] = (d,)
        mixer = {'in_proj.weight': (4 * d, d), 'out_proj.weight': (d, 2 * d)}
        for b in ('', '_b'):
            mixer |= {
                f'conv1d{b}.weight': (2 * d, 1, 4),
                f'conv1d{b}.bias': (2 * d,),
                f'x_proj{b}.weight': (rank + 2 * d_state, 2 * d),
                f'dt_proj{b}.weight': (2 * d, rank),
                f'dt_proj{b}.bias': (2 * d,),
                f'A{b}_log': (2 * d, d_state),
                f'D{b}': (2 * d,),
            }
        shapes |= {f'layers.{i}.mixer.{name}': shape for name, shape in mixer.items()}
    return shapes


def make_weights(seed=0, patches=16, **arch):
    arch = ARCH | arch
    order = ('embed_dims', 'num_layers', 'num_registers', 'reduction')
    shapes = official_shapes(*(arch[name] for name in order), patches, arch['d_state'], 8)
    generator = torch.Generator().manual_seed(seed)
    return {k: torch.randn(s, generator=generator) * 0.3 for k, s in shapes.items()}


def make_model(weights=None, **settings):
    torch.manual_seed(0)
    model = MambaReg(**{**SETTINGS, **settings})
    if weights is not None:
        model.load_state_dict(weights)
    return model


# What it computes


def rms_norm(x, weight):
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def one_way(w, x, b):
    """A direction of a mixer, whose weights are ``w``, over (batch, d_inner, length)."""
    x = F.pad(x, (3, 0))
    kernel, bias = w[f'conv1d{b}.weight'][:, 0], w[f'conv1d{b}.bias'][:, None]
    x = F.silu(sum(kernel[:, k, None] * x[..., k : x.shape[-1] - 3 + k] for k in range(4)) + bias)
    names = (f'x_proj{b}.weight', f'dt_proj{b}.weight', f'dt_proj{b}.bias', f'A{b}_log', f'D{b}')
    return project_and_scan(x, *(w[name] for name in names))


def mixed(w, hidden):
    x, z = (hidden @ w['in_proj.weight'].T).transpose(1, 2).chunk(2, dim=1)
    y = (one_way(w, x, '') + one_way(w, x.flip(-1), '_b').flip(-1)) / 2 * F.silu(z)
    return y.transpose(1, 2) @ w['out_proj.weight'].T


def reference(w, images):
    """The last tokens, and the numbers of the registers and of the patches among them."""
    kernel = w['patch_embed.proj.weight']
    patches = F.unfold(images, kernel.shape[-1], stride=kernel.shape[-1]).transpose(1, 2)
    patches = patches @ kernel.flatten(1).T + w['patch_embed.proj.bias'] + w['pos_embed']
    registers = (w['cls_token'] + w['pos_embed_cls'])[0]
    sequence, stands = [], []
    waiting = list(patches.unbind(1))
    distance = len(waiting) // (len(registers) + 1)
    for register in registers:
        sequence += [waiting.pop(0) for _ in range(distance)]
        stands.append(len(sequence))
        sequence.append(register.expand(len(images), -1))
    hidden = torch.stack(sequence + waiting, dim=1)
    for i in range(max(int(k.split('.')[1]) for k in w if k.startswith('layers.')) + 1):
        layer = below(w, f'layers.{i}.')
        hidden = hidden + mixed(below(layer, 'mixer.'), rms_norm(hidden, layer['norm.weight']))
    hidden = rms_norm(hidden, w['norm_f.weight'])
    return hidden, stands, [n for n in range(hidden.shape[1]) if n not in stands]


def reference_feature(w, images):
    hidden, stands, _ = reference(w, images)
    narrow = [hidden[:, n] @ w['neck.weight'].T for n in stands]
    return rms_norm(torch.cat(narrow, dim=-1), w['norm_neck.weight'])


@pytest.mark.parametrize(
    ('size', 'count'), [((32, 32), 3), ((40, 24), 3), ((24, 24), 9), ((8, 24), 1)], ids=str
)
def test_it_equals_the_formulas(size, count):
    weights = make_weights(patches=size[0] * size[1] // 64, num_registers=count)
    arch, images = ARCH | dict(num_registers=count), make_images(*size)
    hidden, _, stands = reference(weights, images)
    expected = {
        'registers': reference_feature(weights, images),
        'raw': hidden,
        'avg_featmap': hidden[:, stands].mean(1),
        'featmap': hidden[:, stands].transpose(1, 2).unflatten(2, [side // 8 for side in size]),
    }
    for out_type, feature in expected.items():
        model = make_model(weights, arch=arch, img_size=size, out_type=out_type).eval()
        torch.testing.assert_close(model(images)[0], feature, rtol=1e-5, atol=1e-5)


def test_its_gradients_are_those_of_the_formulas():
    weights = {k: v.double().requires_grad_() for k, v in make_weights().items()}
    model = make_model({k: v.detach() for k, v in weights.items()}).double()
    images = make_images(32, 32).double()
    loss = reference_feature(weights, images).pow(3).sum()
    expected = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
    model(images)[0].pow(3).sum().backward()
    actual = {name: parameter.grad for name, parameter in model.named_parameters()}
    torch.testing.assert_close(actual, expected, rtol=1e-7, atol=1e-9)


def test_blocks_in_between():
    model = make_model(make_weights(), out_indices=(0, -1), out_type='raw')
    images = make_images(32, 32)
    first, last = model(images)
    torch.testing.assert_close(first, model.layers[0](model._embed(images))[0])
    torch.testing.assert_close(last, reference(make_weights(), images)[0])
    model.out_type = 'registers'
    assert [feature.shape for feature in model(images)] == [(2, 24), (2, 24)]


def test_images_of_any_size():
    weights, images = make_weights(), make_images(40, 24)
    resized = {
        **weights,
        'pos_embed': resize_pos_embed(weights['pos_embed'], (5, 3), (4, 4), False),
    }
    model = make_model(weights, dynamic_img_size=True)
    torch.testing.assert_close(model(images)[0], reference_feature(resized, images))
    assert torch.equal(make_model(weights, img_size=(40, 24))(images)[0], model(images)[0])
    with pytest.raises(UserError, match='MambaReg was built for images of 32 x 32 pixels, got 40'):
        make_model()(images)


# Keys, sizes and depths


@pytest.mark.parametrize('arch', PARAMETERS)
def test_official_keys_and_sizes(arch):
    with torch.device('meta'):
        model = MambaReg(arch)
    order = ('embed_dims', 'num_layers', 'num_registers', 'reduction')
    expected = official_shapes(*(model.settings[name] for name in order))
    assert {name: tuple(t.shape) for name, t in model.state_dict().items()} == expected
    own = sum(parameter.numel() for parameter in model.parameters())
    assert own + 1000 * FEATURES[arch] + 1000 == PARAMETERS[arch]


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 2])
def test_frozen_stages(frozen_stages):
    model = make_model(frozen_stages=frozen_stages, drop_path_rate=0.5).train()
    expected = {f'layers.{i}': i < frozen_stages for i in range(2)}
    before = ('cls_token', 'pos_embed', 'pos_embed_cls', 'patch_embed')
    expected |= dict.fromkeys(before, frozen_stages > 0)
    expected |= dict.fromkeys(('norm_f', 'neck', 'norm_neck'), frozen_stages == 2)
    for name, parameter in model.named_parameters():
        first, _, rest = name.partition('.')
        part = f'layers.{rest[0]}' if first == 'layers' else first
        assert parameter.requires_grad is not expected[part], name
    assert [layer.training for layer in model.layers] == [i >= frozen_stages for i in range(2)]


@pytest.mark.parametrize(
    ('name', 'depth'),
    [
        ('pos_embed_cls', 0),
        ('cls_token', 0),
        ('layers.1.mixer.D', 2),
        ('norm_f.weight', 3),
        ('neck.weight', 3),
        ('norm_neck.weight', 3),
    ],
)
def test_depth_of_a_parameter(name, depth):
    assert make_model().get_layer_depth(f'backbone.{name}', 'backbone.') == (depth, 4)


def test_positions_of_registers_do_not_decay():
    assert {'pos_embed_cls', 'cls_token', 'A_b_log'} <= set(MambaReg.no_weight_decay)


def test_recomputed_blocks_give_the_same_gradients():
    gradients = []
    for with_cp in (False, True):
        model = make_model(make_weights(), with_cp=with_cp, drop_path_rate=0.5).train()
        torch.manual_seed(3)
        model(make_images(32, 32))[0].square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


@pytest.mark.parametrize('size', [32, (24, 8), (40, 40)], ids=str)
def test_mmpretrains_vis_cam_refuses_tokens_that_are_no_map(size):
    model = make_model(img_size=size)
    left = model.num_patches + 3 - model.num_extra_tokens
    assert math.isqrt(left) ** 2 != left


def test_a_hook_gets_the_patches_as_a_map():
    model, images, seen = make_model(make_weights()), make_images(32, 32), []
    expected = model(images)[0]
    model.patch_map.register_forward_hook(lambda module, args, out: seen.append(out))
    assert torch.equal(model(images)[0], expected)
    first = model.layers[0](model._embed(images))[0]
    assert torch.equal(seen[0], model.format_tokens(first, 'featmap'))


# Files


@pytest.mark.parametrize('img_size', [48, (40, 24)], ids=str)
def test_the_position_embedding_is_interpolated(tmp_path, img_size, capfd):
    weights = make_weights(seed=5)
    path = write(tmp_path / 'mambar.pth', weights, 24, 'model')
    model = load(make_model, path, img_size=img_size)
    expected = resize_pos_embed(weights['pos_embed'], model.grid_size, has_cls_token=False)
    assert_holds(model, weights | {'pos_embed': expected})
    captured = capfd.readouterr()
    assert 'of 16 patches is interpolated to' in captured.out + captured.err


def test_a_file_of_an_arch_without_a_name_is_described(tmp_path):
    weights = make_weights(num_registers=2, num_layers=1)
    path = write(tmp_path / 'mambar.pth', weights, 16, 'model')
    described = r'dict\(embed_dims=16, num_layers=1, num_registers=2, reduction=2\)'
    with pytest.raises(UserError, match=f'is of the MambaReg with arch={described}'):
        load(make_model, path)


def test_files_of_vim_and_of_mamba_reg_are_not_mixed_up(tmp_path):
    settings = {**SETTINGS, 'arch': dict(embed_dims=16, num_layers=2, d_state=4)}
    torch.save(Vim(**settings).state_dict(), tmp_path / 'vim.pth')
    with pytest.raises(UserError, match=r'missing pos_embed_cls; missing neck\.weight'):
        load(make_model, str(tmp_path / 'vim.pth'))
    path = write(tmp_path / 'mambar.pth', make_weights(), 24, 'model')
    vim = Vim(**settings, init_cfg=dict(checkpoint=path))
    with pytest.raises(UserError, match='does not fit Vim: unexpected pos_embed_cls'):
        vim.init_weights()


# Mistakes


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(arch='tiny'), "MambaReg: unknown arch 'tiny'; known are small, base, large, or a di"),
        (dict(arch=dict(embed_dims=16, num_layers=2)), 'lacks num_registers and reduction'),
        (dict(arch=ARCH | dict(width=3)), 'the arch dict has unknown width; known are embed_dims'),
        (dict(arch=ARCH | dict(reduction=3)), 'reduction divide embed_dims, 16; got 3 and 3'),
        (dict(arch=ARCH | dict(num_registers=0)), 'num_registers must be at least 1'),
        (dict(out_type='cls_token'), "unknown out_type 'cls_token'; known are registers, avg_feat"),
        (dict(with_cls_token=False), 'registers and no class token: leave with_cls_token out'),
        (dict(out_indices=2), 'MambaReg: out_indices holds 2, but there are 2 blocks'),
        (dict(frozen_stages=3), 'MambaReg: frozen_stages is 3, but there are 2 blocks'),
        (dict(img_size=4), 'MambaReg: img_size 4 is smaller than patch_size 8'),
    ],
    ids=lambda value: ','.join(value) if isinstance(value, dict) else '',
)
def test_mistakes_are_explained(settings, message):
    with pytest.raises(UserError, match=message):
        make_model(**settings)
