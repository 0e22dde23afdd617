"""Files of weights of Vim, as people have them: the right values, or an error that helps."""

import argparse
import itertools
from pathlib import Path

import pytest
import torch
from mmengine.runner import load_checkpoint
from mmpretrain.models import ImageClassifier
from safetensors.torch import save_file

from memba_vision.errors import UserError
from memba_vision.models import Vim
from memba_vision.models.backbones.vim import resize_pos_embed
from memba_vision.models.backbones.vim_weights import FILES

TINY = dict(arch=dict(embed_dims=8, num_layers=2), img_size=32, patch_size=16)
OURS = 'vim_small_patch16_224_bimambav2_final_pool_mean_abs_pos_embed_with_midclstok_div2'
WRAPPERS = (
    *('', 'model', 'model_ema', 'state_dict', 'state_dict_ema', 'ema_state_dict', 'module', 'net'),
    *('model.state_dict', 'state_dict.model', 'checkpoint.model', 'model.module'),
)
PREFIXES = (
    *('', 'module.', '_orig_mod.', 'model.', 'backbone.', 'encoder.', 'net.'),
    *('module._orig_mod.', '_orig_mod.module.', 'model.backbone.', 'module.model.net.'),
)
# The bytes of a file, and its name.
FORMATS = ('zip.pth', 'legacy.pth', 'zip.safetensors', 'tensors.safetensors', 'tensors.pth')


@pytest.fixture(scope='module')
def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    own = Vim(**TINY).state_dict()
    return {name: torch.randn(t.shape, generator=generator) for name, t in own.items()}


def write(path: Path, weights: dict, wrapper: str = '', **beside) -> Path:
    """Save weights in the dicts that ``wrapper`` names, in the format that the name begins with."""
    if path.name.startswith('tensors'):
        save_file({name: t.clone() for name, t in weights.items()}, path)
        return path
    content = weights
    for key in reversed(wrapper.split('.') if wrapper else []):
        content = {key: content, 'epoch': 3}
    zipped = not path.name.startswith('legacy')
    torch.save({**content, **beside}, path, _use_new_zipfile_serialization=zipped)
    return path


def load(path: Path, **settings) -> Vim:
    init_cfg = dict(type='Pretrained', checkpoint=str(path), **settings)
    vim = Vim(**TINY, init_cfg=init_cfg)
    vim.init_weights()
    return vim


def assert_holds(vim: Vim, weights: dict) -> None:
    own = vim.state_dict()
    assert own.keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in own.items())


@pytest.mark.parametrize('name', FORMATS)
def test_every_wrapping_and_prefix(tmp_path, weights, name):
    wrappers = {'zip.pth': WRAPPERS, 'legacy.pth': ('', 'model'), 'zip.safetensors': ('model',)}
    wrappers = wrappers.get(name, ('',))  # safetensors has no dicts in dicts
    for wrapper, prefix in itertools.product(wrappers, PREFIXES):
        named = {prefix + key: tensor for key, tensor in weights.items()}
        assert_holds(load(write(tmp_path / name, named, wrapper)), weights)


def test_what_the_compiler_puts_inside_of_names(tmp_path, weights):
    named = {k.replace('mixer.', '_orig_mod.mixer.'): t for k, t in weights.items()}
    assert_holds(load(write(tmp_path / 'zip.pth', named, 'model')), weights)


def test_counters_of_averaged_models(tmp_path, weights):
    named = {f'module.{key}': tensor for key, tensor in weights.items()}
    for counter in ('n_averaged', 'steps'):
        path = write(tmp_path / 'zip.pth', named | {counter: torch.tensor(7)}, 'model_ema')
        assert_holds(load(path), weights)


@pytest.mark.parametrize('prefix', ['', 'module.', 'backbone.'])
@pytest.mark.parametrize('stem', ['head.', 'head.fc.', 'fc.', 'classifier.', 'classifier.head.'])
@pytest.mark.parametrize('bias', [True, False])
def test_heads(tmp_path, weights, prefix, stem, bias):
    head = {f'{stem}weight': torch.randn(7, 8)} | ({f'{stem}bias': torch.randn(7)} if bias else {})
    for before_head in {'', prefix}:
        named = {prefix + key: tensor for key, tensor in weights.items()}
        named |= {before_head + key: tensor for key, tensor in head.items()}
        path = write(tmp_path / 'zip.pth', named, 'state_dict')
        assert_holds(load(path), weights)
        found = FILES.read(str(path)).tensors
        assert torch.equal(found['head.weight'], head[f'{stem}weight'])
        assert torch.equal(found['head.bias'], head.get(f'{stem}bias', torch.zeros(7)))


def test_a_head_of_several_layers_is_left_aside(tmp_path, weights):
    head = {f'head.{n}.weight': torch.randn(8, 8) for n in (0, 2)}
    path = write(tmp_path / 'zip.pth', weights | head)
    assert_holds(load(path), weights)
    assert FILES.read(str(path)).tensors.keys() == weights.keys()


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_the_set_of_weights_is_chosen_by_a_setting(tmp_path, weights, prefix, caplog):
    averaged = {prefix + key: tensor + 1 for key, tensor in weights.items()}
    path = write(tmp_path / 'zip.pth', weights, 'model', model_ema=averaged, best={'x': averaged})
    assert_holds(load(path), weights)
    assert_holds(load(path, key='model'), weights)
    for key in ('model_ema', 'best.x', 'best'):
        assert_holds(load(path, key=key), {key: tensor + 1 for key, tensor in weights.items()})
    with pytest.raises(
        UserError, match=r"no weights under 'ema'; .*'model', 'model_ema', 'best.x'"
    ):
        load(path, key='ema')
    with pytest.raises(UserError, match=r"holds no tensors; .* under 'mine': choose with key="):
        load(write(tmp_path / 'zip.pth', weights, 'mine'))


def test_which_set_was_taken_is_said(tmp_path, weights, capfd):
    load(write(tmp_path / 'zip.pth', weights, 'model', model_ema=weights))
    captured = capfd.readouterr()
    assert (
        "'model' is taken; key=… beside the checkpoint chooses 'model_ema'"
        in captured.out + captured.err
    )


def test_several_models_are_told_apart_by_the_prefix(tmp_path, weights):
    named = {f'student.{key}': tensor for key, tensor in weights.items()}
    named |= {f'teacher.backbone.{key}': tensor + 1 for key, tensor in weights.items()}
    path = write(tmp_path / 'zip.pth', named)
    expected = r"its names fit behind 'student\.' or 'teacher\.backbone\.' \(choose with prefix="
    with pytest.raises(UserError, match=expected):
        load(path)
    for prefix in ('student.', 'student'):  # mmengine adds the dot
        assert_holds(load(path, prefix=prefix), weights)
    assert_holds(load(path, prefix='teacher'), {k: t + 1 for k, t in weights.items()})
    with pytest.raises(UserError, match=r"start with 'techer\.'; they start with 'student\.', 't"):
        load(path, prefix='techer')


def test_a_prefix_behind_one_that_all_names_share(tmp_path, weights):
    named = {f'module.student.{key}': tensor for key, tensor in weights.items()}
    named |= {'module.projector.weight': torch.ones(2)}
    path = write(tmp_path / 'zip.pth', named, 'model')
    assert_holds(load(path, prefix='student'), weights)
    with pytest.raises(UserError, match=r"fit behind 'module\.student\.'"):
        load(path)


def test_names_that_would_become_one_are_refused(tmp_path, weights):
    named = weights | {'_orig_mod.cls_token': weights['cls_token'] + 1}
    with pytest.raises(UserError, match=r'both cls_token and _orig_mod\.cls_token'):
        load(write(tmp_path / 'zip.pth', named))


def test_a_prefix_does_not_hide_what_is_missing_or_left_over(tmp_path, weights):
    named = {f'module.{key}': tensor for key, tensor in weights.items()}
    del named['module.norm_f.weight']
    named['module.layers.0.more'] = torch.ones(2)
    with pytest.raises(UserError, match=r'missing norm_f\.weight; unexpected layers\.0\.more'):
        load(write(tmp_path / 'zip.pth', named))


def test_a_file_in_which_nothing_fits_is_told_in_a_few_words(tmp_path, weights):
    named = {f'{"ab"[n % 2]}.{key}': t for n, (key, t) in enumerate(weights.items())}
    with pytest.raises(UserError) as error:
        load(write(tmp_path / 'zip.pth', named))
    message = str(error.value)
    assert 'missing layers.{0-1}.mixer.A_log; ' in message
    assert f'{len(weights)} names missing' in message
    assert len(message) < 1200
    assert '\n' not in message


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_values_that_are_not_finite_are_refused(tmp_path, weights, value):
    for wrong in (['norm_f.weight'], ['layers.0.mixer.D', 'layers.1.mixer.D']):
        damaged = {k: t.clone() for k, t in weights.items()}
        for name in wrong:
            damaged[name][3] = value
        named = wrong[0] if len(wrong) == 1 else r'layers\.\{0-1\}\.mixer\.D'
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            stored = {k: t.to(dtype) for k, t in damaged.items()}
            with pytest.raises(UserError, match=rf'not finite: {named}: get the file again'):
                load(write(tmp_path / 'zip.pth', stored))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('name', ['zip.pth', 'tensors.pth'])
def test_other_floating_types_are_converted_and_said(tmp_path, weights, name, dtype, capfd):
    stored = {key: tensor.to(dtype) for key, tensor in weights.items()}
    assert_holds(load(write(tmp_path / name, stored)), {k: t.float() for k, t in stored.items()})
    captured = capfd.readouterr()
    expected = f'weights in {str(dtype).removeprefix("torch.")} are converted to float32'
    assert expected in captured.out + captured.err


def test_quantised_weights_are_refused(tmp_path, weights):
    stored = weights | {'norm_f.weight': torch.ones(8, dtype=torch.int8)}
    with pytest.raises(UserError, match=r'in int8, .* before they were quantised'):
        load(write(tmp_path / 'zip.pth', stored))


# Variants of Vim that the authors' code has under the same names


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        (OURS.replace('_with_midclstok', ''), 'its class token, if any, is not in the middle'),
        (OURS.replace('midclstok', 'cls_token'), 'its class token, if any, is not in the middle'),
        (OURS.replace('_div2', ''), 'its directions are added, not averaged'),
        (OURS.replace('bimambav2', 'bimambav1'), 'its blocks are not those of bimamba_type'),
        (OURS.replace('_with', '_rope_with'), 'it has rotary position embeddings'),
    ],
)
def test_other_variants_are_refused_by_their_name(tmp_path, weights, name, expected):
    path = write(tmp_path / 'zip.pth', weights, 'model', args=argparse.Namespace(model=name))
    with pytest.raises(UserError, match=expected) as error:
        load(path)
    assert name in str(error.value)
    assert 'convert --any-variant' in str(error.value)


@pytest.mark.parametrize(
    'name',
    [
        OURS,
        OURS.replace('midclstok', 'middle_cls_token').replace('small', 'base'),
        'vim_small_patch16_224',
        'mine',
        None,
        3,
    ],
)
def test_this_variant_and_unknown_names_are_taken(tmp_path, weights, name):
    path = write(tmp_path / 'zip.pth', weights, 'model', args=argparse.Namespace(model=name))
    assert_holds(load(path), weights)


def test_a_name_tells_the_stride_and_the_arch(tmp_path, weights, capfd):
    args = argparse.Namespace(model=OURS.replace('patch16', 'patch16_stride8'))
    load(write(tmp_path / 'zip.pth', weights, 'model', args=args))
    captured = capfd.readouterr()
    assert 'with a stride of 8; this Vim has stride=16' in captured.out + captured.err
    wider = dict(embed_dims=16, num_layers=2)
    with pytest.raises(UserError, match=r'norm_f\.weight|of another shape.*its training named it'):
        Vim(wider, init_cfg=dict(checkpoint=str(tmp_path / 'zip.pth'))).init_weights()
    path = write(tmp_path / 'zip.pth', weights, 'model', args=args)
    with pytest.raises(UserError, match=rf'does not fit.*its training named it {args.model}'):
        vim = Vim(dict(embed_dims=8, num_layers=3), init_cfg=dict(checkpoint=str(path)))
        vim.init_weights()


# init_cfg


def test_initializers_of_mmengine(tmp_path, weights):
    constant = dict(type='Constant', layer='Conv2d', val=3.0, bias=2.0)
    for init_cfg in (constant, [constant]):
        vim = Vim(**TINY, init_cfg=init_cfg)
        vim.init_weights()
        assert bool((vim.patch_embed.proj.weight == 3).all())
        assert bool((vim.patch_embed.proj.bias == 2).all())
    file = dict(type='Pretrained', checkpoint=str(write(tmp_path / 'zip.pth', weights)))
    vim = Vim(**TINY, init_cfg=[file, constant])  # as in mmengine, files come last
    vim.init_weights()
    assert_holds(vim, weights)


@pytest.mark.parametrize(
    ('init_cfg', 'expected'),
    [
        ([3], 'a dict or a list of dicts'),
        ('Pretrained', 'a dict or a list of dicts'),
        (dict(type='Constnat', layer='Conv2d', val=1), 'Constnat'),
        (dict(type='Constant', layer='Conv2d', value=1), 'value'),
        (dict(type='Pretrained', checkpoint='a.pth', prefx='b'), 'unknown prefx; known are'),
    ],
)
def test_mistakes_in_init_cfg(init_cfg, expected):
    with pytest.raises(UserError, match=expected):
        Vim(**TINY, init_cfg=init_cfg).init_weights()


# mmengine's load_checkpoint, which is lenient by itself


def classifier(**settings) -> ImageClassifier:
    backbone = dict(type='Vim', **{**TINY, **settings})
    return ImageClassifier(backbone, head=dict(type='LinearClsHead', num_classes=7, in_channels=8))


@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.', 'backbone.', 'model.backbone.'])
def test_mmengine_loads_official_names_into_a_classifier(tmp_path, weights, prefix):
    named = {prefix + key: tensor for key, tensor in weights.items()}
    named |= {'head.weight': torch.randn(7, 8)}
    model = classifier()
    load_checkpoint(model, str(write(tmp_path / 'zip.pth', named, 'model')))
    assert_holds(model.backbone, weights)
    vim = Vim(**TINY)
    load_checkpoint(vim, str(tmp_path / 'zip.pth'))
    assert_holds(vim, weights)


def test_mmengine_loads_what_a_classifier_saved(tmp_path):
    source, model = classifier(), classifier()
    named = {f'module.{key}': tensor for key, tensor in source.state_dict().items()}
    load_checkpoint(model, str(write(tmp_path / 'zip.pth', named, 'state_dict')))
    assert_holds(model.backbone, source.backbone.state_dict())
    assert torch.equal(model.head.fc.weight, source.head.fc.weight)


def test_mmengine_resizes_the_position_embedding(tmp_path, weights):
    path = str(write(tmp_path / 'zip.pth', weights, 'model'))
    for make, backbone in ((classifier, lambda m: m.backbone), (lambda **s: Vim(**s), lambda m: m)):
        model = make(**{**TINY, 'img_size': 64})
        load_checkpoint(model, path)
        expected = weights | {'pos_embed': resize_pos_embed(weights['pos_embed'], 4)}
        assert_holds(backbone(model), expected)


def test_mmengine_loads_nothing_by_halves(tmp_path, weights):
    for wrong in ('missing norm_f.weight', 'unexpected more'):
        named = {k: t for k, t in weights.items() if k not in wrong}
        named |= {} if 'missing' in wrong else {'more': torch.ones(1)}
        path = str(write(tmp_path / 'zip.pth', named, 'model'))
        for model in (Vim(**TINY), classifier()):
            with pytest.raises(UserError, match=wrong):
                load_checkpoint(model, path)


def test_state_dicts_that_a_program_made_may_be_partial(weights):
    part = {'backbone.norm_f.weight': weights['norm_f.weight']}
    model = classifier()
    model.load_state_dict(part, strict=False)
    assert torch.equal(model.backbone.norm_f.weight, weights['norm_f.weight'])
