"""Runs of two processes over gloo: their results, and their ends."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from helpers import (
    DEMO,
    ENVIRONMENT,
    as_arguments,
    command,
    config_with_hook,
    make_task,
    run_tool,
    tiny_options,
)
from processes import start

from memba_vision.models.peft.model import parse_header
from memba_vision.weights import read_checkpoint

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as free:
        free.bind(('localhost', 0))
        return free.getsockname()[1]


def start_two_processes(*arguments: str) -> subprocess.Popen:
    """Start torch's launcher; both processes and it are in one group."""
    torchrun = ['-m', 'torch.distributed.run', '--nproc_per_node=2', f'--master-port={free_port()}']
    python, tool, *others = arguments
    return subprocess.Popen(
        [python, *torchrun, tool, *others],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )


def in_two_processes(config: Path, work_dir: Path, options: dict, *arguments: str):
    """Train; the ended process with its output."""
    line = command('train', config, work_dir, options, '--launcher', 'pytorch', *arguments)
    process = start_two_processes(*line)
    out, _ = process.communicate(timeout=300)
    return subprocess.CompletedProcess(line, process.returncode, out)


def trained_in_two_forks(log: Path, config: Path, options: dict, *arguments: object) -> str:
    """Train to the end without torch's launcher, which takes longer than that; the output."""
    shared = dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()))
    line = [config, '--launcher', 'pytorch', *arguments, *as_arguments(options)]
    ranks = [start(log, 'train', *line, RANK=r, LOCAL_RANK=r, **shared) for r in ('0', '1')]
    for rank in ranks:
        rank.join(300)
    assert [rank.exitcode for rank in ranks] == [0, 0], log.read_text()
    return log.read_text()


def accuracy(work_dir: Path) -> float:
    return json.loads((work_dir / 'result.json').read_text())['top1']


@pytest.fixture
def options(base, tmp_path) -> dict:
    """Six epochs of two steps, of which the last checkpoint alone is written unasked."""
    make_task(tmp_path / 'data', 'digits', train=12, val=4, test=6)
    settings = {'train_dataloader.batch_size': 4, 'train_cfg.max_epochs': 6}
    settings['default_hooks.checkpoint.interval'] = 6
    return tiny_options(base, tmp_path / 'data', **settings)


def names_of_checkpoints(folder: Path) -> set[str]:
    return {path.name for path in folder.glob('*.pth')}


def errors(run) -> list[str]:
    """What the two processes said at their end."""
    return [line for line in run.stdout.splitlines() if line.startswith(('error: ', 'stopped '))]


@pytest.mark.parametrize('everyone', [False, True])
def test_a_signal_to_one_or_to_all_ends_both(options, tmp_path, everyone):
    if not everyone:
        config = config_with_hook(tmp_path / 'digits_memba.py', 'SignalOneRankHook')
        run = in_two_processes(config, tmp_path, options)
    else:
        config = config_with_hook(tmp_path / 'digits_memba.py', 'HoldHook')
        (tmp_path.parent / 'hold').touch()
        line = command('train', config, tmp_path, options, '--launcher', 'pytorch')
        process = start_two_processes(*line)
        deadline = time.monotonic() + 120
        while not (tmp_path / 'held').exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        (tmp_path.parent / 'hold').unlink()
        os.killpg(process.pid, signal.SIGTERM)
        run = subprocess.CompletedProcess(line, process.wait(60), process.stdout.read())
    assert run.returncode != 0
    assert [line[:29] for line in errors(run)] == ['stopped by SIGTERM in epoch 3'] * 2, run.stdout
    assert names_of_checkpoints(tmp_path) == {'epoch_2.pth'}


@pytest.mark.parametrize(
    ('hook', 'reason', 'interval'),
    [
        ('NaNOneRankHook', 'the loss is nan at step 5 (epoch 3, batch 1)', 6),
        ('FullDiskOneRankHook', 'cannot write ', 2),
        ('FailOneRankHook', 'no such thing', 6),
    ],
)
def test_one_process_that_fails_ends_both_with_its_reason(
    options, tmp_path, hook, reason, interval
):
    config = config_with_hook(tmp_path / 'digits_memba.py', hook)
    settings = {'default_hooks.checkpoint.interval': interval}
    began = time.monotonic()
    run = in_two_processes(config, tmp_path, options | settings)
    assert time.monotonic() - began < 120
    assert run.returncode != 0
    told = [line for line in errors(run) if reason in line]
    assert len(told) == (1 if hook == 'FailOneRankHook' else 2), run.stdout
    assert sum('ended with process' in line for line in told) == 1
    assert names_of_checkpoints(tmp_path) == {'epoch_2.pth'}


def test_one_process_that_is_killed_ends_the_other_which_saves(options, tmp_path):
    config = config_with_hook(tmp_path / 'digits_memba.py', 'KillOneRankHook')
    run = in_two_processes(config, tmp_path, options)
    assert run.returncode != 0
    assert run.stdout.count('another process of this run is gone') == 1, run.stdout
    assert names_of_checkpoints(tmp_path) == {'epoch_2.pth'}


def test_a_process_that_hangs_is_ended_with_the_other(options, tmp_path):
    config = config_with_hook(tmp_path / 'digits_memba.py', 'HangOneRankHook')
    run = in_two_processes(config, tmp_path, options)
    assert run.returncode != 0
    assert len([line for line in errors(run) if 'it broke' in line]) == 2, run.stdout


def test_both_go_on_from_what_the_first_one_finds(options, tmp_path):
    """Here each process looks into a folder of its own, and the other's is empty."""
    config = tmp_path / 'digits_memba.py'
    text = f'_base_ = {str(DEMO)!r}\nwork_dir = {str(tmp_path)!r} + "/rank{{{{$RANK:0}}}}"\n'
    config.write_text(text)
    options = options | {'default_hooks.checkpoint.interval': 2}
    for _ in range(2):
        out = trained_in_two_forks(tmp_path / 'log', config, options, '--resume')
        for name in ('epoch_6.pth', 'result.json'):
            (tmp_path / 'rank0' / name).unlink()
    assert 'resumed epoch: 4' in out


def test_two_processes_without_a_checkpoint_of_their_own(base, tmp_path):
    make_task(tmp_path / 'data', 'digits', train=12, val=4, test=6)
    settings = {'train_dataloader.batch_size': 4, 'default_hooks.checkpoint.interval': 10}
    options = tiny_options(base, tmp_path / 'data', **settings)
    trained_in_two_forks(tmp_path / 'log', DEMO, options, '--work-dir', tmp_path)
    assert accuracy(tmp_path) >= 0


def test_two_processes_on_a_cpu(base, tmp_path):
    make_task(tmp_path / 'data', 'digits', train=24, val=8, test=21)
    options = tiny_options(base, tmp_path / 'data', **{'train_dataloader.batch_size': 4})
    config = config_with_hook(tmp_path / 'digits_memba.py', 'RankReportHook')
    run = in_two_processes(config, tmp_path, options)
    assert run.returncode == 0, run.stdout
    reports = [json.loads((tmp_path / f'rank{rank}.json').read_text()) for rank in (0, 1)]
    assert reports[0] == reports[1]
    trained = accuracy(tmp_path)
    assert trained == reports[0]['metrics']['accuracy/top1']
    # Each process takes 4 images of 8 a step; the last of 21 test images is counted once.
    assert read_checkpoint(str(tmp_path / 'epoch_2.pth'))['meta']['iter'] == 8
    assert trained * 21 / 100 == pytest.approx(round(trained * 21 / 100), abs=1e-4)
    again = run_tool('train', DEMO, '--work-dir', tmp_path, '--resume', *as_arguments(options))
    assert (again.status, accuracy(tmp_path)) == (0, trained)


@pytest.fixture
def selecting(base, tmp_path) -> dict:
    """Settings of a run with 20 training images, by four in each process."""
    make_task(tmp_path / 'data', 'digits', train=16, val=4, test=6)
    options = tiny_options(base, tmp_path / 'data', **{'train_dataloader.batch_size': 4})
    del options['model.backbone.rank']
    return options


def choices_of(adapters: list[dict]) -> list[dict]:
    return [adapter['choice'] for adapter in adapters]


@pytest.mark.parametrize('method', ['gps', 'sdt', 'eva', 'spt_lora'])
def test_two_processes_choose_the_same_by_all_images(selecting, tmp_path, method):
    config = config_with_hook(tmp_path / 'digits_memba.py', 'RankReportHook')
    more = ('--work-dir', tmp_path, '--peft', method)
    trained_in_two_forks(tmp_path / 'log', config, selecting, *more)
    reports = [json.loads((tmp_path / f'rank{rank}.json').read_text()) for rank in (0, 1)]
    assert reports[0] == reports[1]
    record = json.loads((tmp_path / 'selection.json').read_text())
    assert (record['images'], record['processes']) == (20, 2)
    weights = read_checkpoint(str(tmp_path / 'epoch_2.pth'))['state_dict']
    header = parse_header(weights['backbone.peft_header'])
    assert header['selection'] == {k: record[k] for k in ('images', 'seconds', 'processes')}
    for adapters in (header['adapters'], reports[1]['adapters']):
        assert choices_of(adapters) == record['choices']


def end_by_a_kill(options: dict, work_dir: Path, hook: str, **settings) -> None:
    """Run until one of two processes is killed by a hook, and check how the other ends."""
    config = config_with_hook(work_dir / 'digits_memba.py', hook, **settings)
    run = in_two_processes(config, work_dir, options, '--peft', 'gps')
    ended = time.monotonic()
    assert run.returncode != 0
    told = [line for line in run.stdout.splitlines() if 'another process of this run' in line]
    assert len(told) == 1, run.stdout
    assert run.stdout.count('Traceback') == 1  # that of torch's launcher
    killed = float((work_dir / 'killed').read_text())
    assert ended - killed < 30
    assert not names_of_checkpoints(work_dir)
    assert not list(work_dir.rglob('.selection*'))  # nothing that was begun


def go_on(options: dict, folder: Path) -> tuple[dict, str]:
    """Run once more to the end; the record of the choice, as the checkpoint has it, and the log."""
    more = ('--work-dir', folder, '--peft', 'gps', '--resume')
    said = trained_in_two_forks(folder / 'log', DEMO, options, *more)
    record = json.loads((folder / 'selection.json').read_text())
    weights = read_checkpoint(str(folder / 'epoch_2.pth'))['state_dict']
    header = parse_header(weights['backbone.peft_header'])
    assert header['selection'] == {k: record[k] for k in ('images', 'seconds', 'processes')}
    assert choices_of(header['adapters']) == record['choices']
    return record, said


@pytest.mark.parametrize('rank', [0, 1])
def test_one_process_that_is_killed_while_it_chooses_ends_the_other(selecting, tmp_path, rank):
    settings = dict(rank=rank, folder=str(tmp_path))
    end_by_a_kill(selecting, tmp_path, 'KillWhileChoosingHook', **settings)
    assert not (tmp_path / 'selection.json').exists()
    record, log = go_on(selecting, tmp_path)
    assert record['images'] == 20 and 'GPS: chosen in ' in log


def test_a_choice_outlives_a_process_that_is_killed_before_the_first_checkpoint(
    selecting, tmp_path
):
    end_by_a_kill(selecting, tmp_path, 'KillOneRankHook', rank=0, epoch=0)
    before = (tmp_path / 'selection.json').read_text()
    _, log = go_on(selecting, tmp_path)
    assert (tmp_path / 'selection.json').read_text() == before
    assert 'The choice of this run by its data is that in ' in log
