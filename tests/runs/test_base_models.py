"""Another backbone in the place of a config's own."""

import pytest
from helpers import DEMO, REPOSITORY

from memba_vision.errors import UserError
from memba_vision.runs.backbone import backbone_of
from memba_vision.runs.base_models import architectures
from memba_vision.runs.config import load_config, method_name, method_of_file, run_name

VTAB = REPOSITORY / 'configs' / 'vtab1k' / 'cifar100_memba.py'


def load(path, options=None, **arguments):
    return load_config(str(path), options or {}, None, **arguments)


@pytest.mark.parametrize('name', architectures())
@pytest.mark.parametrize('path', [DEMO, VTAB], ids=['demo', 'vtab1k'])
def test_every_backbone_goes_into_every_config(path, name):
    config = load(path, backbone=name, peft='lora')
    # The second has other weights alone.
    assert backbone_of(config).arch == name.removesuffix('-v2').replace('-', '_')
    assert config.model.head.num_classes == load(path).model.head.num_classes
    size = config.model.backbone.module.img_size
    resize = [s for s in config.train_dataloader.dataset.pipeline if s['type'] == 'Resize']
    assert [step['scale'] for step in resize] == [(size, size)]
    assert run_name(config) == f'{config.task}_{name}_lora'
    assert method_name(config) == 'lora'


def test_the_method_of_the_config_stays_with_the_settings_of_the_family():
    config = load(VTAB, backbone='vim-mini')
    assert method_name(config) == 'memba'
    assert [(a.type, a.get('rank')) for a in config.model.backbone.adapters] == [
        ('LoRA', 16),
        ('LIM', None),
    ]
    assert config.model.head.in_channels == 96
    assert config.model.neck.type == 'FeatureNorm'
    assert config.work_dir == 'work_dirs/cifar100_vim-mini_memba'


def test_nothing_of_the_backbone_before_is_left():
    config = load(DEMO, backbone='vim-small', peft='lora')
    assert 'neck' not in config.model
    assert config.adapter_settings == {}
    assert config.model.backbone.adapters[0].rank == 64


def test_options_come_after_the_backbone():
    size = {'model.backbone.module.img_size': 32}
    config = load(VTAB, size, backbone='vim-mini')
    assert config.train_dataloader.dataset.pipeline[1]['scale'] == (32, 32)


@pytest.mark.parametrize(
    ('file', 'method'),
    [
        ('digits_lora.py', 'lora'),
        ('digits_vim-mini_lora.py', 'lora'),
        ('digits_lora_in_proj.py', 'lora_in_proj'),
        ('digits_vim-tiny_memba-gate.py', 'memba_gate'),  # as its preset
        ('digits_my-own.py', 'my-own'),
    ],
)
def test_the_method_of_a_file_is_told_from_its_backbone(file, method):
    assert method_of_file(f'configs/demo/{file}', 'digits', None) == method


def test_mistakes_are_said_in_one_line(tmp_path):
    with pytest.raises(
        UserError, match=r'--backbone vim-smal: no such backbone \(did you mean vim-small'
    ):
        load(DEMO, backbone='vim-smal')
    plain = tmp_path / 'plain.py'
    plain.write_text("model = dict(backbone=dict(type='Vim'))\n")
    with pytest.raises(UserError, match=r'plain.py has no model.backbone.module'):
        load(DEMO, backbone=str(plain))
    for model in ('5', 'dict(backbone=5)', "dict(backbone=dict(module='Vim'))"):
        (tmp_path / 'slip.py').write_text(f'model = {model}\n')
        with pytest.raises(UserError, match=r'slip.py has no model.backbone.module'):
            load(DEMO, backbone=str(tmp_path / 'slip.py'))
    (tmp_path / 'slip.py').write_text(
        "model = dict(backbone=dict(module=dict(type='Vim')), head=5)\n"
    )
    with pytest.raises(UserError, match=r'model.head: expected a dict, found 5'):
        load(DEMO, backbone=str(tmp_path / 'slip.py'))
    with pytest.raises(UserError, match=r'--backbone vim-mini: .*plain.py adapts no backbone'):
        load(plain, backbone='vim-mini')
