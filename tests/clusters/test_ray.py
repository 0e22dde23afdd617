"""Sweeps on a real Ray cluster of three nodes, and what may befall them there.

Ray gives a node half a minute to begin, which a busy machine may exceed.
"""

import os
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess as Sweeping
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import CONTEXT

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

from memba_vision.errors import UserError  # noqa: E402
from memba_vision.sweeps import loop  # noqa: E402
from memba_vision.sweeps.executors import EXECUTORS, ray_cluster  # noqa: E402
from memba_vision.sweeps.executors.base import supervised  # noqa: E402
from memba_vision.sweeps.status import is_locked  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
NAMES = [f'digits_{method}_seed0' for method in 'abcdef']
A = NAMES[0]
ON_A_DISK = [
    *(
        'sh',
        '-c',
        'test -z "$LACKS_THE_DISK" || { echo no such disk >&2; exit 3; }; exec "$@"',
        'sh',
    )
]
LONG = 300.0  # seconds for what takes a few on a quiet machine


@pytest.fixture(scope='module')
def cluster() -> Iterator:
    """A cluster with three nodes of one core, the first of which is the head and runs nothing."""
    pytest.importorskip('ray')
    from ray.cluster_utils import Cluster

    os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
    head = dict(num_cpus=0, include_dashboard=False)
    started = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        started.add_node(num_cpus=1)
    started.wait_for_nodes(timeout=LONG)
    yield started
    started.shutdown()


def executor(cluster, folder: Path):
    given = arguments(ray_address=cluster.address, cpus_per_run=1, gpus_per_run=0)
    return EXECUTORS['ray'](given, folder)


def sweep(cluster, folder: Path, jobs) -> tuple[list[str], str]:
    runner = executor(cluster, folder)
    try:
        rows, said = sweep_with(runner, jobs)
    finally:
        runner.close()
    return [row.status.state for row in rows.values()], said


def start_sweep(cluster, folder: Path, names: list[str], code: str, log: Path) -> Sweeping:
    """Sweep in a process of its own."""
    process = CONTEXT.Process(target=sweep_here, args=(cluster.address, folder, names, code, log))
    process.start()
    return process


def sweep_here(address: str, folder: Path, names: list[str], code: str, log: Path) -> None:
    jobs = [script_job(folder, name, code) for name in names]
    found, said = sweep(SimpleNamespace(address=address), folder, jobs)
    with log.open('a') as file:
        file.write(f'{said}{found}\n')


def test_more_runs_than_room_wait_and_finish(cluster, tmp_path):
    jobs = [script_job(tmp_path, name) for name in NAMES]
    found, _ = sweep(cluster, tmp_path, jobs)
    assert found == ['finished'] * len(jobs)
    assert {status(job.folder)['tries'] for job in jobs} == {1}


def test_runs_of_a_sweep_that_is_killed_end_with_it_and_go_on_with_the_next(cluster, tmp_path):
    folder, log = tmp_path / 'sweep', tmp_path / 'log'
    job = script_job(folder, A, UNTIL_TOLD)
    process = start_sweep(cluster, folder, [A], UNTIL_TOLD, log)
    wait_for(job.folder / 'begun', LONG)
    process.kill()
    process.join()
    deadline = time.monotonic() + LONG
    while is_locked(job.folder):  # Ray kills a driver's processes, and gives them no time to save
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (job.folder / 'go').touch()
    found, _ = sweep(cluster, folder, [job])
    assert found == ['finished']
    assert status(job.folder)['tries'] == 2


def test_the_run_of_a_node_that_is_lost_goes_on_elsewhere(cluster, tmp_path):
    lost = cluster.add_node(num_cpus=1, resources={'doomed': 1})
    cluster.wait_for_nodes(timeout=LONG)
    others = [node for node in cluster.worker_nodes if node is not lost]
    folder, log = tmp_path / 'sweep', tmp_path / 'log'
    jobs = [script_job(folder, name, UNTIL_TOLD) for name in NAMES[:3]]
    process = start_sweep(cluster, folder, NAMES[:3], UNTIL_TOLD, log)
    for job in jobs:
        wait_for(job.folder / 'begun', LONG)
    assert len(others) == 2, 'each node has a run'
    cluster.remove_node(lost, allow_graceful=False)
    for job in jobs:
        (job.folder / 'go').touch()
    process.join(LONG)
    assert str(['finished'] * 3) in log.read_text(), log.read_text()
    # What ran on the node may have outlived it, as behind a network that fails.
    assert sorted(status(job.folder)['tries'] for job in jobs) in ([1, 1, 1], [1, 1, 2])


def test_two_sweeps_in_one_folder_do_each_run_once(cluster, tmp_path):
    folder, logs = tmp_path / 'sweep', [tmp_path / f'log{number}' for number in range(2)]
    sweeps = [start_sweep(cluster, folder, NAMES[:4], FINISH, log) for log in logs]
    for process, log in zip(sweeps, logs, strict=True):
        process.join(LONG)
        assert str(['finished'] * 4) in log.read_text(), log.read_text()
    assert {status(folder / name)['tries'] for name in NAMES[:4]} == {1}


def test_a_thousand_runs_wait_and_are_cancelled(cluster, tmp_path):
    jobs = [script_job(tmp_path, A, UNTIL_TOLD)]
    jobs += [script_job(tmp_path, f'digits_memba_seed{seed}', UNTIL_TOLD) for seed in range(1000)]
    runner = executor(cluster, tmp_path)
    begun = time.perf_counter()
    attempts = [runner.start(job) for job in jobs]
    assert time.perf_counter() - begun < LONG / 2
    wait_for(jobs[0].folder / 'begun', LONG)
    assert sum(attempt.poll() is not None for attempt in attempts) == 0
    runner.stop(attempts)
    wait_for(jobs[0].folder / 'saved', LONG)
    runner.close()


def test_a_node_on_which_runs_end_before_they_begin_is_avoided(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, 'supervised', lambda *given: [*ON_A_DISK, *supervised(*given)])
    monkeypatch.setattr(loop, 'PAUSE_RETRY', 0.1)
    lacking = cluster.add_node(num_cpus=4, env_vars={'LACKS_THE_DISK': 'yes'})
    cluster.wait_for_nodes(timeout=LONG)
    jobs = [script_job(tmp_path, name, f'import time; time.sleep(3)\n{FINISH}') for name in NAMES]
    runner = executor(cluster, tmp_path)
    try:
        rows, said = sweep_with(runner, jobs)
        assert [row.status.state for row in rows.values()] == ['finished'] * len(jobs), said
        assert 'before the run began: no such disk; going on' in said
        assert list(runner.never_began) == [lacking.node_id]
        runner.never_began.update({node.node_id: 2 for node in cluster.worker_nodes})
        with pytest.raises(UserError, match=r'on every node that can take a run .* 2 ended before'):
            runner.start(jobs[0])
    finally:
        runner.close()
        cluster.remove_node(lacking)


def test_a_run_that_no_node_can_take_is_refused(cluster, tmp_path):
    given = arguments(ray_address=cluster.address, cpus_per_run=7, gpus_per_run=0)
    with pytest.raises(UserError, match='a run asks for 7 cores and 0 GPUs, and no node has that'):
        EXECUTORS['ray'](given, tmp_path)
