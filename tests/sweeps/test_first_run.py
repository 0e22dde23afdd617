"""Order of what a sweep does until its first run begins."""

import json
import threading

import pytest
from helpers import DEMO, as_arguments, run_tool

from memba_vision.files import write_atomically
from memba_vision.sweeps import folder as sweep_folder
from memba_vision.sweeps import jobs as sweep_jobs
from memba_vision.sweeps.executors import EXECUTORS, Attempt, Ended, Executor
from memba_vision.sweeps.folder import mark_waiting
from memba_vision.sweeps.jobs import Job, Options, make_jobs
from memba_vision.sweeps.weights import fetch_weights
from memba_vision.weights import MissingWeights

WEIGHTS = 'model.backbone.module.init_cfg.checkpoint'


class Done(Attempt):
    def poll(self) -> Ended:
        return Ended(0)

    def stop(self, at_once: bool = False) -> None: ...


def finish(job: Job) -> None:
    """Leave what a finished run leaves."""
    job.folder.mkdir(exist_ok=True, parents=True)
    # As a run does: the sweep may be writing "waiting" into the file that this one replaces.
    write_atomically(
        job.folder / 'status.json', json.dumps({'state': 'finished', 'tries': 1}).encode()
    )
    (job.folder / 'result.json').write_text(json.dumps({'top1': 50.0}))


@pytest.fixture
def events(monkeypatch) -> list[str]:
    """What a sweep does, in order, while its runs finish as they begin."""
    events = []

    class Recorder(EXECUTORS['local'], Executor):
        def __init__(self, args, folder) -> None: ...

        def warm_up(self) -> None:
            events.append('warm up')

        def has_room(self) -> bool:
            return True

        def start(self, job: Job) -> Attempt:
            events.append('start')
            finish(job)
            return Done()

        def close(self) -> None:
            events.append('close')

    def load_config(*args, **kwargs):
        events.append('config')
        return load(*args, **kwargs)

    load = sweep_jobs.load_config
    monkeypatch.setattr(sweep_jobs, 'load_config', load_config)
    monkeypatch.setitem(EXECUTORS, 'local', Recorder)
    return events


def sweep(folder, *more, methods=('memba', 'lora'), seeds=(0, 1, 2), **options):
    where = ['--methods', *methods, '--seeds', *seeds, '--work-dir', folder]
    return run_tool('sweep', DEMO, *where, *more, *(as_arguments(options) if options else []))


def test_each_config_is_built_once_before_the_first_run_and_beside_the_imports(tmp_path, events):
    sweep(tmp_path / 'sweep')
    assert events == ['warm up', *['config'] * 2, *['start'] * 6, 'close']


def test_the_first_run_waits_for_the_folder_of_no_other(tmp_path, events, monkeypatch):
    seen, go, done = [], threading.Event(), threading.Event()

    def mark_waiting(jobs) -> None:
        go.wait(60)
        seen.append(events.count('start'))
        done.set()

    class Start(EXECUTORS['local']):
        def start(self, job: Job) -> Attempt:
            attempt = super().start(job)
            go.set()
            return attempt

    monkeypatch.setattr(sweep_folder, 'mark_waiting', mark_waiting)
    monkeypatch.setitem(EXECUTORS, 'local', Start)
    sweep(tmp_path / 'sweep')
    assert done.wait(60)
    assert seen[0] > 0


def test_a_finished_sweep_imports_nothing_for_runs(tmp_path, events):
    for seeds in ([0], [0], [0, 1]):
        events.clear()
        sweep(tmp_path / 'sweep', seeds=seeds)
    assert events == [*['config'] * 2, *['start'] * 2, 'close']


def test_a_mistake_ends_what_was_begun(tmp_path, events):
    assert 'no such method' in sweep(tmp_path / 'sweep', methods=['none']).error()
    assert events == ['warm up', 'config', 'close']


@pytest.mark.parametrize('place', ['nowhere.pth', 'http://127.0.0.1:9/none.pth'])
def test_missing_weights_are_told_once_and_nothing_is_begun(tmp_path, events, monkeypatch, place):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    outcome = sweep(tmp_path / 'sweep', **{WEIGHTS: place})
    error = outcome.error()
    assert outcome.err.strip().splitlines() == [error]
    assert place in error
    assert f'--cfg-options {WEIGHTS}=FILE' in error
    assert 'MB' in error
    assert 'start' not in events
    assert not (tmp_path / 'sweep').exists(), 'the same folder takes the right option'


def test_runs_that_load_no_weights_miss_none(tmp_path):
    def jobs(*methods: str) -> list[Job]:
        return make_jobs([str(DEMO)], methods, [0], tmp_path, Options((f'{WEIGHTS}=nowhere.pth',)))

    adapted = jobs('memba')
    with pytest.raises(MissingWeights):
        fetch_weights(adapted)
    finish(adapted[0])
    fetch_weights(adapted)


def test_weights_that_the_library_reads_are_left_to_it(tmp_path):
    options = Options((f'{WEIGHTS}=torchvision://resnet50',))
    fetch_weights(make_jobs([str(DEMO)], ['memba'], [0], tmp_path, options))


def test_a_file_in_the_place_of_the_folder(tmp_path):
    file = tmp_path / 'file'
    file.touch()
    for folder in (file, file / 'sweep'):
        assert 'is no folder' in sweep(folder).error()
    mark_waiting(make_jobs([str(DEMO)], ['memba'], [0], file, Options()))  # the sweep tells of it
