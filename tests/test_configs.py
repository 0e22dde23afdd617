from pathlib import Path

import pytest
import torch
from helpers import CONFIGS, make_task
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner

from memba_vision.datasets.tasks import MINI1_TASKS, MINI2_TASKS, MINI_TASKS, VTAB1K_TASKS
from memba_vision.engine.runner import ReadableRunner
from memba_vision.registry import MODELS
from memba_vision.runs.config import load_config

VTAB1K = {task: CONFIGS / 'vtab1k' / f'{task}_memba.py' for task in VTAB1K_TASKS}
DEMO = {
    f'{task}_{method}': CONFIGS / 'demo' / f'{task}_{method}.py'
    for task in MINI1_TASKS
    for method in ('memba', 'memba-gate', 'lora', 'linear-probing')
} | {f'{task}_memba': CONFIGS / 'demo' / f'{task}_memba.py' for task in MINI2_TASKS}
every_config = pytest.mark.parametrize(
    'path', [*VTAB1K.values(), *DEMO.values()], ids=lambda p: p.stem
)


def load(path: Path, **options) -> Config:
    options = {'model.backbone.module.init_cfg.checkpoint': None, **options}
    return load_config(str(path), options, 'unused')


def build_model(config: Config) -> torch.nn.Module:
    init_default_scope('mmpretrain')
    return MODELS.build(config.model)


def shrink(config: Config) -> Config:
    config.model.backbone.module.arch = dict(embed_dims=16, num_layers=2)
    config.model.head.in_channels = 16
    if 'neck' in config.model:
        config.model.neck.input_features = 16
    return config


@every_config
def test_config_builds_its_model_and_its_data(path, tmp_path):
    config = shrink(load(path))
    task = (VTAB1K_TASKS | MINI_TASKS)[config.task]
    make_task(tmp_path, task.name)
    model = build_model(config)
    assert model.head.fc.out_features == task.num_classes
    for loader, size in ((config.train_dataloader, 6), (config.test_dataloader, 3)):
        dataset = DATASETS.build({**loader.dataset, 'data_root': str(tmp_path)})
        assert len(dataset) == size
        batch = {key: [dataset[i][key] for i in range(2)] for key in dataset[0]}
        with torch.no_grad():
            loss = model(**model.data_preprocessor(batch), mode='loss')['loss']
        assert torch.isfinite(loss)


def test_configs_differ_only_where_tasks_differ():
    plain = []
    for name, path in VTAB1K.items():
        config = load(path).to_dict()
        assert config.pop('task') == name
        assert config['train_dataloader']['dataset'].pop('task') == name
        assert config['test_dataloader']['dataset'].pop('task') == name
        assert config['model']['head'].pop('num_classes') == VTAB1K_TASKS[name].num_classes
        assert config.pop('work_dir') == 'unused'
        plain.append(config)
    assert all(config == plain[0] for config in plain)


@pytest.fixture
def runner(tmp_path, request) -> Runner:
    """A run of the recipe on a small model, with 4 steps of 8 images an epoch."""
    make_task(tmp_path, 'kitti', train=24, val=8, test=2)
    options = {
        'train_cfg.max_epochs': getattr(request, 'param', 100),
        'train_dataloader.batch_size': 8,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_dataloader.dataset.data_root': str(tmp_path),
    }
    config = shrink(load(VTAB1K['kitti'], **options))
    config.work_dir = str(tmp_path / 'work')
    runner = ReadableRunner.from_cfg(config)
    assert runner.train_loop.max_iters == 4 * config.train_cfg.max_epochs
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    return runner


def test_images_are_normalised_as_rgb(runner):
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    # As the pipeline packs them: uint8, channels in the order blue, green, red.
    rgb = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    inputs = runner.model.data_preprocessor({'inputs': [rgb.flip(0)]})['inputs'][0]
    expected = (rgb / 255 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(inputs, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('runner', [100, 30], indirect=True)
def test_learning_rate_warms_up_and_decays_to_its_end(runner):
    rates = []
    for _ in range(runner.max_iters):
        rates.append(runner.optim_wrapper.get_lr()['lr'][0])
        runner.optim_wrapper.optimizer.step()
        for scheduler in runner.param_schedulers:
            scheduler.step()
    steps = len(rates) // 10  # whatever the number of epochs
    warm_up, decay = rates[:steps], rates[steps:]
    assert warm_up[0] == pytest.approx(1e-6)
    # mmengine's linear part reaches the full rate at its last step.
    assert warm_up == pytest.approx([1e-6 + (1e-3 - 1e-6) * i / (steps - 1) for i in range(steps)])
    phase = torch.arange(len(decay)) * torch.pi / len(decay)
    assert decay == pytest.approx((1e-5 + (1e-3 - 1e-5) * (1 + phase.cos()) / 2).tolist(), rel=1e-4)
    assert rates[-1] == pytest.approx(1e-5, rel=0.1)


def test_optimizer_holds_what_trains_and_decays_no_vector(runner):
    names = {parameter: name for name, parameter in runner.model.named_parameters()}
    groups = runner.optim_wrapper.optimizer.param_groups
    held = {names[p]: group['weight_decay'] for group in groups for p in group['params']}
    trainable = {name for name, p in runner.model.named_parameters() if p.requires_grad}
    assert held.keys() == trainable
    assert {name for name, decay in held.items() if decay == 0} == {'head.fc.bias'}
    assert {decay for name, decay in held.items() if name != 'head.fc.bias'} == {1e-4}


@every_config
def test_configs_work_from_another_folder(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load(path).task in path.stem
