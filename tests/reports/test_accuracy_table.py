"""Runs of several methods, tasks and seeds in one table."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from helpers import run_tool
from made_runs import make_result, with_group_means

from memba_vision.errors import UserError
from memba_vision.reports.accuracy_table import accuracy_table, group_table, short_table
from memba_vision.reports.collect import collect_runs
from memba_vision.runs.backbone import Backbone
from memba_vision.runs.result import RESULT_FILE


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in table.splitlines()]


def test_mean_and_deviation_over_seeds():
    results = [make_result(seed=seed, top1=top1) for seed, top1 in enumerate([90.0, 91.0, 95.0])]
    header, _, row = rows(accuracy_table(results))
    assert header == ['method (3 seeds)', 'adapter parameters', 'digits']
    assert row == ['memba', '73,728', '92.0 ± 2.6']


def test_sizes_that_follow_from_the_data_are_a_range():
    sizes = (65_722, 69_292, 66_148)
    results = [make_result(seed=n, adapter_parameters=size) for n, size in enumerate(sizes)]
    assert rows(accuracy_table(results))[2][1] == '65,722 to 69,292'


def test_one_seed_has_no_deviation():
    header, _, row = rows(accuracy_table([make_result()]))
    assert header[0] == 'method (1 seed)'
    assert row[2] == '90.0'


def test_missing_runs_are_empty_and_fewer_seeds_are_said():
    results = [make_result(seed=seed) for seed in range(2)]
    results += [make_result(method='lora', task='sprites_location', top1=50.0)]
    header, _, memba, lora = rows(accuracy_table(results))
    names = ['method', 'seeds', 'adapter parameters', 'digits', 'sprites_location', 'mean']
    assert header == names
    assert lora == ['lora', '1', '73,728', '', '50.0', '']
    assert memba == ['memba', '2', '73,728', '90.0 ± 0.0', '', '']
    results.append(make_result(task='sprites_location', top1=40.0))
    memba, _ = rows(accuracy_table(results))[2:]
    assert memba == ['memba', '2', '73,728', '90.0 ± 0.0', '40.0 (1 seed)', '65.0']


def test_the_best_mean_over_the_tasks_comes_first():
    tops = {
        'dora': (60.0, 80.0),
        'full': (95.0, None),
        'lora': (90.0, None),  # one task is missing, so it has no mean
        'memba': (70.0, 90.0),
        'scratch': (85.0, 30.0),
    }
    results = [
        make_result(method, task, top1=top1)
        for method, pair in tops.items()
        for task, top1 in zip(('digits', 'sprites_location'), pair, strict=True)
        if top1 is not None
    ]
    _, _, *table = rows(accuracy_table(results))
    means = [(row[0], row[-1]) for row in table]
    assert means == [
        ('memba', '80.0'),
        ('dora', '70.0'),
        ('scratch', '57.5'),
        ('full', ''),
        ('lora', ''),
    ]


def of_three_groups(method: str, natural: float, **others) -> list:
    means = with_group_means(natural, 85.0, 60.0)
    return [make_result(method, task, top1=top1, **others) for task, top1 in means.items()]


def test_several_groups_have_both_averages():
    results = of_three_groups('memba', 77.0, seed=0) + of_three_groups('memba', 79.0, seed=1)
    results += of_three_groups('lora', 70.0)[1:]
    header, _, *table = rows(group_table(results))
    assert header[:3] == ['method', 'seeds', 'adapter parameters']
    titles = ['Natural', 'Specialized', 'Structured', 'mean over tasks', 'mean over groups']
    assert header[3:] == titles
    memba = ['78.0 ± 1.4', '85.0 ± 0.0', '60.0 ± 0.0', '71.9 ± 0.5', '74.3 ± 0.5']
    assert [row[3:] for row in table] == [memba, ['', '85.0', '60.0', '', '']]
    assert short_table(results) == group_table(results)
    header, _, memba, lora = rows(accuracy_table(results))
    assert header[3:5] == ['cifar100', 'caltech101']
    assert header[-4:] == ['smallnorb azimuth', 'smallnorb elevation', *titles[3:]]
    assert (memba[3], memba[-2:]) == ('76.5 ± 1.4', ['71.9', '74.3'])
    assert (lora[3], lora[4], lora[-2:]) == ('', '69.0', ['', ''])


def test_a_part_of_a_group_says_so():
    header = rows(group_table(of_three_groups('memba', 77.0)[2:]))[0]
    assert header[2:4] == ['Natural (5 of 7 tasks)', 'Specialized']


def test_benchmarks_have_tables_of_their_own():
    mini, vtab = make_result(), of_three_groups('memba', 77.0)
    first, second = accuracy_table([mini, *vtab]).split('\n\n')
    assert first.startswith('| method (1 seed), VTAB-1k |')
    assert rows(second)[0] == ['method (1 seed), mini-VTAB 1', 'adapter parameters', 'digits']


def test_collects_the_runs_below_a_folder(tmp_path):
    results = [make_result(seed=seed) for seed in range(2)]
    for result in results:
        result.save(tmp_path / f'seed{result.seed}' / RESULT_FILE)
    assert [run.result for run in collect_runs(tmp_path)[0]] == results
    outcome = run_tool('report', tmp_path)
    assert outcome.status == 0
    assert outcome.out.startswith(accuracy_table(results))
    files = 'report.html, report.md, report.csv, report.tex, runs.csv, report_figures/'
    assert outcome.out.splitlines()[-1] == f'written to {tmp_path}: {files}'
    assert all((tmp_path / name).exists() for name in files.split(', '))


def test_a_folder_without_runs_is_an_error(tmp_path):
    assert 'train something first' in run_tool('report', tmp_path).error()


@pytest.mark.parametrize('content', ['', '[]', '{}', json.dumps(asdict(make_result()))[:-9]])
def test_a_damaged_record_is_an_error(content, tmp_path):
    (tmp_path / RESULT_FILE).write_text(content)
    with pytest.raises(UserError, match='is not a result of this version'):
        collect_runs(tmp_path)


VERSION_0_1 = Path(__file__).parents[1] / 'regression' / 'version_0_1' / 'runs'


def test_results_of_version_0_1_take_their_backbone_from_the_record_beside_them(tmp_path):
    first, second = (run.result for run in collect_runs(VERSION_0_1)[0])
    assert (first.top1, first.metric, first.higher_is_better) == (20.0, 'accuracy/top1', True)
    assert first.backbone == second.backbone
    assert first.backbone.arch.startswith('vim_custom_')
    (tmp_path / RESULT_FILE).write_text((VERSION_0_1 / 'memba' / RESULT_FILE).read_text())
    assert collect_runs(tmp_path)[0][0].backbone == Backbone('vim', None, None)


def test_two_backbones_have_rows_of_their_own(tmp_path):
    mini = Backbone('vim', 'vim_mini', '1' * 64)
    results = [make_result(top1=60.0 + seed, seed=seed, backbone=mini) for seed in range(2)]
    older = [run.result for run in collect_runs(VERSION_0_1)[0]]
    results += [replace(result, seed=result.seed + 2) for result in older]
    header, _, *table = rows(accuracy_table(results))
    assert header == ['method', 'backbone', 'seeds', 'adapter parameters', 'digits']
    custom = results[-1].backbone.arch
    assert [(row[0], row[1], row[2], row[4]) for row in table] == [
        ('memba', 'vim_mini', '2', '60.5 ± 0.7'),
        ('lora_x_proj', custom, '1', '20.0'),
        ('memba', custom, '1', '20.0'),
    ]


def test_the_lowest_is_best_where_lower_is_better():
    errors = dict(metric='mae', higher_is_better=False)
    results = [
        make_result(method, top1=value, **errors)
        for method, value in [('memba', 0.25), ('lora', 0.5), ('dora', 0.125)]
    ]
    header, _, *table = rows(accuracy_table(results))
    assert header[0] == 'method (1 seed), mae (lower is better)'
    assert [(row[0], row[2]) for row in table] == [
        ('dora', '0.125'),
        ('memba', '0.25'),
        ('lora', '0.5'),
    ]
    both = accuracy_table([*results, make_result()])
    assert both == accuracy_table(results) + '\n' + accuracy_table([make_result()])
