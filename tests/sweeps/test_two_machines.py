"""Runs in one folder from two machines, between which the system's locks do not hold."""

import time

import other_machine
import pytest
from script_jobs import FINISH, SAVE, script_job, status, wait_for

from memba_vision import leases
from memba_vision.errors import ExitStatus
from memba_vision.sweeps.status import is_locked, run_status

WAIT = f'{SAVE}\ntime.sleep(60)'


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    other_machine.hurry(monkeypatch)


def test_a_run_on_another_machine_is_seen_and_not_run_twice(tmp_path):
    job = script_job(tmp_path, code=WAIT)
    there = other_machine.supervise_on('there', job)
    wait_for(job.folder / 'begun')
    assert run_status(job.folder).state == 'running'
    assert other_machine.supervise_on('here', job).wait() == ExitStatus.BUSY
    assert status(job.folder)['tries'] == 1
    there.terminate()
    assert there.wait() == ExitStatus.TERMINATED
    assert not is_locked(job.folder), 'it has said that it ended'


def test_a_run_whose_machine_went_down_is_taken_over(tmp_path):
    job = script_job(tmp_path, code=WAIT)
    there = other_machine.supervise_on('there', job)
    wait_for(job.folder / 'begun')
    there.kill()
    there.wait()
    assert is_locked(job.folder)
    deadline = time.monotonic() + 10 * leases.LEASE
    while is_locked(job.folder):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert run_status(job.folder).state == 'stopped'
    again = script_job(tmp_path, code=FINISH)
    assert other_machine.supervise_on('here', again).wait() == ExitStatus.FINISHED
    assert status(job.folder)['tries'] == 2


def test_a_run_whose_folder_another_took_over_saves_and_ends_without_a_word(tmp_path):
    job = script_job(tmp_path, code=WAIT)
    there = other_machine.supervise_on('there', job)
    wait_for(job.folder / 'begun')
    before = status(job.folder)
    (job.folder / '.lease').unlink()
    assert there.wait() == ExitStatus.BUSY
    assert (job.folder / 'saved').exists()
    assert status(job.folder) == before
