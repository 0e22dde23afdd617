"""A preset in the place of a config's own method."""

import os
import subprocess
import sys

import pytest
from helpers import CONFIGS, DEMO, IMPORT_ROOT, as_arguments, run_tool, tiny_options

from memba_vision.datasets.tasks import MINI_TASKS, VTAB1K_TASKS
from memba_vision.errors import UserError
from memba_vision.registry import ADAPTERS
from memba_vision.runs.config import load_config, method_name
from memba_vision.runs.presets import preset_names, read_preset

VTAB1K = CONFIGS / 'vtab1k' / 'kitti_memba.py'
LORA_OUT_PROJ = dict(type='LoRA', targets=['out_proj'], rank=96, scale=0.1, drop_rate=0.1)
LORA = "adapters = [dict(type='LoRA', targets=['out_proj'], rank=2, scale=1.0)]"


def load(path, peft, options=None):
    return load_config(str(path), options or {}, None, peft=peft)


@pytest.mark.parametrize('task', [*VTAB1K_TASKS, *MINI_TASKS])
def test_a_preset_fits_every_task(task):
    folder = 'vtab1k' if task in VTAB1K_TASKS else 'demo'
    path = CONFIGS / folder / f'{task}_memba.py'
    config, plain = load(path, 'lora_out_proj'), load_config(str(path), {}, None)
    assert (config.peft, method_name(config)) == ('lora_out_proj', 'lora_out_proj')
    assert config.work_dir == f'work_dirs/{task}_lora_out_proj'
    backbone = config.model.pop('backbone')
    assert backbone.module == plain.model.pop('backbone').module
    assert backbone.keys() == {'type', 'adapters', 'module'}
    assert config.model == plain.model


def test_settings_are_those_of_the_table_or_those_of_the_family():
    assert load(VTAB1K, 'lora_out_proj').model.backbone.adapters == [LORA_OUT_PROJ]
    small = LORA_OUT_PROJ | dict(rank=16, scale=1.0)
    assert load(DEMO, 'lora_out_proj').model.backbone.adapters == [small]


@pytest.mark.parametrize('settings', [{}, dict(rank=16, scale=1.0), dict(rank=16)], ids=str)
def test_rslora_has_the_alpha_of_the_lora_beside_it(settings):
    lora, rslora = (read_preset(name, settings).adapters[0] for name in ('lora', 'rslora'))
    assert rslora.rank == lora.rank
    assert rslora.scale == pytest.approx(lora.rank * lora.scale)  # alpha
    here, there = (ADAPTERS.build(dict(a)).settings['scale'] for a in (rslora, lora))
    assert here == pytest.approx(lora.rank**0.5 * there)


@pytest.mark.parametrize('name', preset_names())
def test_a_family_adds_no_setting_that_an_adapter_does_not_have(name):
    here, there = (load(path, name).model.backbone.adapters for path in (VTAB1K, DEMO))
    assert [adapter.keys() for adapter in here] == [adapter.keys() for adapter in there]


def test_the_demos_of_their_own_equal_the_presets():
    own = load_config(str(CONFIGS / 'demo' / 'digits_lora.py'), {}, None).model.backbone
    assert load(DEMO, 'lora').model.backbone == own


def test_scratch_starts_without_the_weights():
    assert load(VTAB1K, 'scratch').model.backbone.module.init_cfg.checkpoint is None
    assert load(VTAB1K, 'full_fine_tuning').model.backbone.module.init_cfg.checkpoint


def test_options_come_after_the_preset():
    config = load(DEMO, 'lora_out_proj', {'model.backbone.adapters.0.rank': 2})
    assert config.model.backbone.adapters[0].rank == 2


def test_a_preset_may_be_any_file(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("adapters = [dict(type='StateOffset', of='output')]\n")
    config = load(DEMO, str(path))
    assert config.model.backbone.adapters == [dict(type='StateOffset', of='output')]
    assert method_name(config) == 'mine'


def test_a_file_of_ones_own_is_taken_as_it_stands(tmp_path):
    path = tmp_path / 'mine.py'
    adapter = dict(type='LoRA', targets=['out_proj'], rank=5, scale=0.25)
    path.write_text(f'adapters = [{adapter!r}]\n')
    assert load(DEMO, str(path)).model.backbone.adapters == [adapter]


@pytest.mark.parametrize('name', ['lora', 'linear-probing'])
def test_results_of_a_file_of_ones_own_are_not_those_of_a_shipped_method(name, tmp_path):
    shipped = name.replace('-', '_')
    path = tmp_path / f'{name}.py'
    path.write_text(f'{LORA}\n')
    with pytest.raises(UserError, match=f'{shipped} is a shipped method.*another name'):
        load(DEMO, str(path))
    path.write_text((CONFIGS / '_base_' / 'peft' / f'{shipped}.py').read_text())
    assert load(DEMO, str(path)).model.backbone.type == 'PEFTModel'


@pytest.mark.slow
def test_a_method_in_a_package_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / 'own_adapters.py').write_text(
        'from memba_vision.models.peft.lora import LoRA\n'
        'from memba_vision.registry import ADAPTERS\n\n\n'
        "@ADAPTERS.register_module(name='OwnLoRA', force=True)\n"
        'class OwnLoRA(LoRA):\n    pass\n'
    )
    path = tmp_path / 'mine.py'
    path.write_text(
        "custom_imports = dict(imports=['own_adapters'])\n"
        "adapters = [dict(type='OwnLoRA', targets=['out_proj'], rank=2, scale=1.0)]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = load(DEMO, str(path))
    assert config.custom_imports.imports == ['memba_vision', 'own_adapters']
    # Another process has the resolved config alone, as run.json holds it.
    (tmp_path / 'resolved.py').write_text(config.pretty_text)
    code = (
        'from mmengine.config import Config\n'
        'from memba_vision.zoo.models import build_classifier\n'
        "build_classifier(Config.fromfile('resolved.py', import_custom_modules=False))\n"
    )
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join((str(tmp_path), str(IMPORT_ROOT)))}
    subprocess.run([sys.executable, '-c', code], cwd=tmp_path, env=environment, check=True)


def test_what_is_no_preset(tmp_path):
    with pytest.raises(
        UserError, match=r'--peft loro: no such method .did you mean lora.*; known are .*lora_embed'
    ):
        load(DEMO, 'loro')
    path = tmp_path / 'empty.py'
    path.write_text('x = 1\n')
    with pytest.raises(UserError, match='has no list "adapters"'):
        load(DEMO, str(path))
    for text, found in [
        ("adapters = ['LoRA']", "found 'LoRA'"),
        (f'{LORA}\nmodule = 5', 'found 5'),
    ]:
        path.write_text(text)
        with pytest.raises(UserError, match=f'expected to be a dict.*{found}'):
            load(DEMO, str(path))
    with pytest.raises(UserError, match=r'adapts no backbone .*model\.backbone\.module'):
        load(CONFIGS / 'pretrain' / 'vim-mini_shapes.py', 'memba')


def test_train_and_test_with_a_preset(base, data_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = tiny_options(base, data_root)
    del options['model.backbone.rank']
    arguments = [DEMO, '--peft', 'conv1d_tuning', *as_arguments(options)]
    trained = run_tool('train', *arguments)
    assert trained.status == 0, trained
    assert 'digits, conv1d_tuning: test top-1' in trained.out + trained.err
    tested = run_tool('test', *arguments)
    assert '| conv1d_tuning | digits' in tested.out, tested
    assert (tmp_path / 'work_dirs' / 'digits_conv1d_tuning' / 'result.json').is_file()
    other = run_tool('test', *arguments[:2], 'd_tuning', *arguments[3:]).error()
    assert 'no checkpoint in work_dirs/digits_d_tuning' in other
