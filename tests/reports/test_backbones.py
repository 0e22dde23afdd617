"""Reports over several backbones, and over metrics that are not top-1."""

import csv
import json
from dataclasses import replace

import pytest
from helpers import run_tool
from made_runs import make_result, plan, save_runs, set_status

from memba_vision.datasets.tasks import VTAB1K_TASKS
from memba_vision.reports.accuracy_table import accuracy_table
from memba_vision.reports.collect import collect_runs
from memba_vision.reports.comparisons import compare
from memba_vision.reports.content import make_content
from memba_vision.reports.figures import draw_differences
from memba_vision.reports.scores import scores_by_suite
from memba_vision.reports.tables import summary_table, task_table
from memba_vision.runs.backbone import RANDOM, Backbone

TINY, SMALL = Backbone('vim', 'vim_tiny', '1' * 64), Backbone('vim', 'vim_small', '2' * 64)


def save(folder, backbone: Backbone, value: float, **others) -> None:
    """Runs of two methods on two tasks with two seeds."""
    results = [
        make_result(method, task, seed, value + seed + (method == 'memba'), **others)
        for method in ('memba', 'lora_out_proj')
        for task in ('dtd', 'kitti')
        for seed in (0, 1)
    ]
    save_runs(folder / (backbone.arch or 'old'), [replace(r, backbone=backbone) for r in results])


@pytest.fixture
def two(tmp_path):
    save(tmp_path, TINY, 40.0)
    save(tmp_path, SMALL, 60.0)
    return tmp_path


def test_each_backbone_has_tables_of_its_own(two):
    content = make_content('t', *collect_runs(two), None)
    assert [section.scores.title for section in content.sections] == [
        'VTAB-1k (2 of 19 tasks), vim_small',
        'VTAB-1k (2 of 19 tasks), vim_tiny',
    ]
    means = [
        [(row[0].text, row[1].text) for row in task_table(section.scores).rows]
        for section in content.sections
    ]
    assert means == [
        [('memba', '61.5 ± 0.7'), ('lora_out_proj', '60.5 ± 0.7')],
        [('memba', '41.5 ± 0.7'), ('lora_out_proj', '40.5 ± 0.7')],
    ]
    assert all('2 of' not in cell.remark for s in content.sections for cell in s.tables[1].rows[0])
    assert any('Each backbone has tables of its own' in note for note in content.notes)


def test_published_figures_are_those_of_the_architecture(tmp_path):
    for backbone in (SMALL, TINY):
        results = [make_result(task=task, backbone=backbone) for task in VTAB1K_TASKS]
        save_runs(tmp_path / backbone.arch, results)
    small, tiny = scores_by_suite(collect_runs(tmp_path)[0])
    assert summary_table(small).caption.endswith('in brackets what is published for Vim-S')
    assert summary_table(small).rows[0][6].published == '72.40'
    assert 'published' not in summary_table(tiny).caption
    assert not any(cell.published for row in summary_table(tiny).rows for cell in row)


def test_the_files_of_a_report_tell_backbones_apart(two):
    outcome = run_tool('report', two)
    assert outcome.status == 0, outcome
    assert '| method (2 seeds) | backbone  |' in outcome.out
    rows = list(csv.DictReader((two / 'report.csv').read_text().splitlines()))
    averages = {(r['method'], r['backbone']): r['top1'] for r in rows if r['over'] == 'average'}
    assert averages['memba', 'vim_tiny'] == '41.5'
    assert averages['memba', 'vim_small'] == '61.5'
    assert {r['base'][:1] for r in csv.DictReader((two / 'runs.csv').read_text().splitlines())} == {
        '1',
        '2',
    }
    assert '<span>2 backbones</span>' in (two / 'report.html').read_text()
    assert 'VTAB-1k (2 of 19 tasks), vim\\_tiny: means' in (two / 'report.tex').read_text()
    assert '## VTAB-1k (2 of 19 tasks), vim_tiny: means' in (two / 'report.md').read_text()


def test_the_newest_counts_of_runs_with_the_same_backbone_alone(two):
    runs, remarks = collect_runs(two)
    assert (len(runs), remarks) == (16, [])
    save_runs(two / 'again', [make_result(task='dtd', backbone=TINY)])
    runs, remarks = collect_runs(two)
    assert len(runs) == 16
    assert 'vim_tiny/dtd_memba_seed0 is left out' in ''.join(remarks)


def test_two_base_weights_of_one_architecture_are_two_backbones(tmp_path):
    results = [make_result(seed=s, backbone=replace(TINY, base=b * 64)) for s, b in enumerate('12')]
    save_runs(tmp_path, results)
    titles = [scores.title for scores in scores_by_suite(collect_runs(tmp_path)[0])]
    part = 'mini-VTAB 1 (1 of 3 tasks), vim_tiny'
    assert titles == [f'{part} (11111111)', f'{part} (22222222)']


def test_random_weights_stand_beside_the_pre_trained_ones(tmp_path):
    scratch = [make_result('scratch', seed=s, backbone=replace(TINY, base=RANDOM)) for s in (0, 1)]
    save_runs(tmp_path, [make_result(backbone=TINY), *scratch])
    (scores,), (_, remarks) = scores_by_suite(collect_runs(tmp_path)[0]), collect_runs(tmp_path)
    assert set(scores.methods) == {'memba', 'scratch'}
    assert remarks == []


def test_random_weights_in_the_place_of_pre_trained_ones_are_another_backbone(tmp_path):
    bases = {'loaded': (TINY, 90.0), 'random': (replace(TINY, base=RANDOM), 10.0)}
    for name, (backbone, top1) in bases.items():
        save_runs(tmp_path / name, [make_result('lora', top1=top1, backbone=backbone)])
    runs, remarks = collect_runs(tmp_path)
    assert {run.backbone_name: run.result.top1 for run in runs} == {
        'vim_tiny': 90.0,
        'vim_tiny (random)': 10.0,
    }
    assert remarks == []
    rows = accuracy_table([run.result for run in runs]).splitlines()[2:]
    assert ['90.0' in row for row in rows] == ['10.0' not in row for row in rows] == [True, False]


def test_runs_whose_base_weights_are_not_known_are_told(tmp_path):
    save_runs(
        tmp_path,
        [make_result(backbone=replace(TINY, base=None)), make_result('lora', backbone=TINY)],
    )
    runs, remarks = collect_runs(tmp_path)
    assert len(scores_by_suite(runs)) == 1
    assert remarks == [
        '1 of the runs with vim_tiny do not say which base weights they had: they are taken for '
        'those of the others'
    ]


def test_planned_runs_of_an_old_sweep_belong_to_its_backbone(tmp_path):
    plan(tmp_path, ['memba', 'lora'], ['digits'], [0])
    save_runs(tmp_path, [make_result(backbone=TINY)])
    set_status(tmp_path, 'digits_lora_seed0', 'failed', 'the loss is nan')
    (scores,) = scores_by_suite(collect_runs(tmp_path)[0])
    assert [run.state for run in scores.runs] == ['finished', 'failed']


def test_planned_runs_name_their_backbone(tmp_path):
    plan(tmp_path, ['memba'], ['digits'], [0, 1])
    sweep = json.loads((tmp_path / 'sweep.json').read_text())
    for run, arch in zip(sweep['runs'], ('vim_tiny', 'vim_small'), strict=True):
        run['backbone'] = dict(family='vim', arch=arch, base=None)
    (tmp_path / 'sweep.json').write_text(json.dumps(sweep))
    save_runs(tmp_path, [make_result(backbone=TINY)])
    found = {run.backbone_name: run.state for run in collect_runs(tmp_path)[0]}
    assert found == {'vim_tiny': 'finished', 'vim_small': 'missing'}


# Metrics

ERROR = dict(metric='mae', higher_is_better=False)


def test_the_lowest_error_is_best(tmp_path):
    save(tmp_path, SMALL, 0.123456, **ERROR)
    (scores,) = scores_by_suite(collect_runs(tmp_path)[0])
    lora, memba = task_table(scores).rows
    assert lora[0].text == 'lora_out_proj', 'the lowest comes first'
    assert (lora[1].text, lora[1].best, memba[1].best) == ('0.6235 ± 0.7071', True, False)
    assert task_table(scores).caption.startswith('mae (lower is better) task by task')
    summary = summary_table(scores)
    assert not any(cell.published for row in summary.rows for cell in row), 'that is top-1'
    assert scores.difference('lora_out_proj', 'memba', ['dtd']).value == pytest.approx(1.0)
    drawn = draw_differences(scores, 'memba', compare(scores, 'memba'))
    assert drawn.caption.startswith('Of mae, above zero')


def test_two_metrics_are_never_averaged(tmp_path):
    errors = [make_result(task='dtd', top1=0.5, seed=s, **ERROR) for s in (0, 1)]
    save_runs(tmp_path, [*errors, make_result(task='kitti', top1=80.0)])
    plan(tmp_path, ['memba'], ['dtd', 'kitti'], [0, 1])
    outcome = run_tool('report', tmp_path)
    assert outcome.status == 0, outcome
    rows = list(csv.DictReader((tmp_path / 'report.csv').read_text().splitlines()))
    averages = {r['metric']: (r['value'], r['higher_is_better'], r['not_finished']) for r in rows}
    assert averages == {
        'mae': ('0.5', 'False', ''),
        'accuracy/top1': ('80', 'True', 'kitti_memba_seed1: missing'),
    }
    assert '## VTAB-1k (1 of 19 tasks), mae: means' in (tmp_path / 'report.md').read_text()
