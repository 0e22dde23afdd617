"""Whole sweeps of real trainings: undisturbed, killed, and on two kinds of cluster."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from helpers import DEMO, EACH_EPOCH, REPOSITORY, as_arguments, run_tool, tiny_options
from processes import start
from script_jobs import status, wait_for

from memba_vision.sweeps.status import is_locked
from memba_vision.weights import read_checkpoint

pytestmark = pytest.mark.slow

EPOCHS = 4
RUNS = ('digits_memba_seed0', 'digits_lora_seed0')
ENVIRONMENT = {
    'OMP_NUM_THREADS': '1',
    'PYTHONPATH': os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / 'tests'))),
}


@pytest.fixture(scope='module', autouse=True)
def _environment():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope='module')
def options(base, data_root) -> dict:
    options = tiny_options(base, data_root, **EACH_EPOCH, **{'train_cfg.max_epochs': EPOCHS})
    del options['model.backbone.rank']  # of Memba's config; presets have lists of adapters
    return {**options, 'optim_wrapper.optimizer.lr': 0.02}


@pytest.fixture(scope='module')
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('config') / 'digits_memba.py'
    path.write_text(
        f'_base_ = {str(DEMO)!r}\n'
        "custom_imports = dict(imports=['memba_vision', 'run_hooks'])\n"
        "custom_hooks = [dict(type='HoldHook')]\n"
    )
    return path


@pytest.fixture(scope='module')
def command(config, options):
    """The command line of the sweep into a folder, without the tool's name."""

    def command(folder: Path, *more: object, **changes: object) -> list:
        settings = as_arguments({**options, **changes})
        methods = ['--methods', 'memba', 'lora']
        place = ['--work-dir', folder, '--gpus-per-run', 0, '--jobs', 2]
        return [config, *methods, *place, *more, *settings]

    return command


@pytest.fixture(scope='module')
def straight(command, tmp_path_factory):
    """The folder of an undisturbed sweep, and what it said."""
    folder = tmp_path_factory.mktemp('straight') / 'sweep'
    outcome = run_tool('sweep', *command(folder))
    assert outcome.status == 0, outcome
    return folder, outcome.out


def start_tool(log: Path, arguments: list):
    return start(log, 'sweep', *arguments, **ENVIRONMENT)


def table(said: str) -> str:
    return said[said.index('| method (') :]


def assert_same_end(folder: Path, expected: Path) -> None:
    for name in RUNS:
        found, wanted = (
            json.loads((path / name / 'result.json').read_text())['top1']
            for path in (folder, expected)
        )
        assert found == wanted
        found, wanted = (
            read_checkpoint(str(path / name / f'epoch_{EPOCHS}.pth'))['state_dict']
            for path in (folder, expected)
        )
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_an_undisturbed_sweep(straight):
    folder, said = straight
    listed = json.loads((folder / 'sweep.json').read_text())['runs']
    assert tuple(run['name'] for run in listed) == RUNS
    assert {run['seed'] for run in listed} == {0}
    assert [run['method'] for run in listed] == ['memba', 'lora']
    for name in RUNS:
        assert status(folder / name)['state'] == 'finished'
        assert 'test top-1' in (folder / name / 'log.txt').read_text()
        assert f'{name} started' in said
    assert said.index('finished') < said.index('| method (1 seed) | adapter parameters | digits |')


def test_the_same_command_again_runs_nothing(straight, command):
    folder, said = straight
    outcome = run_tool('sweep', *command(folder))
    assert (outcome.status, table(outcome.out)) == (0, table(said))
    assert 'started' not in outcome.out
    assert [status(folder / name)['tries'] for name in RUNS] == [1, 1]


def test_fresh_processes_end_with_the_same_bits(straight, command, tmp_path):
    """The runs of the other sweeps on this machine are forks."""
    folder = tmp_path / 'sweep'
    outcome = run_tool('sweep', *command(folder, '--fresh-processes'))
    assert (outcome.status, table(outcome.out)) == (0, table(straight[1]))
    assert_same_end(folder, straight[0])


def test_other_settings_are_refused(straight, command, config):
    folder, _ = straight
    change = {'optim_wrapper.optimizer.lr': 0.01}
    error = run_tool('sweep', *command(folder, **change)).error()
    assert "cfg_options.optim_wrapper.optimizer.lr was '0.02', is '0.01'" in error
    text = config.read_text()
    config.write_text(f'{text}\ndata_preprocessor = dict(to_rgb=False)\n')
    try:
        error = run_tool('sweep', *command(folder)).error()
    finally:
        config.write_text(text)
    assert f'the run {RUNS[0]} was begun with other settings' in error
    assert 'data_preprocessor.to_rgb was True, is False' in error


def test_a_grid_on_validation_data_chooses(command, data_root, tmp_path):
    folder, grid = tmp_path / 'sweep', ('--validate', '--grid', 'scale=0.5,2')
    outcome = run_tool('sweep', *command(folder, *grid))
    assert outcome.status == 0, outcome
    names = [f'digits_{m}_scale{scale}_seed0' for m in ('memba', 'lora') for scale in ('0.5', '2')]
    listed = json.loads((folder / 'sweep.json').read_text())['runs']
    assert [run['name'] for run in listed] == names
    for name in names:
        result = json.loads((folder / name / 'result.json').read_text())
        assert (result['split'], result['test_images']) == ('val200', 8)
        assert result['checkpoint'].endswith(f'epoch_{EPOCHS}.pth')
        config = json.loads((folder / name / 'run.json').read_text())[0]['config']
        assert config['test_dataloader']['dataset']['split'] == 'val200'
    assert 'top-1 (%) on val200 | adapter parameters' in outcome.out
    again = run_tool('sweep', *command(folder, *grid))
    assert 'started' not in again.out
    assert table(again.out) == table(outcome.out)
    assert 'all 4 runs have finished' in run_tool('sweep', *command(folder, *grid, '--plan')).out
    chosen = run_tool('report', folder, '--choose', '--out', tmp_path / 'chosen')
    assert chosen.out.count('**') == 8, chosen
    assert len(list((tmp_path / 'chosen').iterdir())) == 2


def test_a_run_that_fails_is_reported_with_the_end_of_its_log(config, tmp_path):
    diverging = {'optim_wrapper.optimizer.lr': 1e30, 'optim_wrapper.clip_grad': None}
    outcome = run_tool('sweep', config, '--work-dir', tmp_path, *as_arguments(diverging))
    assert outcome.status == 1
    message = 'the loss is nan'
    assert f'digits_memba_seed0 failed: {message}' in outcome.out
    report = outcome.err.split(f'digits_memba_seed0 failed ({tmp_path}/digits_memba_seed0/log.txt')
    assert f'    error: {message}' in report[1]
    assert 'give the same command with --retry-failed' in report[1]


def test_a_killed_sweep_and_a_killed_run(straight, command, tmp_path):
    folder, log = tmp_path / 'sweep', tmp_path / 'log'
    folder.mkdir()
    (folder / 'hold').touch()
    held = [folder / name / 'held' for name in RUNS]

    sweep = start_tool(log, command(folder))
    for path in held:
        wait_for(path, seconds=300)
        path.unlink()
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.join()
    wait_until_free(folder)
    for name in RUNS:
        assert status(folder / name)['state'] == 'stopped'
        assert 'stopped by SIGTERM in epoch 3' in (folder / name / 'log.txt').read_text()

    sweep = start_tool(log, command(folder))
    for path in held:
        wait_for(path, seconds=300)
    os.kill(training_of(folder / RUNS[0]), signal.SIGKILL)
    (folder / 'hold').unlink()
    sweep.join()
    said = log.read_text()
    assert sweep.exitcode == 0, said
    assert 'was killed (SIGKILL' in said
    assert table(said) == table(straight[1])
    assert [status(folder / name)['tries'] for name in RUNS] == [3, 2]
    assert_same_end(folder, straight[0])


def wait_until_free(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while any(is_locked(folder / name) for name in RUNS):
        assert time.monotonic() < deadline, 'trainings outlive their sweep'
        time.sleep(0.05)


def training_of(folder: Path) -> int:
    supervisor = status(folder)['pid']
    return int(Path(f'/proc/{supervisor}/task/{supervisor}/children').read_text().split()[0])


def test_ray_gives_the_same_table(straight, command, tmp_path):
    check_cluster(straight, command, tmp_path, '--executor', 'ray', '--cpus-per-run', 1)


def test_slurm_gives_the_same_table(straight, command, tmp_path):
    options = ['--executor', 'slurm', '--slurm-cluster', 'local', '--cpus-per-run', 1]
    check_cluster(straight, command, tmp_path, *options, '--gpus-per-run', 0)


def check_cluster(straight, command, tmp_path, *options) -> None:
    # In a process of its own: both leave threads and handlers behind.
    folder, log = tmp_path / 'sweep', tmp_path / 'log'
    sweep = start_tool(log, command(folder, *options))
    sweep.join()
    said = log.read_text()
    assert sweep.exitcode == 0, said
    assert table(said) == table(straight[1])
    assert_same_end(folder, straight[0])
