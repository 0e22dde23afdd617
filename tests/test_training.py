"""Whole runs of the tools on a tiny model and a few images."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from helpers import (
    CONFIGS,
    DEMO,
    EACH_EPOCH,
    ENVIRONMENT,
    as_arguments,
    command,
    config_with_hook,
    make_task,
    run_tool,
    tiny_options,
)
from mmengine.config import Config
from safetensors.torch import load_file

from memba_vision.engine.runner import ReadableRunner
from memba_vision.errors import UserError
from memba_vision.files import CURVE_FILE
from memba_vision.reports.collect import collect_runs
from memba_vision.reports.curves import loss_curve
from memba_vision.runs.config import load_config
from memba_vision.runs.training import resume_from
from memba_vision.weights import read_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def options(base, data_root) -> dict:
    return tiny_options(base, data_root, **EACH_EPOCH, **{'train_cfg.max_epochs': 4})


@pytest.fixture(scope='module')
def straight(options, tmp_path_factory) -> Path:
    """The folder of four epochs in one go; console.txt is what it said."""
    work_dir = tmp_path_factory.mktemp('straight')
    (work_dir / 'console.txt').write_text(train(options, work_dir))
    return work_dir


@pytest.fixture(scope='module')
def killed(options, tmp_path_factory) -> Path:
    """The folder of the same run, killed in the middle of its third epoch."""
    work_dir = tmp_path_factory.mktemp('killed')
    config = config_with_hook(work_dir.parent / 'paused.py', 'PauseHook')
    process = subprocess.Popen(
        command('train', config, work_dir, options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == 'half way\n':
            break
    process.kill()
    process.wait()
    assert lines[-1] == 'half way\n', ''.join(lines)
    assert {path.name for path in work_dir.glob('*.pth')} == {'epoch_1.pth', 'epoch_2.pth'}
    return work_dir


@pytest.fixture
def half(killed, tmp_path) -> Path:
    """A copy of the killed run's folder that a test may change."""
    return shutil.copytree(killed, tmp_path / 'half')


def train(options: dict, work_dir: Path, *arguments: object) -> str:
    outcome = run_tool('train', DEMO, '--work-dir', work_dir, *arguments, *as_arguments(options))
    assert outcome.status == 0, outcome
    return outcome.out + outcome.err


def accuracy(work_dir: Path) -> float:
    return json.loads((work_dir / 'result.json').read_text())['top1']


def assert_equal(found: object, wanted: object) -> None:
    """Compare nested dicts and lists; tensors by their bits."""
    if isinstance(wanted, torch.Tensor):
        assert torch.equal(found, wanted)
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        assert_equal(list(found.values()), list(wanted.values()))
    elif isinstance(wanted, list | tuple):
        for pair in zip(found, wanted, strict=True):
            assert_equal(*pair)
    else:
        assert found == wanted


def assert_same_end(work_dir: Path, expected: Path) -> None:
    found, wanted = (read_checkpoint(str(d / 'epoch_4.pth')) for d in (work_dir, expected))
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_equal(found[part], wanted[part])
    assert found['meta']['iter'] == wanted['meta']['iter'] == 16
    assert accuracy(work_dir) == accuracy(expected)


def test_training_ends_with_its_test_accuracy(straight):
    result = json.loads((straight / 'result.json').read_text())
    assert result['task'] == 'digits'
    assert result['method'] == 'memba'
    assert result['test_images'] == 20
    assert result['seed'] == 0
    assert result['config'] == str(DEMO)
    assert result['checkpoint'] == str(straight / 'epoch_4.pth')
    # 2 layers x 2 projections, rank 2: in_proj 16 -> 64, out_proj 32 -> 16; head 16 -> 10.
    assert result['adapter_parameters'] == 2 * 2 * ((16 + 64) + (32 + 16))
    assert result['trained_parameters'] == 512 + 170
    console = (straight / 'console.txt').read_text()
    assert f'digits, memba: test top-1 {result["top1"]:.2f} % of 20 images' in console
    assert 'Trained parameters: 512 in the adapters + 170 in the head = 682 of 14,' in console


def test_checkpoint_holds_adapters_head_and_header_alone(straight):
    checkpoint = read_checkpoint(str(straight / 'epoch_4.pth'))
    state_dict = checkpoint['state_dict']
    header = json.loads(bytes(state_dict.pop('backbone.peft_header').tolist()))
    assert [adapter['type'] for adapter in header['adapters']] == ['LoRA', 'LIM']
    assert header['method'] == 'MembaModel'
    assert all(
        re.search(r'\.(up|down)\.weight$|^(head\.fc|neck\.bn)\.', name) for name in state_dict
    )
    assert sum(tensor.numel() for tensor in state_dict.values()) == 682 + 2 * 16 + 1
    assert len(checkpoint['optimizer']['state']) == len(state_dict) - 3  # the neck's statistics


def test_checkpoints_load_without_allowing_any_type(straight):
    assert torch.load(straight / 'epoch_4.pth', weights_only=True)['meta']['epoch'] == 4


def test_old_checkpoints_are_removed(straight):
    assert {path.name for path in straight.glob('*.pth')} == {'epoch_3.pth', 'epoch_4.pth'}
    assert not list(straight.glob('.*')), 'a temporary file was left behind'


def test_the_newest_checkpoint_is_tested(options, straight):
    trained = accuracy(straight)
    outcome = run_tool('test', DEMO, '--work-dir', straight, *as_arguments(options))
    assert outcome.status == 0
    assert f'Loaded {straight / "epoch_4.pth"}' in outcome.out
    assert re.search(rf'\| memba +\| digits +\| Mini +\| +{trained:.2f} \| +682 \|', outcome.out)
    assert accuracy(straight) == trained


def test_a_named_checkpoint_is_tested(options, straight, tmp_path):
    checkpoint = straight / 'epoch_3.pth'
    outcome = run_tool('test', DEMO, checkpoint, '--work-dir', tmp_path, *as_arguments(options))
    assert outcome.status == 0
    assert json.loads((tmp_path / 'result.json').read_text())['checkpoint'] == str(checkpoint)


def test_several_configs_make_one_table(base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for task in ('digits', 'sprites_location'):
        make_task(tmp_path / 'data', task, train=6, val=2, test=5)
    options = as_arguments(tiny_options(base, tmp_path / 'data'))
    configs = [CONFIGS / f'demo/{task}_memba.py' for task in ('sprites_location', 'digits')]
    for config in configs:
        assert run_tool('train', config, *options).status == 0
    results = [
        json.loads(Path('work_dirs', config.stem, 'result.json').read_text()) for config in configs
    ]
    outcome = run_tool('test', *configs, '--out', 'table.json', *options)
    assert outcome.status == 0
    assert json.loads(Path('table.json').read_text()) == results
    table = [line for line in outcome.out.splitlines() if line.startswith('| ')]
    assert [line.split()[3] for line in table[2:]] == [
        'digits',
        'sprites_location',
        'Mini',
        'average',
    ]
    assert f'{(results[0]["top1"] + results[1]["top1"]) / 2:.2f}' in table[-1]
    assert '2 of 3 tasks' in table[-1]


def test_frozen_weights_stay_bitwise_the_same(options, base, tmp_path):
    runner = ReadableRunner.from_cfg(load_config(str(DEMO), options, str(tmp_path)))
    head = runner.model.head.fc.weight.clone()
    runner.train()
    module = runner.model.backbone.module
    adapters = runner.model.backbone.adapter_parameters()
    frozen = {
        name.replace('.base_layer', ''): tensor
        for name, tensor in module.state_dict().items()
        if name not in adapters
    }
    before = load_file(base)
    assert frozen.keys() == before.keys()
    assert all(torch.equal(frozen[name], before[name]) for name in before)
    assert all(tensor.any() for name, tensor in adapters.items() if '.up.' in name)
    assert not torch.equal(runner.model.head.fc.weight, head)


def test_a_killed_run_resumes_and_ends_as_it_would_have(options, half, straight):
    console = train(options, half, '--resume')
    assert f'Loaded {half / "epoch_2.pth"}' in console
    assert 'epoch 2/4' not in console
    assert_same_end(half, straight)


def test_resume_from_a_named_checkpoint(options, half, straight):
    assert 'resumed epoch: 1' in train(options, half, '--resume', half / 'epoch_1.pth')
    assert_same_end(half, straight)


def test_resume_passes_over_a_truncated_checkpoint(options, half, straight):
    newest = half / 'epoch_2.pth'
    os.truncate(newest, newest.stat().st_size // 2)
    console = train(options, half, '--resume')
    assert 'passed over' in console
    assert f'Loaded {half / "epoch_1.pth"}' in console
    assert_same_end(half, straight)


def test_resume_without_a_readable_checkpoint_starts_again(options, half, straight):
    for checkpoint in half.glob('*.pth'):
        checkpoint.write_bytes(b'')
    assert 'epoch 1/4' in train(options, half, '--resume')
    assert_same_end(half, straight)


@pytest.mark.parametrize('content', [b'', b'/nowhere/epoch_9.pth', b'\xff\x00'])
def test_a_damaged_file_last_checkpoint_does_no_harm(options, half, straight, content):
    (half / 'last_checkpoint').write_bytes(content)
    assert 'resumed epoch: 2' in train(options, half, '--resume')
    assert_same_end(half, straight)


def test_resume_with_nothing_there_starts_from_scratch(options, straight, tmp_path):
    assert 'resumed' not in train(options, tmp_path / 'new', '--resume')
    assert_same_end(tmp_path / 'new', straight)


def test_a_folder_called_auto_is_not_what_resume_auto_means(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('auto').mkdir()
    torch.save({'meta': {'iter': 5, 'epoch': 1}, 'state_dict': {}}, 'auto/epoch_1.pth')
    config = Config(dict(work_dir=str(tmp_path / 'new')))
    resume_from(config, 'auto')
    assert not config.resume
    resume_from(config, './auto')
    assert Path(config.load_from).parent == tmp_path / 'auto'


def test_resume_after_the_end_only_tests(options, straight, tmp_path):
    work_dir = shutil.copytree(straight, tmp_path / 'again')
    (work_dir / 'result.json').unlink()
    assert 'epoch 4/4' not in train(options, work_dir, '--resume')
    assert_same_end(work_dir, straight)


def test_a_test_of_another_checkpoint_leaves_the_result_of_a_run(options, straight, tmp_path):
    work_dir = shutil.copytree(straight, tmp_path / 'again')
    before = (work_dir / 'result.json').read_text()
    torch.save(read_checkpoint(str(work_dir / 'epoch_4.pth')), work_dir / 'other.pth')
    test = ['test', DEMO, work_dir / 'other.pth', '--work-dir', work_dir, *as_arguments(options)]
    assert run_tool(*test).status == 0
    assert (work_dir / 'result.json').read_text() == before
    assert json.loads((work_dir / 'result_other.json').read_text())['checkpoint'].endswith('r.pth')
    starts = json.loads((work_dir / 'run.json').read_text())
    assert starts[-1]['finished']
    starts[-1]['finished'] = None  # while it is running
    (work_dir / 'run.json').write_text(json.dumps(starts))
    (work_dir / 'result.json').unlink()
    assert run_tool(*test).status == 0
    with pytest.raises(UserError, match='train something first'):
        collect_runs(work_dir)


def test_the_losses_of_all_epochs_are_recorded(straight, tmp_path):
    logs = shutil.copytree(straight, tmp_path / 'logs', ignore=lambda *_: [CURVE_FILE])
    assert list(loss_curve(straight)) == [1, 2, 3, 4]
    assert loss_curve(straight).keys() == loss_curve(logs).keys()


def test_seed_changes_a_run_and_repeats_it(options, straight, tmp_path):
    first, second, zero = (
        read_checkpoint(str(work_dir / 'epoch_4.pth'))['state_dict']
        for work_dir in (tmp_path / '1', tmp_path / '2', straight)
        if work_dir == straight or train(options, work_dir, '--seed', 7)
    )
    assert_equal(first, second)
    assert not torch.equal(first['head.fc.weight'], zero['head.fc.weight'])
    assert json.loads((tmp_path / '1' / 'result.json').read_text())['seed'] == 7


def test_amp_trains_on_a_cpu(options, tmp_path):
    options = {**options, 'optim_wrapper.optimizer.lr': 1e-4}
    train(options, tmp_path / 'plain')
    train(options, tmp_path / 'amp', '--amp')
    wanted, found = (
        read_checkpoint(str(tmp_path / name / 'epoch_4.pth'))['state_dict']['head.fc.weight']
        for name in ('plain', 'amp')
    )
    assert not torch.equal(found, wanted), 'nothing ran in lower precision'
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-3)


def test_the_config_may_lower_the_learning_rate_on_resuming(options, half):
    train({**options, 'optim_wrapper.optimizer.lr': 1e-7}, half, '--resume')
    groups = read_checkpoint(str(half / 'epoch_4.pth'))['optimizer']['param_groups']
    assert all(group['initial_lr'] == pytest.approx(1e-7) for group in groups)


def test_another_schedule_is_not_gone_on_with(options, half):
    longer = {**options, 'train_cfg.max_epochs': 9}
    arguments = ['--work-dir', half, '--resume', *as_arguments(longer)]
    assert 'its schedule ends at step' in run_tool('train', DEMO, *arguments).error()


def test_a_new_training_in_the_folder_of_an_earlier_one(options, half):
    before = {path.name for path in half.glob('*.pth')}
    train({**options, 'optim_wrapper.optimizer.lr': 1e-4}, half)
    (earlier,) = half.glob('earlier_*')
    assert {path.name for path in earlier.glob('*.pth')} == before
    assert not list(earlier.glob('result.json'))
    assert accuracy(half)


def test_weights_to_start_from_may_lie_in_the_folder(options, half):
    start = half / 'epoch_1.pth'
    train({**options, 'load_from': start}, half)
    (earlier,) = half.glob('earlier_*')
    assert [path.name for path in earlier.glob('*.pth')] == ['epoch_2.pth']


def test_a_resumed_run_keeps_the_seed_of_its_start(options, tmp_path):
    wanted = tmp_path / 'wanted'
    train(options, wanted, '--seed', 7)
    found = tmp_path / 'found'
    found.mkdir()
    shutil.copy(wanted / 'epoch_3.pth', found)
    train(options, found, '--resume')
    assert_same_end(found, wanted)
    assert json.loads((found / 'result.json').read_text())['seed'] == 7


def test_the_seed_of_a_tested_checkpoint_is_that_of_its_training(options, tmp_path):
    train(options, tmp_path, '--seed', 7)
    run_tool('test', DEMO, '--work-dir', tmp_path, *as_arguments(options))
    assert json.loads((tmp_path / 'result.json').read_text())['seed'] == 7


def test_resuming_with_processes_that_load_data(options, tmp_path):
    loaders = {
        'train_dataloader.num_workers': 1,
        'train_dataloader.persistent_workers': True,
        'default_hooks.checkpoint.max_keep_ckpts': 9,
    }
    wanted, found = tmp_path / 'wanted', tmp_path / 'found'
    train(options | loaders, wanted)
    found.mkdir()
    shutil.copy(wanted / 'epoch_2.pth', found)
    train(options | loaders, found, '--resume')
    assert_same_end(found, wanted)
