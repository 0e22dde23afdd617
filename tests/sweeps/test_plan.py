"""The forecast of a sweep: within a time, and where the runs will be."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from helpers import DEMO
from script_jobs import ScriptExecutor, arguments

from memba_vision.errors import UserError
from memba_vision.reports.collect import find_runs
from memba_vision.runs.backbone import Backbone
from memba_vision.sweeps import calibration, plan_elsewhere
from memba_vision.sweeps.calibration import Speed, cost, measure_all
from memba_vision.sweeps.jobs import Options, make_jobs
from memba_vision.sweeps.plan import _which

PLAN = "open('plan.json', 'w').write('{\"plan\": \"two hours\"}')"


def model(arch: str, number: int) -> SimpleNamespace:
    return SimpleNamespace(backbone=Backbone(arch=arch), resolved=number)


def test_what_there_is_no_time_to_measure_is_taken_for_the_mean_of_its_backbone(monkeypatch):
    models = [model('a', 1), model('b', 5), model('a', 3), model('a', 4), model('c', 5)]
    # The deadline is at 10; the three take 1, 2 and 4 seconds, and another 4 would be too late.
    times = iter([0.0, 0.0, 1.0, 1.0, 3.0, 3.0, 7.0, 7.0])
    monkeypatch.setattr(calibration, 'time', SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.setattr(calibration, 'model_key', lambda job: f'{job.backbone.arch}{job.resolved}')
    monkeypatch.setattr(calibration, 'measure', lambda steps, _: Speed(steps, 1.0, 10 * steps))
    monkeypatch.setattr(calibration, 'BUDGET', 10.0)
    found = measure_all(models, torch.device('cpu'))
    assert found['a3'] == Speed(3, 1.0, 30)
    assert found['a4'] == Speed(2, 1.0, 30, is_measured=False)
    assert found['c5'].step == 3.0
    assert _which(found) == '3 of 5 models; the others count as the mean of those'


@pytest.mark.parametrize(
    ('options', 'most'),
    [
        (('interval=1',), 2),
        (('interval=1', 'max_keep_ckpts=-1'), 20),
        (('interval=6', 'max_keep_ckpts=-1'), 4),
        (('interval=1', 'max_keep_ckpts=5'), 5),
    ],
)
def test_the_disk_has_room_for_all_checkpoints_that_are_kept(tmp_path, options, most):
    options = tuple(f'default_hooks.checkpoint.{option}' for option in options)
    (job,) = make_jobs([str(DEMO)], [], [0], tmp_path, Options(options))
    assert job.length() == ('epochs', 20)
    disk = cost(job, Speed(0.1, 0.1, 10_000_000), 0.0).disk
    assert disk // 10_000_000 == most + 1


def plan(tmp_path, monkeypatch, code: str) -> str:
    monkeypatch.setattr(
        plan_elsewhere.Errand,
        'command',
        lambda self, processes: [
            *('python', '-c', f'import os; os.chdir({str(self.folder)!r})\n{code}', *self.arguments)
        ],
    )
    make = partial(ScriptExecutor, arguments(fresh_processes=True))
    return plan_elsewhere.plan_elsewhere(make, ['--plan'], tmp_path / 'sweep')


def test_a_node_measures(tmp_path, monkeypatch):
    check = "import sys; assert sys.argv[1:4] == ['--plan', '--executor', 'local']"
    assert plan(tmp_path, monkeypatch, f'{check}\n{PLAN}') == 'two hours'
    assert not list(tmp_path.iterdir()), 'nothing is left of it'


def test_a_forecast_that_a_killed_sweep_left_is_no_run(tmp_path):
    (tmp_path / '.sweep.plan').mkdir()
    plan_elsewhere.write_plan(tmp_path / '.sweep.plan', 'two hours')
    assert find_runs(tmp_path) == []


def test_a_measurement_that_fails(tmp_path, monkeypatch):
    with pytest.raises(UserError, match='the measurement for --plan failed: no such data'):
        plan(tmp_path, monkeypatch, 'raise SystemExit("error: no such data")')
