"""Trained adapters as files: with a header, merged, and many over one backbone."""

import json
import threading

import pytest
import torch
from helpers import DEMO, as_arguments, run_tool, tiny_options
from mmpretrain.registry import MODELS
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_families import ARCHS

from memba_vision.errors import UserError
from memba_vision.models import PEFTModel, Vim
from memba_vision.models.peft.adapter import Adapter, replace_module
from memba_vision.models.peft.adapter_files import AdapterInfo, read_adapter
from memba_vision.models.peft.lora_layers import LoRALinear
from memba_vision.models.peft.targets import find_targets
from memba_vision.registry import ADAPTERS
from memba_vision.runs.presets import preset_names, read_preset
from memba_vision.serving import bank as bank_module
from memba_vision.serving.bank import AdapterBank
from memba_vision.serving.export import export_backbone
from memba_vision.zoo.adapter_files import write_adapter

VIM = dict(arch=dict(embed_dims=16, num_layers=2, d_state=4), img_size=32, patch_size=8)
LORA = dict(type='LoRA', targets=['in_proj', 'out_proj'], rank=3)


def make_base(seed=0):
    torch.manual_seed(seed)
    return Vim(**VIM).eval()


def make_images(size=32):
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def make_classifier(adapters, classes=5, neck=None, base=None, seed=0, width=16):
    """A classifier whose adapters, head and neck are as if they had been trained."""
    backbone = PEFTModel(base or make_base(), adapters)
    head = dict(type='LinearClsHead', num_classes=classes, in_channels=width)
    settings = dict(type='ImageClassifier', backbone=backbone, neck=neck, head=head)
    model = MODELS.build(settings).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in [*backbone.adapter_parameters().values(), *model.head.parameters()]:
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def save_checkpoint(model, path):
    torch.save({'meta': {}, 'state_dict': model.state_dict()}, path)
    return str(path)


def save_adapter(model, folder, name='adapter'):
    checkpoint = save_checkpoint(model, folder / f'{name}.pth')
    write_adapter(checkpoint, folder / f'{name}.safetensors')
    return folder / f'{name}.safetensors'


@pytest.fixture(scope='module')
def options(base, data_root):
    options = tiny_options(base, data_root)
    del options['model.backbone.rank']
    return as_arguments(options)


@pytest.fixture(scope='module')
def trained(options, tmp_path_factory):
    """The checkpoint of a short run with LoRA."""
    folder = tmp_path_factory.mktemp('run')
    outcome = run_tool('train', DEMO, '--peft', 'lora', '--work-dir', folder, *options)
    assert outcome.status == 0, outcome
    return folder / 'epoch_2.pth'


# Adapter files


def test_an_adapter_file_says_what_it_is(trained, tmp_path):
    out = tmp_path / 'digits.safetensors'
    outcome = run_tool('export', trained, out, '--as', 'adapter')
    assert outcome.status == 0, outcome
    result = json.loads((trained.parent / 'result.json').read_text())
    with safe_open(out, framework='pt') as file:
        metadata = file.metadata()
        names = list(file.keys())
    assert metadata['task'] == 'digits'
    assert metadata['method'] == 'lora'
    assert metadata['classes'] == '10'
    assert float(metadata['accuracy']) == result['top1']
    assert json.loads(metadata['adapters'])[0]['targets'] == ['in_proj', 'out_proj']
    assert len(metadata['base']) == 64
    assert 'head.fc.weight' in names
    neck = [name for name in names if name.startswith('neck.')]
    assert len(names) - len(neck) == 2 + 2 * 2 * 2


def test_a_checkpoint_without_a_result_has_no_accuracy(tmp_path):
    _, info = read_adapter(save_adapter(make_classifier([LORA]), tmp_path))
    assert (info.task, info.accuracy, info.method, info.classes) == (None, None, 'PEFTModel', 5)


def test_the_result_of_another_checkpoint_is_not_taken(trained, tmp_path):
    for name in ('epoch_2.pth', 'result.json'):
        (tmp_path / name).write_bytes((trained.parent / name).read_bytes())
    (tmp_path / 'epoch_2.pth').rename(tmp_path / 'epoch_1.pth')
    assert write_adapter(str(tmp_path / 'epoch_1.pth'), tmp_path / 'a.safetensors').task is None


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            ['--as', 'adapter', '--config', DEMO, '--peft', 'lora'],
            'adapter writes what the checkpoint holds, whatever --config and --peft may say',
        ),
        (['--as', 'backbone', '--cfg-options', 'a=1'], 'backbone writes what the checkpoint holds'),
        (['--as', 'merged', '--backbone', 'vim-mini'], '--backbone goes with --config'),
        (['--as', 'hf', '--peft', 'lora'], '--peft goes with --config'),
        (['--as', 'onnx', '--cfg-options', 'a=1'], '--cfg-options goes with --config'),
    ],
    ids=lambda case: case[1] if isinstance(case, list) else '',
)
def test_options_that_would_have_no_effect(tmp_path, arguments, message):
    out = tmp_path / ('out.onnx' if 'onnx' in arguments else 'out.safetensors')
    assert message in run_tool('export', 'a.pth', out, *arguments).error()


def test_the_header_comes_back_as_it_was():
    info = AdapterInfo('memba', [dict(type='LIM', threshold=None)], 'abc', 10, 'digits', 97.25)
    assert AdapterInfo.from_metadata(info.as_metadata()) == info


def test_what_is_no_adapter_file(base, tmp_path):
    path = tmp_path / 'plain.safetensors'
    save_file({'x': torch.zeros(2)}, path)
    with pytest.raises(UserError, match=r'is no adapter file .*--as adapter'):
        read_adapter(path)
    torch.save({'state_dict': {'x': torch.zeros(2)}}, tmp_path / 'plain.pth')
    error = run_tool('export', tmp_path / 'plain.pth', path, '--as', 'adapter').error()
    assert 'holds no adapters' in error


# Merged weights


def test_merged_weights_load_as_official_ones(trained, options, tmp_path):
    out = tmp_path / 'merged.safetensors'
    arguments = [trained, out, '--as', 'merged', '--config', DEMO, '--peft', 'lora', *options]
    outcome = run_tool('export', *arguments)
    assert outcome.status == 0, outcome
    arch = dict(embed_dims=16, num_layers=2)
    init_cfg = dict(type='Pretrained', checkpoint=str(out))
    vim = Vim(arch, img_size=48, patch_size=8, init_cfg=init_cfg).eval()
    vim.init_weights()
    weights = load_file(out)
    logits = vim(make_images(48))[0] @ weights['head.weight'].T + weights['head.bias']
    path = tmp_path / 'adapter.safetensors'
    write_adapter(str(trained), path)
    bank = AdapterBank(_base_of(options))
    bank.add('digits', path)
    torch.testing.assert_close(logits, bank('digits', make_images(48)), rtol=1e-5, atol=1e-5)


def test_an_adapter_file_is_merged_as_its_checkpoint_and_no_backbone(trained, options, tmp_path):
    adapter = tmp_path / 'adapter.safetensors'
    write_adapter(str(trained), adapter)
    outs = [tmp_path / 'one.safetensors', tmp_path / 'other.safetensors']
    arguments = ['--as', 'merged', '--config', DEMO, '--peft', 'lora', *options]
    for given, out in zip((trained, adapter), outs, strict=True):
        outcome = run_tool('export', given, out, *arguments)
        assert outcome.status == 0, outcome
    one, other = map(load_file, outs)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    error = run_tool('export', adapter, tmp_path / 'whole.safetensors').error()
    assert 'adapter.safetensors holds no whole backbone' in error
    assert not (tmp_path / 'whole.safetensors').exists()
    assert (
        'or is an adapter file already'
        in run_tool('export', adapter, tmp_path / 'again.safetensors', '--as', 'adapter').error()
    )


def _base_of(options):
    checkpoint = next(o.split('=')[1] for o in options if 'init_cfg.checkpoint' in o)
    init_cfg = dict(type='Pretrained', checkpoint=checkpoint)
    vim = Vim(dict(embed_dims=16, num_layers=2), img_size=48, patch_size=8, init_cfg=init_cfg)
    vim.init_weights()
    return vim.eval()


@pytest.mark.parametrize('site', ['lora', 'gate'])
def test_what_cannot_be_merged_says_why(base, data_root, tmp_path, site):
    options = tiny_options(base, data_root, **{'model.backbone.site': site})
    options = as_arguments(options)
    assert run_tool('train', DEMO, '--work-dir', tmp_path, *options).status == 0
    checkpoint, out = tmp_path / 'epoch_2.pth', tmp_path / 'out.safetensors'
    merged = run_tool('export', checkpoint, out, '--as', 'merged', '--config', DEMO, *options)
    if site == 'lora':
        reason = "cannot be merged: LIM stays as the gate, and in_proj's LoRA on the way to it"
        assert reason in merged.error()
    else:
        assert 'not in it: LIM stays as the gate' in merged.out, merged
        assert out.is_file()
    hf = run_tool('export', checkpoint, out, '--as', 'hf', '--config', DEMO, *options)
    assert "peft's format holds one method, but the adapters here are: LoRA, LIM" in hf.error()
    error = run_tool('export', checkpoint, out, '--as', 'merged').error()
    assert 'add --config CONFIG' in error


# Many adapters over one backbone


@pytest.mark.parametrize('preset', [p for p in preset_names() if p != 'lora_qv'])
def test_a_bank_answers_as_the_model_alone(preset, tmp_path):
    adapters = read_preset(preset, dict(rank=4)).adapters
    expected = make_classifier(adapters)
    bank = AdapterBank(make_base())
    bank.add('one', save_adapter(expected, tmp_path))
    with torch.no_grad():
        assert torch.equal(bank('one', make_images()), expected(make_images()))


def test_adapters_of_many_methods_share_one_backbone(tmp_path):
    methods = ['lora', 'memba', 'prompt_tuning', 'd_tuning', 'full_fine_tuning', 'lorap_x']
    base = make_base()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    bank, expected = AdapterBank(base), {}
    for number, preset in enumerate(methods):
        model = make_classifier(read_preset(preset, {}).adapters, 3 + number, seed=number)
        expected[preset] = model(make_images())
        assert bank.add(preset, save_adapter(model, tmp_path, preset)).classes == 3 + number
    for preset in [*methods, *reversed(methods)]:
        assert torch.equal(bank(preset, make_images()), expected[preset])
    assert list(bank.infos()) == methods
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items())
    shared = bank._models['lora'].backbone.module.layers[0].mixer.in_proj.base_layer.weight
    assert shared is base.layers[0].mixer.in_proj.weight


def test_statistics_of_norms_that_one_adapter_trains_are_its_own(tmp_path):
    def base():
        torch.manual_seed(0)
        arch = ARCHS['mamba_vision_tiny'] | dict(stem_dims=8)
        return MODELS.build(dict(type='MambaVision', arch=arch, img_size=32)).eval()

    bank, expected = AdapterBank(base()), {}
    for name, adapter in dict(
        lora=LORA, norms=dict(type='PartialTuning', patterns=['norm']), probe=None
    ).items():
        adapters = [adapter] if adapter else []
        model = make_classifier(adapters, base=base(), width=32)
        model.backbone.train()
        model(3 + 2 * make_images())
        expected[name] = model.eval()(make_images())
        bank.add(name, save_adapter(model, tmp_path, name))
    for name, answer in expected.items():
        assert torch.equal(bank(name, make_images()), answer)


def test_a_bank_takes_the_neck_of_a_probe_along(tmp_path):
    neck = dict(type='FeatureNorm', input_features=16)
    model = make_classifier([], neck=neck)
    model.neck.bn.running_mean.normal_()
    bank = AdapterBank(make_base())
    bank.add('probe', save_adapter(model, tmp_path))
    assert torch.equal(bank('probe', make_images()), model(make_images()))


def test_threads_add_to_a_bank_one_after_the_other(tmp_path, monkeypatch):
    base = make_base()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    presets = [[dict(type='PartialTuning', patterns=['D', 'D_b'])], [LORA]]
    paths = [
        save_adapter(make_classifier(adapters, base=make_base(), seed=n), tmp_path, str(n))
        for n, adapters in enumerate(presets)
    ]
    filled, threads = AdapterBank(base), []
    own = bank_module.share_unchanged

    def disturbed(*arguments):
        if not threads:
            threads.append(threading.Thread(target=filled.add, args=('second', paths[1])))
            threads[0].start()
            threads[0].join(timeout=0.5)
        own(*arguments)

    monkeypatch.setattr(bank_module, 'share_unchanged', disturbed)
    filled.add('first', paths[0])
    threads[0].join()
    assert all(torch.equal(base.state_dict()[name], tensor) for name, tensor in before.items())
    assert set(filled.infos()) == {'first', 'second'}


class TakesAPartOut(Adapter):
    """Somebody's own: what LoRA begins with comes out of the frozen weights."""

    @torch.no_grad()
    def attach(self, backbone):
        self.rewritten = []
        for name, layer in find_targets(backbone, ['out_proj'], [torch.nn.Linear]).items():
            lora = LoRALinear(layer, 2)
            lora.up.weight.normal_()
            layer.weight -= lora.up.weight @ lora.down.weight
            self.rewritten.append(layer.weight)
            replace_module(backbone, name, lora)


def test_an_adapter_that_changes_frozen_weights_has_its_own(tmp_path, monkeypatch):
    monkeypatch.setitem(ADAPTERS.module_dict, 'TakesAPartOut', TakesAPartOut)
    base, bank_base, expected = make_base(), make_base(), {}
    bank = AdapterBank(bank_base)
    for adapter in (LORA, dict(type='TakesAPartOut')):
        model = make_classifier([adapter], base=make_base())
        name = adapter['type']
        expected[name] = model(make_images())
        bank.add(name, save_adapter(model, tmp_path, name))
    for name, answer in expected.items():
        assert torch.equal(bank(name, make_images()), answer)
    before = base.state_dict()
    assert all(torch.equal(t, before[name]) for name, t in bank_base.state_dict().items())
    shared = bank.model('TakesAPartOut').backbone.module.layers[0].mixer
    assert shared.in_proj.weight is bank_base.layers[0].mixer.in_proj.weight


def test_a_head_that_an_adapter_file_cannot_hold(tmp_path):
    model = make_classifier([LORA])
    model.head = MODELS.build(dict(type='VisionTransformerClsHead', num_classes=5, in_channels=16))
    with pytest.raises(UserError, match=r'LinearClsHead, .*, found head\.layers\.head\.weight'):
        save_adapter(model, tmp_path)
    path = save_adapter(make_classifier([LORA]), tmp_path, 'good')
    with safe_open(path, framework='pt') as file:
        metadata = file.metadata()
    tensors = {n: t for n, t in load_file(path).items() if not n.startswith('head.')}
    save_file(tensors, path, metadata)
    with pytest.raises(UserError, match=r'good\.safetensors: .*found no head'):
        AdapterBank(make_base()).add('a', path)


def test_what_a_bank_refuses(tmp_path):
    path = save_adapter(make_classifier([LORA]), tmp_path)
    bank = AdapterBank(make_base())
    with pytest.raises(UserError, match="no adapter 'a'; known are none"):
        bank('a', make_images())
    bank.add('a', path)
    with pytest.raises(UserError, match="there is an adapter 'a' already"):
        bank.add('a', path)
    with pytest.raises(UserError, match=r'adapter\.safetensors: .*trained over another base'):
        AdapterBank(make_base(seed=1)).add('a', path)


def test_a_backbone_of_other_names_is_exported_whole(tmp_path):
    given, out = str(tmp_path / 'run.safetensors'), str(tmp_path / 'out.safetensors')
    weights = {'blocks.0.fc.weight': torch.ones(2, 2)}
    whole = {f'backbone.{name}': tensor for name, tensor in weights.items()}
    save_file(whole | {'head.fc.weight': torch.zeros(2, 2)}, given)
    export_backbone(given, out)
    assert load_file(out).keys() == weights.keys()
