"""How a run stands, and how far it is, as its folder tells."""

import json
import os
import time

import pytest

from memba_vision.sweeps.progress import Progress, read_progress
from memba_vision.sweeps.status import Status, is_locked, run_status
from memba_vision.sweeps.supervise import locked, write_status


def test_a_folder_that_is_not_there(tmp_path):
    assert run_status(tmp_path / 'none') == Status('waiting')


@pytest.mark.parametrize('state', ['waiting', 'failed', 'stopped'])
def test_what_was_noted_holds(tmp_path, state):
    write_status(str(tmp_path), {'state': state, 'message': 'why', 'tries': 2, 'seconds': 3.5})
    assert run_status(tmp_path) == Status(state, 'why', 2, 3.5)


def test_what_runs_holds_the_lock(tmp_path):
    write_status(str(tmp_path), {'state': 'running', 'tries': 1})
    assert run_status(tmp_path).state == 'stopped', 'its processes are gone'
    with locked(str(tmp_path)) as lock:
        assert lock is not None
        assert run_status(tmp_path).state == 'running'
    assert run_status(tmp_path).state == 'stopped'


def test_looking_keeps_nobody_from_looking(tmp_path):
    with locked(str(tmp_path)):
        pass
    assert not any(is_locked(tmp_path) for _ in range(3))


@pytest.mark.parametrize(
    ('noted', 'state', 'score'),
    [('finished', 'finished', '61.50 %'), ('stopped', 'stopped', ''), ('running', 'stopped', '')],
)
def test_a_result_is_the_end_of_a_run_that_finished(tmp_path, noted, state, score):
    write_status(str(tmp_path), {'state': noted, 'tries': 1, 'seconds': 9.0})
    (tmp_path / 'result.json').write_text('{"top1": 61.5}')  # tools/test.py leaves one too
    found = run_status(tmp_path)
    assert (found.state, found.score, found.seconds) == (state, score, 9.0)


def test_a_result_of_another_metric(tmp_path):
    write_status(str(tmp_path), {'state': 'finished', 'tries': 1})
    (tmp_path / 'result.json').write_text('{"value": 0.31256, "metric": "mae"}')
    assert run_status(tmp_path).score == 'mae 0.3126'


@pytest.mark.parametrize('content', ['', '[]', '{"top1": null}', 'null'])
def test_damaged_records_are_no_result(tmp_path, content):
    (tmp_path / 'result.json').write_text(content)
    (tmp_path / 'status.json').write_text(content)
    assert run_status(tmp_path) == Status('waiting')


# Progress

STEPS = [
    {'loss': 2.0, 'time': 0.5, 'epoch': 1, 'iter': 32, 'step': 32},
    {'loss': 1.0, 'time': 0.5, 'epoch': 2, 'iter': 64, 'step': 64},
]


def log(folder, stamp: str, records, age: float = 0.0) -> None:
    path = folder / stamp / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(f'{json.dumps(record)}\n' for record in records))
    os.utime(path, (time.time() - age, time.time() - age))


def test_no_log(tmp_path):
    assert read_progress(tmp_path, ('epochs', 3)) == Progress()


def test_the_last_epoch_counts(tmp_path):
    log(tmp_path, '20260101_000000', STEPS, age=10)
    found = read_progress(tmp_path, ('epochs', 4))
    assert (found.done, found.loss, found.accuracy) == (2, 1.0, None)
    assert found.seconds_left == pytest.approx(2 * 32 * 0.5 - 10, abs=1)


def test_a_resumed_run_goes_by_its_newest_log_with_a_step(tmp_path):
    log(tmp_path, '20260101_000000', STEPS[:1])
    log(tmp_path, '20260102_000000', STEPS[1:])
    log(tmp_path, '20260103_000000', [])
    assert read_progress(tmp_path, ('epochs', 4)).done == 2


def test_accuracy_so_far(tmp_path):
    scores = [{'accuracy/top1': 40.0, 'step': 1}, STEPS[1], {'accuracy/top1': 50.0, 'step': 2}]
    log(tmp_path, '20260101_000000', [STEPS[0], *scores])
    assert read_progress(tmp_path, ('epochs', 4)).accuracy == 50.0


def test_a_run_with_another_logger_tells_its_progress_too(tmp_path):
    lines = [
        {'epoch': 1, 'loss': 2.0},
        {'epoch': 1, 'accuracy/top1': 40.0},
        {'epoch': 2, 'loss': 1},
    ]
    text = ''.join(f'{json.dumps(line)}\n' for line in lines)
    (tmp_path / 'losses.jsonl').write_text(f'{text}{{"epoch": 3')
    assert read_progress(tmp_path, ('epochs', 4)) == Progress(2, 1.0, 40.0)


def test_iterations(tmp_path):
    log(tmp_path, '20260101_000000', [{'loss': 1.0, 'time': 2.0, 'iter': 10, 'step': 10}])
    found = read_progress(tmp_path, ('iterations', 15))
    assert found.done == 10
    assert found.seconds_left == pytest.approx(10, abs=1)


def test_a_line_that_is_being_written_is_passed_over(tmp_path):
    log(tmp_path, '20260101_000000', STEPS)
    with (tmp_path / '20260101_000000/vis_data/scalars.json').open('a') as file:
        file.write('{"loss": 0.')
    assert read_progress(tmp_path, ('epochs', 4)).done == 2
