"""The tables of the pages are those of the code, and of all runs that there should be."""

import re
import runpy
from itertools import product

import pytest
from helpers import REPOSITORY

from memba_vision.datasets.tasks import MINI1_TASKS, MINI2_TASKS
from memba_vision.reports.run_list import read_run_list
from memba_vision.runs.presets import preset_names
from memba_vision.zoo.methods import all_methods

DOCS = REPOSITORY / 'docs'


@pytest.mark.slow
def test_the_tables_are_those_of_the_code():
    tables = runpy.run_path(str(DOCS / 'tables.py'))
    shown = []
    for page in tables['PAGES']:
        text = page.read_text(encoding='utf-8')
        shown += [match[1] for match in tables['TABLE'].finditer(text)]
        assert tables['with_tables'](text) == text, f'run "python docs/tables.py": {page.name}'
    assert sorted(shown) == sorted(tables['TABLES'])
    text = (DOCS / 'vtab1k.md').read_text(encoding='utf-8')
    assert '| `memba` ' in text
    assert '| 72.40 |' in re.sub(' +', ' ', text)


def test_what_was_measured_on_mini_vtab_was_measured_on_every_task_with_three_seeds():
    runs = read_run_list((DOCS / 'results' / 'mini_vtab.csv').read_text(encoding='utf-8'))
    methods = {run.method for run in runs}
    assert methods <= set(preset_names())
    measured = sorted((run.method, run.task, run.seed) for run in runs)
    assert measured == sorted(product(methods, MINI1_TASKS, range(3)))


@pytest.mark.parametrize('name', ['mini_vtab_2', 'mini_vtab_2_one_rate'])
def test_every_method_that_was_published_was_measured_on_all_tasks_of_mini_vtab_2(name):
    runs = read_run_list((DOCS / 'results' / f'{name}.csv').read_text(encoding='utf-8'))
    measured = {(run.method, run.task) for run in runs if run.seed == 0}
    published = {m.preset for m in all_methods() if 'vim_small' in m.published}
    assert set(product(published, MINI2_TASKS)) <= measured
