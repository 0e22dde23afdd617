"""Finding runs: finished, missing, failed, in sweeps and in plain folders."""

import json
import os

import pytest
from helpers import run_tool
from made_runs import make_result, plan, save_runs, set_status, write_log

from memba_vision.errors import UserError
from memba_vision.files import CURVE_FILE
from memba_vision.reports.collect import collect_runs
from memba_vision.reports.curves import accuracy_curve, loss_curve, mean_curve
from memba_vision.runs.result import RESULT_FILE


def states(folder) -> dict[str, tuple[str, str]]:
    return {run.name: (run.state, run.message) for run in collect_runs(folder)[0]}


def test_a_state_that_a_loss_of_power_left_empty_is_none(tmp_path):
    plan(tmp_path, ['memba'], ['digits'], [0, 1])
    save_runs(tmp_path, [make_result()])
    (tmp_path / 'digits_memba_seed1').mkdir()
    (tmp_path / 'digits_memba_seed1' / 'status.json').touch()
    assert states(tmp_path)['digits_memba_seed1'] == ('missing', '')


def test_a_sweep_with_runs_in_all_states(tmp_path):
    plan(tmp_path, ['memba', 'lora'], ['digits'], [0, 1, 2])
    save_runs(tmp_path, [make_result(), make_result('lora')])
    set_status(tmp_path, 'digits_memba_seed0', 'finished')
    set_status(tmp_path, 'digits_memba_seed1', 'failed', 'the loss is nan')
    set_status(tmp_path, 'digits_lora_seed1', 'running')
    set_status(tmp_path, 'digits_lora_seed2', 'finished')
    found = states(tmp_path)
    assert found.pop('digits_lora_seed2')[0] == 'unfinished'
    assert found == {
        'digits_memba_seed0': ('finished', ''),
        'digits_memba_seed1': ('failed', 'the loss is nan'),
        'digits_memba_seed2': ('missing', ''),
        'digits_lora_seed0': ('finished', ''),
        'digits_lora_seed1': ('running', ''),
    }


def test_a_sweep_below_the_folder_and_runs_beside_it(tmp_path):
    plan(tmp_path / 'sweep', ['memba'], ['digits'], [0, 1])
    save_runs(tmp_path / 'sweep', [make_result()])
    save_runs(tmp_path, [make_result('lora')])
    assert states(tmp_path) == {
        'sweep/digits_memba_seed0': ('finished', ''),
        'sweep/digits_memba_seed1': ('missing', ''),
        'digits_lora_seed0': ('finished', ''),
    }


def test_a_plain_run_that_never_finished(tmp_path):
    save_runs(tmp_path, [make_result()])
    start = dict(config=dict(task='digits'), config_file='a/digits_lora.py', seed=3)
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / 'run.json').write_text(json.dumps([start]))
    run = next(run for run in collect_runs(tmp_path)[0] if run.result is None)
    assert run.identity == ('vim', 'lora', 'digits', 3, 'test')
    assert (run.name, run.state) == ('broken', 'unfinished')


def test_the_newest_of_equal_runs_counts(tmp_path):
    for name, top1, time in [('old', 80.0, 1000), ('new', 90.0, 2000)]:
        path = tmp_path / name / RESULT_FILE
        make_result(top1=top1).save(path)
        os.utime(path, (time, time))
    (run,), (remark,) = collect_runs(tmp_path)
    assert run.result.top1 == 90
    assert remark == 'old is left out: new has the same method, task and seed'
    for name, epochs in [('old', 20), ('new', 1)]:
        start = {'config': {'train_cfg': {'max_epochs': epochs}}, 'finished': 'yes'}
        (tmp_path / name / 'run.json').write_text(json.dumps([start]))
    outcome = run_tool('report', tmp_path)
    assert f'note: {remark}, with other settings (train_cfg.max_epochs was 20, is 1)' in outcome.out


def test_seeds_with_other_settings_are_averaged_with_a_remark(tmp_path):
    for seed, epochs in enumerate((20, 20, 1)):
        make_result(seed=seed).save(tmp_path / f'run{seed}' / RESULT_FILE)
        config = {'train_cfg': {'max_epochs': epochs}, 'randomness': {'seed': seed}}
        start = {'config': config, 'finished': 'yes'}
        (tmp_path / f'run{seed}' / 'run.json').write_text(json.dumps([start]))
    runs, (remark,) = collect_runs(tmp_path)
    assert len(runs) == 3
    assert remark.startswith('run2 and run0 are averaged, with other settings (')
    assert 'train_cfg.max_epochs was 1, is 20' in remark


@pytest.mark.parametrize(
    ('older', 'settings', 'method'),
    [
        ('linear-probing', {}, 'linear_probing'),
        ('lora-in-proj_lr1e-05', {'optim_wrapper.optimizer.lr': 1e-5}, 'lora_in_proj_lr1e-05'),
        ('my-own', {}, 'my-own'),
    ],
)
def test_a_method_has_one_name_also_in_results_of_older_versions(tmp_path, older, settings, method):
    for folder, name in [('older', older), ('newer', method)]:
        save_runs(tmp_path / folder, [make_result(name, settings=settings)])
    entry = dict(name='planned', task='digits', method=older, seed=1, settings=settings)
    (tmp_path / 'older' / 'sweep.json').write_text(json.dumps({'runs': [entry], 'options': {}}))
    runs, _ = collect_runs(tmp_path)
    assert {(run.method, run.seed, run.state) for run in runs} == {
        (method, 0, 'finished'),
        (method, 1, 'missing'),
    }


def test_runs_behind_links_count_once(tmp_path):
    real, paper = tmp_path / 'real', tmp_path / 'paper'
    save_runs(real / 'plain', [make_result(), make_result('lora')])
    save_runs(real / 'sweep', [make_result('dora')])
    plan(real / 'sweep', ['dora'], ['digits'], [0, 1])
    paper.mkdir()
    (paper / 'digits').symlink_to(real / 'plain' / 'digits_memba_seed0')
    (paper / 'sweep').symlink_to(real / 'sweep')
    (paper / 'a_run').symlink_to(real / 'sweep' / 'digits_dora_seed0')
    (paper / 'loop').symlink_to(paper)
    assert {name: state for name, (state, _) in states(paper).items()} == {
        'digits': 'finished',
        'sweep/digits_dora_seed0': 'finished',
        'sweep/digits_dora_seed1': 'missing',
    }
    assert not collect_runs(paper)[1]
    assert len(collect_runs(tmp_path)[0]) == 4


def test_nothing_finished_is_an_error(tmp_path):
    plan(tmp_path, ['memba'], ['digits'], [0])
    with pytest.raises(UserError, match='train something first'):
        collect_runs(tmp_path)


@pytest.mark.parametrize('text', ['', '[]', '{}', '{"runs": [{"name": "a"}]}', '{"runs": 3}'])
def test_a_damaged_plan_is_an_error(tmp_path, text):
    save_runs(tmp_path, [make_result()])
    (tmp_path / 'sweep.json').write_text(text)
    with pytest.raises(UserError, match=r'sweep\.json'):
        collect_runs(tmp_path)


def test_an_older_record_without_costs_is_read(tmp_path):
    path = tmp_path / 'run' / RESULT_FILE
    make_result().save(path)
    record = json.loads(path.read_text())
    del record['training_seconds'], record['peak_memory_mib']
    path.write_text(json.dumps(record))
    (run,), _ = collect_runs(tmp_path)
    assert (run.result.training_seconds, run.result.peak_memory_mib) == (None, None)


def test_the_curve_of_a_run_that_was_resumed(tmp_path):
    write_log(tmp_path, '20260101_000000', {1: 2.0, 2: 1.0, 3: 9.0})
    later = write_log(tmp_path, '20260102_000000', {3: 0.5, 4: float('nan')})
    later.write_text(later.read_text() + '{"loss": 0.4, "epo')
    assert loss_curve(tmp_path) == {1: 2.0, 2: 1.0, 3: 0.5}
    assert loss_curve(tmp_path / 'nothing') == {}


def test_the_curve_does_not_depend_on_the_logger(tmp_path):
    write_log(tmp_path, '20260101_000000', {1: 2.0, 2: 1.0, 3: 9.0})  # of an older version
    lines = [{'epoch': 2, 'loss': 1.5}, {'epoch': 3, 'loss': 0.5}, {'epoch': 2, 'loss': 1.25}]
    (tmp_path / CURVE_FILE).write_text(''.join(f'{json.dumps(line)}\n' for line in lines))
    assert loss_curve(tmp_path) == {1: 2.0, 2: 1.25, 3: 0.5}
    for log in tmp_path.glob('*/vis_data/*'):
        log.unlink()
    assert loss_curve(tmp_path) == {2: 1.25, 3: 0.5}


def test_accuracies_do_not_depend_on_the_logger_either(tmp_path):
    log = write_log(tmp_path, '20260101_000000', {1: 2.0})  # of an older version
    log.write_text(log.read_text() + '{"accuracy/top1": 50.0, "step": 1}\n')
    assert accuracy_curve(tmp_path) == {1: 50.0}
    lines = [{'epoch': 2, 'loss': 1.5}, {'epoch': 2, 'accuracy/top1': 60.0}]
    (tmp_path / CURVE_FILE).write_text(''.join(f'{json.dumps(line)}\n' for line in lines))
    assert accuracy_curve(tmp_path) == {1: 50.0, 2: 60.0}
    assert loss_curve(tmp_path) == {1: 2.0, 2: 1.5}


def record(folder, finished: str | None, time: str = '2026-01-01T00:00:00+00:00') -> None:
    config = {'task': 'digits'}
    start = dict(time=time, config=config, config_file='digits_memba.py', seed=0, finished=finished)
    (folder / 'run.json').write_text(json.dumps([start]))


@pytest.mark.parametrize('planned', [False, True])
@pytest.mark.parametrize('finished', [None, '2026-01-01T01:00:00+00:00'])
def test_a_result_is_no_end_where_the_record_knows_of_none(tmp_path, planned, finished):
    """``tools/test.py`` leaves one for any checkpoint."""
    save_runs(tmp_path, [make_result(), make_result('lora')])
    name = 'digits_memba_seed0'
    record(tmp_path / name, finished)
    if planned:
        plan(tmp_path, ['memba', 'lora'], ['digits'], [0])
        set_status(tmp_path, name, 'running')
    runs = {run.name: run for run in collect_runs(tmp_path)[0]}
    is_over = finished is not None
    assert (runs[name].result is not None) == is_over
    assert runs[name].state == ('finished' if is_over else 'running' if planned else 'unfinished')
    assert runs['digits_lora_seed0'].state == 'finished', 'an older version'


def test_a_result_in_a_sweep_of_an_older_version_is_no_end_either(tmp_path):
    save_runs(tmp_path, [make_result(), make_result('lora')])
    plan(tmp_path, ['memba', 'lora'], ['digits'], [0])
    set_status(tmp_path, 'digits_memba_seed0', 'stopped')
    runs = {run.method: run for run in collect_runs(tmp_path)[0]}
    assert (runs['memba'].state, runs['lora'].state) == ('stopped', 'finished')


def test_the_newest_of_equal_runs_is_so_by_its_record(tmp_path):
    for day, top1 in (2, 80.0), (1, 70.0):  # the files of the older one are newer
        save_runs(tmp_path / str(day), [make_result(top1=top1)])
        time = f'2026-01-0{day}T00:00:00+00:00'
        record(tmp_path / str(day) / 'digits_memba_seed0', time, time)
    (run,), _ = collect_runs(tmp_path)
    assert run.result.value == 80.0


def test_the_mean_of_curves():
    curve = mean_curve([{1: 2.0, 2: 1.0}, {1: 4.0}])
    assert (curve.epochs, curve.mean) == ([1, 2], [3.0, 1.0])
    assert (curve.low, curve.high) == ([2.0, 1.0], [4.0, 1.0])
