"""Sweeps that are interrupted in every way, over scripts in place of trainings."""

import contextlib
import json
import os
import signal
import time
from dataclasses import replace
from io import StringIO
from unittest import mock

import pytest
from rich.console import Console as Terminal
from script_jobs import (
    FINISH,
    SAVE,
    WAIT_ONCE,
    ScriptExecutor,
    arguments,
    script_job,
    start_sweep,
    status,
    sweep,
    sweep_with,
    wait_for,
)

from memba_vision.errors import ExitStatus, UserError
from memba_vision.sweeps import loop
from memba_vision.sweeps.console import EventLines
from memba_vision.sweeps.executors import Attempt, Ended, Executor
from memba_vision.sweeps.executors.base import LOST
from memba_vision.sweeps.jobs import Job
from memba_vision.sweeps.loop import Policy
from memba_vision.sweeps.status import is_locked, run_status

A, B, C = (f'digits_{method}_seed0' for method in 'abc')
NO_ROOM = f'print("error: free some space"); raise SystemExit({ExitStatus.DISK_FULL})'


def states(rows) -> list[str]:
    return [row.status.state for row in rows.values()]


class Queue(Executor):
    """Takes all runs, and begins none."""

    def __init__(self) -> None: ...

    def room(self) -> int:
        return 100

    def start(self, job: Job) -> Attempt:
        waiting = mock.Mock(spec=Attempt)
        waiting.poll.return_value = waiting.place.return_value = None
        return waiting


def test_a_look_at_runs_in_a_queue_reads_none_of_their_files(tmp_path, monkeypatch):
    jobs = [replace(script_job(tmp_path), name=f'digits_a_seed{number}') for number in range(250)]
    watched = loop.Sweep(jobs, Queue(), EventLines(Terminal(file=StringIO())), Policy())
    watched._sort()
    watched._start()
    assert len(watched.going) == 250
    monkeypatch.setattr(loop, 'run_status', lambda folder: pytest.fail('a file was read'))
    watched._start()
    watched._watch()


def test_every_run_finishes_once(tmp_path):
    jobs = [script_job(tmp_path, name) for name in (A, B, C)]
    rows, said = sweep(jobs)
    assert states(rows) == ['finished'] * 3
    assert [row.status.score for row in rows.values()] == ['50.00 %'] * 3
    assert '3 runs: 3 waiting' in said
    assert f'{A} started' in said
    assert '(3 of 3)' in said
    rows, said = sweep(jobs)
    assert 'started' not in said
    assert [status(job.folder)['tries'] for job in jobs] == [1] * 3


def test_no_more_at_a_time_than_asked_for(tmp_path):
    code = (
        'import os, pathlib, time; pathlib.Path("../busy").mkdir(); time.sleep(0.2)\n'
        f'pathlib.Path("../busy").rmdir()\n{FINISH}'
    )
    rows, _ = sweep([script_job(tmp_path, name, code) for name in (A, B, C)], jobs=1)
    assert states(rows) == ['finished'] * 3


def test_an_executor_that_refuses_for_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, 'PAUSE_REFUSED', 0.1)
    runner = ScriptExecutor(arguments(jobs=3), tmp_path)
    start, going = runner.start, []

    def one_at_a_time(job):
        if going and going[-1].poll() is None:
            raise UserError('QOSMaxSubmitJobPerUserLimit')
        going.append(start(job))
        return going[-1]

    monkeypatch.setattr(runner, 'start', one_at_a_time)
    code = f'import time; time.sleep(0.5)\n{FINISH}'
    with contextlib.closing(runner):
        rows, said = sweep_with(runner, [script_job(tmp_path, name, code) for name in (A, B)])
    assert states(rows) == ['finished'] * 2
    assert f'{B} waits: QOSMaxSubmitJobPerUserLimit' in said


def test_an_executor_that_takes_nothing(tmp_path, monkeypatch):
    def refuse(job):
        raise UserError('invalid partition')

    runner = ScriptExecutor(arguments(), tmp_path)
    monkeypatch.setattr(runner, 'start', refuse)
    with contextlib.closing(runner), pytest.raises(UserError, match='invalid partition'):
        sweep_with(runner, [script_job(tmp_path, A)])


def test_a_failed_run_waits_for_retry_failed(tmp_path):
    code = 'print("error: no such task"); raise SystemExit(2)'
    jobs = [script_job(tmp_path, A, code), script_job(tmp_path, B)]
    rows, said = sweep(jobs)
    assert states(rows) == ['failed', 'finished']
    assert f'{A} failed: no such task' in said
    jobs[0] = script_job(tmp_path, A)  # the cause is mended
    rows, said = sweep(jobs)
    assert states(rows) == ['failed', 'finished']
    assert f'{A} failed before: no such task' in said
    rows, _ = sweep(jobs, policy=Policy(retry_failed=True))
    assert states(rows) == ['finished'] * 2
    assert status(jobs[0].folder)['tries'] == 2


def test_a_killed_run_is_started_again(tmp_path):
    code = (
        'import os, pathlib\n'
        'first = not pathlib.Path("begun").exists(); pathlib.Path("begun").touch()\n'
        f'if first: os.kill(os.getpid(), 9)\n{FINISH}'
    )
    rows, said = sweep([script_job(tmp_path, A, code)])
    assert states(rows) == ['finished']
    assert 'was killed (SIGKILL' in said
    assert f'{A} started again (try 2)' in said


def test_a_run_that_is_killed_again_and_again_is_left_alone(tmp_path):
    jobs = [script_job(tmp_path, A, 'import os; os.kill(os.getpid(), 9)')]
    rows, said = sweep(jobs, policy=Policy(retries=1))
    assert states(rows) == ['stopped']
    assert said.count('started') == 2
    assert status(jobs[0].folder)['tries'] == 2
    assert states(sweep([script_job(tmp_path, A)])[0]) == ['finished'], 'the same command goes on'


def test_a_full_disk_ends_the_sweep(tmp_path):
    jobs = [script_job(tmp_path, A, NO_ROOM), script_job(tmp_path, B)]
    rows, said = sweep(jobs, jobs=1)
    assert states(rows) == ['stopped', 'waiting']
    assert 'free some space' in said
    rows, _ = sweep([script_job(tmp_path, name) for name in (A, B)])
    assert states(rows) == ['finished'] * 2


class LostAtFirst(Queue):
    """Loses the first try before it begins, as on a node that fails."""

    lost = False

    def start(self, job: Job) -> Attempt:
        attempt = mock.Mock(spec=Attempt)
        attempt.poll.return_value = Ended(LOST, 'its node failed')
        if self.lost:
            noted = {'state': 'finished', 'tries': 2}
            (job.folder / 'status.json').write_text(json.dumps(noted))
            (job.folder / 'result.json').write_text('{"value": 1.0}')
            attempt.poll.return_value = Ended(0)
        self.lost = True
        return attempt


@pytest.mark.parametrize(
    'earlier',
    [
        dict(state='stopped', message='disk', exit_status=int(ExitStatus.DISK_FULL)),
        dict(state='failed', message='the loss is nan', exit_status=1),
    ],
    ids=lambda earlier: earlier['state'],
)
def test_a_try_that_was_lost_is_not_judged_by_an_earlier_one(tmp_path, earlier):
    job = script_job(tmp_path, A)
    job.folder.mkdir(exist_ok=True)
    (job.folder / 'status.json').write_text(json.dumps({**earlier, 'tries': 1}))
    rows, said = sweep_with(LostAtFirst(), [job], policy=Policy(retry_failed=True))
    assert states(rows) == ['finished']
    assert 'its node failed; going on' in said


def test_killed_sweep_goes_on(tmp_path):
    codes = {A: FINISH, B: WAIT_ONCE, C: WAIT_ONCE}
    process = start_sweep(tmp_path, codes)
    wait_for(tmp_path / A / 'result.json')
    wait_for(tmp_path / C / 'second')
    process.kill()
    process.join()
    rows, _ = sweep([script_job(tmp_path, *pair) for pair in codes.items()])
    assert states(rows) == ['finished'] * 3
    assert (tmp_path / B / 'saved').exists()
    assert [status(tmp_path / name)['tries'] for name in codes] == [1, 2, 2]


def test_ctrl_c_lets_the_runs_save(tmp_path):
    process = start_sweep(tmp_path, {A: f'{SAVE}\ntime.sleep(60)', B: FINISH})
    wait_for(tmp_path / A / 'begun')
    wait_for(tmp_path / B / 'result.json')
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    assert (tmp_path / A / 'saved').exists()
    assert not is_locked(tmp_path / A)
    assert run_status(tmp_path / A).state == 'stopped'


def test_two_sweeps_share_the_work(tmp_path):
    code = f'import time; open("runs", "a").write("x"); time.sleep(0.3)\n{FINISH}'
    names = [f'digits_memba_seed{seed}' for seed in range(6)]
    processes = [start_sweep(tmp_path, dict.fromkeys(names, code)) for _ in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    for name in names:
        assert (tmp_path / name / 'runs').read_text() == 'x'
        assert status(tmp_path / name)['tries'] == 1


def test_a_sweep_takes_over_from_one_that_is_killed(tmp_path):
    process = start_sweep(tmp_path, {A: WAIT_ONCE})
    wait_for(tmp_path / A / 'second')
    other = start_sweep(tmp_path, {A: WAIT_ONCE})
    time.sleep(1.0)
    assert status(tmp_path / A)['tries'] == 1
    process.kill()
    other.join()
    assert other.exitcode == 0
    assert run_status(tmp_path / A).state == 'finished'
