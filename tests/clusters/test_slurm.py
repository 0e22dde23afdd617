"""Sweeps on a real Slurm of three nodes, and what may befall them there."""

import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import DEMO, as_arguments, run_tool, tiny_options
from slurm_cluster import NODES, SlurmCluster, missing

TESTS = Path(__file__).parents[1]
sys.path.append(str(TESTS / 'sweeps'))
from script_jobs import (  # noqa: E402
    FINISH,
    UNTIL_TOLD,
    arguments,
    script_job,
    status,
    sweep_with,
    wait_for,
)

from memba_vision.sweeps import slurm_queue  # noqa: E402
from memba_vision.sweeps.executors import EXECUTORS  # noqa: E402
from memba_vision.sweeps.loop import Policy  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
NAMES = [f'digits_{method}_seed0' for method in 'abcdef']
A, B = NAMES[:2]
FORKS = multiprocessing.get_context('fork')  # of a process without threads
Sweeping = multiprocessing.process.BaseProcess
LONG = 300.0  # seconds for what takes a few on a quiet machine
#: Each try saves one more of three epochs when its time is up; the last finishes.
SLOW = f"""
import pathlib, signal, sys, time
def save(*_):
    number = len(list(pathlib.Path('.').glob('*.pth'))) + 1
    pathlib.Path(f'epoch_{{number}}.pth').touch()
    sys.exit(143)
for number in (signal.SIGTERM, signal.SIGUSR2):
    signal.signal(number, save)
if len(list(pathlib.Path('.').glob('*.pth'))) < 2:
    time.sleep(200)
{FINISH}
"""


@pytest.fixture(scope='module')
def cluster() -> Iterator[SlurmCluster]:
    """A Slurm; without its programs the tests are skipped, except where CI asks for them."""
    if lacking := missing():
        if os.environ.get('CI'):
            pytest.fail(f'CI needs {lacking[0]} (Debian: slurm-wlm, munge)')
        pytest.skip(f'needs {lacking[0]} (Debian: slurm-wlm, munge)')
    home = Path(tempfile.mkdtemp(prefix='slurm-'))  # pytest's are too long for a socket
    with SlurmCluster(home) as started:
        yield started
    shutil.rmtree(home)


@pytest.fixture(autouse=True)
def all_nodes(cluster, monkeypatch) -> None:
    monkeypatch.setattr(slurm_queue, 'PAUSE', 1.0)
    cluster.restore()


def executor(folder: Path, *options: str):
    given = dict(slurm_cluster='slurm', gpus_per_run=0, cpus_per_run=1)
    return EXECUTORS['slurm'](
        arguments(**given, slurm_options=['timeout_min=10', *options]), folder
    )


def number_of(job) -> str:
    wait_for(job.folder / 'slurm_job', LONG)
    return (job.folder / 'slurm_job').read_text()


def states(rows) -> list[str]:
    return [row.status.state for row in rows.values()]


def start_sweep(folder: Path, names: list[str], code: str, log: Path) -> Sweeping:
    """Sweep in a process of its own."""
    process = FORKS.Process(target=sweep_here, args=(folder, names, code, log))
    process.start()
    return process


def sweep_here(folder: Path, names: list[str], code: str, log: Path) -> None:
    jobs = [script_job(folder, name, code) for name in names]
    rows, said = sweep_with(executor(folder), jobs)
    with log.open('a') as file:
        file.write(f'{said}{states(rows)}\n')


def wait_until(is_so: Callable[[], bool], seconds: float = LONG) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_more_runs_than_room_wait_in_the_queue_and_finish(cluster, tmp_path):
    jobs = [script_job(tmp_path, name) for name in NAMES]
    rows, said = sweep_with(executor(tmp_path), jobs)
    assert states(rows) == ['finished'] * len(jobs), said
    assert {status(job.folder)['tries'] for job in jobs} == {1}


def test_a_run_that_a_user_cancels_saves_is_left_alone_and_begun_anew_goes_on(cluster, tmp_path):
    log = tmp_path / 'log'
    folder = tmp_path / 'sweep'
    job = script_job(folder, A, UNTIL_TOLD)
    process = start_sweep(folder, [A], UNTIL_TOLD, log)
    wait_for(job.folder / 'begun', LONG)
    cluster.ask('scancel', number_of(job))
    process.join(LONG)
    assert 'was cancelled (scancel)' in log.read_text()
    assert (job.folder / 'saved').exists()
    (job.folder / 'go').touch()
    rows, _ = sweep_with(executor(folder), [job])
    assert states(rows) == ['finished']


def test_a_time_limit_costs_no_retry_and_loses_no_epoch(cluster, tmp_path):
    job = script_job(tmp_path, A, SLOW)
    runner = executor(tmp_path, 'timeout_min=2', 'signal_delay_s=80')
    rows, said = sweep_with(runner, [job], Policy(retries=0))
    assert states(rows) == ['finished'], said
    assert said.count('was stopped at its time limit (SIGUSR2); going on') == 2
    assert len(list(job.folder.glob('epoch_*.pth'))) == 2


def test_the_run_of_a_node_that_is_lost_goes_on_elsewhere(cluster, tmp_path):
    folder, log = tmp_path / 'sweep', tmp_path / 'log'
    job = script_job(folder, A, UNTIL_TOLD)
    process = start_sweep(folder, [A], UNTIL_TOLD, log)
    wait_for(job.folder / 'begun', LONG)
    node = cluster.node_of(number_of(job))
    cluster.kill_node(node)
    (job.folder / 'go').touch()
    process.join(LONG)
    assert "['finished']" in log.read_text(), log.read_text()
    assert status(job.folder)['tries'] == 2


def test_a_drained_node_ends_its_runs_and_gets_no_more(cluster, tmp_path):
    folder, log = tmp_path / 'sweep', tmp_path / 'log'
    job = script_job(folder, A, UNTIL_TOLD)
    process = start_sweep(folder, [A], UNTIL_TOLD, log)
    wait_for(job.folder / 'begun', LONG)
    node = cluster.node_of(number_of(job))
    cluster.set_nodes('drain', node)
    others = [script_job(tmp_path / 'other', name) for name in (A, B)]
    rows, said = sweep_with(executor(tmp_path / 'other'), others)
    assert states(rows) == ['finished'] * 2
    assert f'runs on {node}' not in said
    (job.folder / 'go').touch()
    process.join(LONG)
    assert "['finished']" in log.read_text()
    assert status(job.folder)['tries'] == 1


def test_a_sweep_that_is_killed_finds_its_jobs_again(cluster, tmp_path):
    folder, log = tmp_path / 'sweep', tmp_path / 'log'
    job = script_job(folder, A, UNTIL_TOLD)
    process = start_sweep(folder, [A], UNTIL_TOLD, log)
    wait_for(job.folder / 'begun', LONG)
    process.kill()
    process.join()
    again = start_sweep(folder, [A], UNTIL_TOLD, log)
    wait_until(lambda: 'waiting' not in status(job.folder)['state'])
    time.sleep(3)
    (job.folder / 'go').touch()
    again.join(LONG)
    assert 'is still with the executor: waiting for it' in log.read_text()
    assert "['finished']" in log.read_text()
    assert status(job.folder)['tries'] == 1


def test_two_sweeps_in_one_folder_do_each_run_once(cluster, tmp_path):
    logs = [tmp_path / f'log{number}' for number in range(2)]
    folder = tmp_path / 'sweep'
    sweeps = [start_sweep(folder, NAMES[:4], FINISH, log) for log in logs]
    for process, log in zip(sweeps, logs, strict=True):
        process.join(LONG)
        assert str(['finished'] * 4) in log.read_text(), log.read_text()
    assert {status(folder / name)['tries'] for name in NAMES[:4]} == {1}


def test_trainings_finish_on_nodes_and_are_planned_there(cluster, base, data_root, tmp_path):
    folder = tmp_path / 'sweep'
    options = as_arguments(tiny_options(base, data_root))
    cluster_options = ['--executor', 'slurm', '--gpus-per-run', '0', '--cpus-per-run', '1']
    command = ['sweep', DEMO, '--work-dir', folder, *cluster_options, *options]
    planned = run_tool(*command, '--plan')
    assert planned.status == 0, planned
    assert planned.out.startswith('1 runs to do, 0 finished; measured on the CPU (1 thread a run)')
    assert not folder.exists()
    done = run_tool(*command)
    assert done.status == 0, done
    (run,) = (path for path in folder.iterdir() if (path / 'run.json').is_file())
    assert (run / 'slurm_job').is_file()
    assert json.loads((run / 'result.json').read_text())['trained_parameters'] > 0


def test_a_thousand_jobs_are_queued_watched_and_cancelled(cluster, tmp_path, capsys):
    cluster.set_nodes('drain', *NODES)
    jobs = [script_job(tmp_path, f'digits_memba_seed{seed}') for seed in range(1000)]
    runner = executor(tmp_path)
    begun = time.perf_counter()
    attempts = []
    while len(attempts) < len(jobs):
        attempts += runner.start_all(jobs[len(attempts) :][: runner.room()])
    submitted = time.perf_counter() - begun
    runner.queue.ask()
    processor = time.process_time()
    assert not any(attempt.poll() for attempt in attempts)
    assert not any(attempt.place() for attempt in attempts)
    look = time.process_time() - processor
    assert len(executor(tmp_path).adopt(jobs)) == 1000
    begun = time.perf_counter()
    runner.stop(attempts)
    cancelled = time.perf_counter() - begun
    wait_until(lambda: not cluster.ask('squeue', '--noheader', '--states=PENDING'))
    with capsys.disabled():
        facts = dict(submitted=submitted, look_in_cpu_seconds=look, cancelled=cancelled)
        sys.stdout.write(
            f'{json.dumps({name: round(value, 3) for name, value in facts.items()})}\n'
        )
    assert submitted < 60, 'one after the other they took 228 s'
    assert look < 1
