import csv
import json
from dataclasses import replace

import pytest

from memba_vision.datasets.tasks import VTAB1K_TASKS
from memba_vision.errors import UserError
from memba_vision.reports.result_tables import as_csv, as_markdown, table_rows, write_table
from memba_vision.runs.backbone import Backbone
from memba_vision.runs.result import Result

# MambaPEFT's LoRAp(X) over 7, 4 and 8 tasks: group means that round to the printed 76.64, 83.89
# and 60.84, and the printed average.
GROUP_MEANS = {'Natural': 76.644, 'Specialized': 83.894, 'Structured': 60.844}
PRINTED_AVERAGE = '71.52'
COLUMNS = ('method', 'task', 'group', 'top-1 (%)', 'trained parameters')


def result(task: str, top1: float, method: str = 'memba') -> Result:
    return Result(task, method, top1, 100, 4_757_092, 4_718_592, 0, f'{task}.py', 'epoch_100.pth')


@pytest.fixture
def published() -> list[Result]:
    """All tasks, their values spread around the group means, in no order."""
    results = []
    for group, mean in GROUP_MEANS.items():
        tasks = [name for name, task in VTAB1K_TASKS.items() if task.group == group]
        middle = (len(tasks) - 1) / 2
        results += [result(name, mean + 3 * (i - middle)) for i, name in enumerate(tasks)]
    return results[::-1]


def summary(rows) -> dict[str, tuple[str, str]]:
    return {row[1]: (row[2], row[3]) for row in rows if row[4] == ''}


def test_both_averages_are_given(published):
    assert summary(table_rows(published)) == {
        'Natural mean': ('7 tasks', '76.64'),
        'Specialized mean': ('4 tasks', '83.89'),
        'Structured mean': ('8 tasks', '60.84'),
        'average': ('19 tasks', PRINTED_AVERAGE),
        'average of groups': ('19 tasks', '73.79'),
    }


def test_tasks_come_in_the_order_of_the_benchmark(published):
    assert [row[1] for row in table_rows(published)][:19] == list(VTAB1K_TASKS)


def test_missing_tasks_are_said():
    results = [result('cifar100', 60.0), result('kitti', 80.0), result('dmlab', 40.0)]
    assert summary(table_rows(results)) == {
        'Natural mean': ('1 of 7 tasks', '60.00'),
        'Structured mean': ('2 of 8 tasks', '60.00'),
        'average': ('3 of 19 tasks', '60.00'),
        'average of groups': ('3 of 19 tasks', '60.00'),
    }


def test_a_task_with_several_runs_counts_once():
    results = [result('digits', 90.0), result('digits', 92.0), result('sprites_location', 41.0)]
    assert summary(table_rows(results)) == {
        'Mini mean': ('2 of 3 tasks', '66.00'),
        'average': ('2 of 3 tasks', '66.00'),
    }


def test_two_suites_are_never_averaged():
    tasks = {'digits': 90.0, 'sprites_location': 40.0, 'dtd': 70.0, 'svhn': 80.0}
    rows = table_rows([result(task, value) for task, value in tasks.items()])
    means = [row[1:4] for row in rows if row[1].endswith('average')]
    assert means == [
        ('VTAB-1k average', '2 of 19 tasks', '75.00'),
        ('mini-VTAB 1 average', '2 of 3 tasks', '65.00'),
    ]


def test_one_result_has_no_means():
    assert table_rows([result('svhn', 90.123)]) == [
        ('memba', 'svhn', 'Natural', '90.12', '4,757,092')
    ]


def test_suites_are_apart():
    tasks = {'svhn': 90.0, 'dtd': 70.0, 'letters': 20.0, 'textures': 40.0, 'cells': 60.0}
    rows = table_rows([result(task, top1) for task, top1 in tasks.items()])
    assert [row[1:4] for row in rows if row[1] not in tasks] == [
        ('VTAB-1k Natural mean', '2 of 7 tasks', '80.00'),
        ('VTAB-1k average', '2 of 19 tasks', '80.00'),
        ('VTAB-1k average of groups', '2 of 19 tasks', '80.00'),
        ('mini-VTAB 2 Natural mean', '2 of 3 tasks', '30.00'),
        ('mini-VTAB 2 Specialized mean', '1 of 2 tasks', '60.00'),
        ('mini-VTAB 2 average', '3 of 9 tasks', '40.00'),
        ('mini-VTAB 2 average of groups', '3 of 9 tasks', '45.00'),
    ]


def test_methods_are_apart():
    results = [result(task, 50.0 + 10 * (m == 'b'), m) for task in ('svhn', 'dtd') for m in 'ab']
    rows = table_rows(results)
    assert [(row[0], row[1], row[3]) for row in rows if row[1] in ('dtd', 'average')] == [
        ('a', 'dtd', '50.00'),
        ('a', 'average', '50.00'),
        ('b', 'dtd', '60.00'),
        ('b', 'average', '60.00'),
    ]


def test_markdown_is_aligned(published):
    lines = as_markdown(published).splitlines()
    assert len(lines) == 2 + 19 + 5
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[0].strip('|').split('|')] == list(COLUMNS)
    assert [cell.strip()[-1] for cell in lines[1].strip('|').split('|')] == list('---::')


def test_csv(published):
    rows = list(csv.reader(as_csv(published).splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert rows[-2] == ['memba', 'average', '19 tasks', PRINTED_AVERAGE, '']
    assert rows[1][4] == '4,757,092'


@pytest.mark.parametrize('name', ['new/table.md', 'table.csv', 'table.json'])
def test_files(published, tmp_path, name):
    write_table(str(tmp_path / name), published)
    text = (tmp_path / name).read_text()
    if name.endswith('.json'):
        records = [Result.from_record(record) for record in json.loads(text)]
        assert records == published
    else:
        assert text == (as_markdown(published) if name.endswith('.md') else as_csv(published))


@pytest.mark.parametrize('name', ['table', 'table.txt', 'md', '.md'])
def test_wrong_ending(published, tmp_path, name):
    with pytest.raises(UserError, match=r'must end in \.md, \.csv or \.json'):
        write_table(str(tmp_path / name), published)
    assert not list(tmp_path.iterdir())


def test_record_is_saved_as_json(tmp_path):
    record = result('kitti', 81.25)
    record.save(tmp_path / 'result.json')
    assert Result.from_record(json.loads((tmp_path / 'result.json').read_text())) == record
    assert record.line() == (
        'kitti, memba: test top-1 81.25 % of 100 images, 4,757,092 trained parameters'
    )


def test_a_record_of_version_0_1_reads_as_vim_and_top1():
    old = {**result('kitti', 81.25).as_record()}
    for key in ('backbone', 'metric', 'value', 'higher_is_better'):
        del old[key]
    assert old['top1'] == 81.25
    assert Result.from_record(old) == result('kitti', 81.25)
    assert Result.from_record(old).backbone == Backbone('vim', None, None)


def test_two_backbones_are_never_averaged():
    tiny, small = Backbone('vim', 'vim_tiny', '1' * 64), Backbone('vim', 'vim_small', '2' * 64)
    results = [
        replace(result(task, value), backbone=backbone)
        for backbone, value in [(tiny, 40.0), (small, 60.0)]
        for task in ('dtd', 'svhn')
    ]
    header, *rows = csv.reader(as_csv(results).splitlines())
    assert header[:3] == ['method', 'backbone', 'task']
    means = [(row[1], row[4]) for row in rows if row[2] == 'average']
    assert means == [('vim_tiny', '40.00'), ('vim_small', '60.00')]
    lines = as_markdown(results).splitlines()
    assert [cell.strip()[-1] for cell in lines[1].strip('|').split('|')] == list('----::')


def test_two_metrics_are_never_averaged():
    error = replace(result('kitti', 0.31256), metric='mae', higher_is_better=False)
    assert error.top1 is None
    assert 'top1' not in error.as_record()
    assert Result.from_record(error.as_record()) == error
    assert 'test mae 0.3126 of 100 images' in error.line()
    assert as_csv([error]).splitlines()[0].split(',')[3] == 'mae (lower is better)'
    header, *rows = csv.reader(as_csv([result('dtd', 50.0), error]).splitlines())
    assert header == ['method', 'task', 'group', 'metric', 'value', 'trained parameters']
    assert [(row[1], row[3], row[4]) for row in rows] == [
        ('dtd', 'top-1 (%)', '50.00'),
        ('kitti', 'mae (lower is better)', '0.3126'),
    ]
