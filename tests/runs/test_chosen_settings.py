"""The settings that were chosen for a method, in every way that leads to a run of it."""

from pathlib import Path

import pytest
from helpers import CONFIGS, DEMO, run_tool
from mmengine.config import Config

from memba_vision.datasets.benchmarks import benchmark_of
from memba_vision.package_data import PRESETS
from memba_vision.runs import chosen_settings
from memba_vision.runs.compared_settings import flat_settings
from memba_vision.runs.config import load_config
from memba_vision.runs.generated_configs import config_text
from memba_vision.runs.trial import Trial
from memba_vision.sweeps import suites
from memba_vision.sweeps.jobs import Options, make_jobs

LR, RANK = 'optim_wrapper.optimizer.lr', 'model.backbone.adapters.0.rank'
DEFAULT = 3e-3
SUITE = benchmark_of('digits')
CHOSEN = {
    'memba': {LR: 0.02, 'scale': 0.5},
    'lora': {LR: 0.005, 'scale': 2.0, RANK: 4, 'param_scheduler.0.end': 3},
    'scratch': {LR: 0.3},  # which takes the weights away
    'linear_probing': {LR: 0.1, 'train_dataloader.batch_size': 16},
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The folder of chosen settings, with those of mini-VTAB and one backbone."""
    folder = tmp_path / 'settings'
    folder.mkdir()
    (folder / f'{SUITE.name}_vim-mini.py').write_text(f'method_settings = {CHOSEN!r}\n')
    monkeypatch.setattr(chosen_settings, 'SETTINGS', folder)
    return folder


@pytest.fixture
def shipped(tmp_path) -> Path:
    """The demo's config of Memba as it is shipped once settings have been chosen."""
    folder = tmp_path / 'shipped'
    arguments = ['--suite', SUITE.name, '--methods', 'memba', '--write-configs', folder]
    assert run_tool('sweep', *arguments).status == 0
    return folder / 'digits_memba.py'


def load(path, options=None, **arguments) -> Config:
    return load_config(str(path), options or {}, 'same', **arguments)


def settings(config: Config) -> dict:
    return flat_settings(config.to_dict(), ('work_dir', 'peft', 'backbone', 'custom_imports'))


@pytest.mark.parametrize('method', [*CHOSEN, 'dora', 'memba_gate'])
def test_every_way_to_a_method_leads_to_the_same_settings(method, shipped, tmp_path):
    generated = tmp_path / 'generated.py'
    generated.write_text(config_text('digits', method, 'vim-mini'))
    written, given = load(generated), load(shipped, peft=method)
    assert written.get('chosen_settings', {}) == CHOSEN.get(method, {})
    ways = {
        'another config': load(DEMO, peft=method),
        'a backbone too': load(shipped, peft=method, backbone='vim-mini'),
        'a sweep': make_jobs([str(shipped)], [method], [0], tmp_path, Options())[0].resolved,
    }
    for name, config in ways.items():
        assert settings(config) == settings(given), name
    model, wanted = written.model.backbone.to_dict(), given.model.backbone.to_dict()
    if method in ('memba', 'memba_gate'):  # whose own model has no list of adapters
        assert model.get('scale') == wanted['adapters'][0]['scale']
        model['adapters'] = wanted['adapters']
    assert model['adapters'] == wanted['adapters']
    for part in ('optim_wrapper', 'param_scheduler', 'train_dataloader', 'train_cfg'):
        assert written[part] == given[part], part


def test_configs_of_the_repository_are_written_as_they_are_there(tmp_path, monkeypatch):
    monkeypatch.setattr(suites, 'CONFIGS', tmp_path)
    (path, *_) = suites.write_suite_configs(SUITE.name, ['lora'], [None], tmp_path / 'demo')
    (tmp_path / '_base_').symlink_to(CONFIGS / '_base_')
    assert "'../_base_/models/vim-mini_lora.py'" in path.read_text()
    assert load(path).optim_wrapper.optimizer.lr == 0.005


def test_what_was_chosen_is_there():
    lora = load(DEMO, peft='lora')
    (adapter,) = lora.model.backbone.adapters
    assert (adapter.scale, adapter.rank, lora.param_scheduler[0].end) == (2.0, 4, 3)
    assert lora.optim_wrapper.optimizer.lr == 0.005
    probe = load(DEMO, peft='linear_probing')
    assert (probe.optim_wrapper.optimizer.lr, probe.train_dataloader.batch_size) == (0.1, 16)


def test_a_method_without_a_choice_has_the_recipe_of_the_benchmark(shipped):
    config = load(shipped, peft='dora')
    assert config.optim_wrapper.optimizer.lr == DEFAULT
    assert config.model.backbone.adapters[0].scale == 1.0
    assert 'chosen_settings' not in config


def test_options_come_after_what_was_chosen(shipped):
    config = load(shipped, {LR: 1e-4, RANK: 7}, peft='lora')
    assert config.optim_wrapper.optimizer.lr == 1e-4
    assert config.model.backbone.adapters[0].rank == 7


@pytest.mark.parametrize('method', ['lora', 'memba', None])
def test_a_choice_does_not_depend_on_an_earlier_one(shipped, tmp_path, method):
    """What is written holds what was tried alone, so the rest has to be as it was without."""
    tried = Trial({'optim_wrapper.optimizer.weight_decay': '0'}, validate=True)
    config = load(shipped, peft=method, trial=tried)
    assert config.optim_wrapper.optimizer.lr == DEFAULT
    assert config.model.backbone.adapters[0].scale == 1.0
    assert config.model.backbone.adapters[0].rank == 16
    assert 'chosen_settings' not in config
    grid = [{'optim_wrapper.optimizer.weight_decay': '0'}]
    options = Options(validate=True)
    methods = [method] if method else []
    (job,) = make_jobs([str(shipped)], methods, [0], tmp_path, options, grid=grid)
    assert settings(job.resolved) == settings(config)
    # Without a grid, validation judges what was chosen; a grid on the test goes around it.
    for trial in (Trial(validate=True), Trial(tried.settings)):
        config = load(shipped, peft=method or 'memba', trial=trial)
        assert config.optim_wrapper.optimizer.lr == CHOSEN[method or 'memba'][LR]


def test_what_the_users_own_config_says_stays(shipped, tmp_path):
    mine = tmp_path / 'mine.py'
    mine.write_text(f'_base_ = {str(shipped)!r}\noptim_wrapper = dict(optimizer=dict(lr=7e-4))\n')
    for method in ('lora', 'dora', 'memba'):
        assert load(mine, peft=method).optim_wrapper.optimizer.lr == 7e-4
    # What it does not say is that of the method.
    mine.write_text(f'_base_ = {str(shipped)!r}\ntrain_cfg = dict(max_epochs=5)\n')
    assert load(mine, peft='lora').optim_wrapper.optimizer.lr == 0.005
    assert load(mine, peft='lora').train_cfg.max_epochs == 5
    assert load(mine).optim_wrapper.optimizer.lr == 0.02


def test_a_file_of_the_users_own_gets_nothing(shipped, tmp_path):
    preset = tmp_path / 'lora.py'
    preset.write_bytes((PRESETS / 'lora.py').read_bytes())
    config = load(shipped, peft=str(preset))
    assert config.optim_wrapper.optimizer.lr == DEFAULT
    assert 'chosen_settings' not in config
    preset = tmp_path / 'mine.py'
    preset.write_text("adapters = [dict(type='LoRA', targets=['in_proj'], rank=3, scale=0.1)]\n")
    config = load(shipped, peft=str(preset))
    assert config.optim_wrapper.optimizer.lr == DEFAULT
    assert config.model.backbone.adapters[0].scale == 0.1


@pytest.mark.parametrize('backbone', ['vit-mini', 'vim-tiny'])
@pytest.mark.parametrize('method', ['lora', None])
def test_another_backbone_has_settings_of_its_own(shipped, folder, backbone, method):
    config = load(shipped, backbone=backbone, peft=method)
    assert config.optim_wrapper.optimizer.lr == DEFAULT
    assert 'chosen_settings' not in config
    text = f'method_settings = {{{method or "memba"!r}: {{{LR!r}: 0.3}}}}\n'
    (folder / f'{SUITE.name}_{backbone}.py').write_text(text)
    config = load(shipped, backbone=backbone, peft=method)
    assert config.optim_wrapper.optimizer.lr == 0.3


def test_other_weights_have_none(shipped, tmp_path):
    mine = tmp_path / 'vim-mini.py'
    mine.write_text(
        f'_base_ = {str(CONFIGS / "_base_" / "models" / "vim-mini.py")!r}\n'
        "model = dict(backbone=dict(module=dict(init_cfg=dict(checkpoint='other.pth'))))\n"
    )
    config = load(shipped, backbone=str(mine), peft='lora')
    assert config.optim_wrapper.optimizer.lr == DEFAULT
    assert load(shipped, backbone='vim-mini', peft='scratch').optim_wrapper.optimizer.lr == 0.3


@pytest.mark.parametrize('config', ['custom/vim-mini-v2_memba.py', 'vtab1k/kitti_memba.py'])
def test_other_tasks_have_none(config, tmp_path, monkeypatch):
    path = CONFIGS / config
    if 'custom' in config:
        text = path.read_text().replace('own_task(data_root, task).num_classes', '3')
        path = tmp_path / 'flowers_memba.py'
        path.write_text(text.replace("'../_base_", f"'{CONFIGS}/_base_"))
    plain = load(path)
    for method in ('lora', 'memba'):
        config = load(path, peft=method)
        assert config.optim_wrapper == plain.optim_wrapper
        assert 'chosen_settings' not in config
