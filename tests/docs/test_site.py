"""The site builds without a warning, needs no network, and its tables are those of the code."""

import json
import re
import runpy
import subprocess
import sys
from itertools import product

import pytest
from helpers import REPOSITORY

from memba_vision.datasets.tasks import MINI1_TASKS, MINI2_TASKS
from memba_vision.reports.run_list import read_run_list
from memba_vision.runs.presets import preset_names
from memba_vision.zoo.methods import all_methods

DOCS = REPOSITORY / 'docs'
FETCHED = re.compile(
    r'<(?:script|img|link rel="(?:stylesheet|preload|icon)")[^>]*(?:src|href)="http'
)


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The folder of the built site."""
    tmp_path = tmp_path_factory.mktemp('site')
    command = [sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going', '-b', 'html']
    command += ['-d', tmp_path / 'doctrees', DOCS, tmp_path / 'site']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tmp_path / 'site'


@pytest.mark.slow
def test_the_pages_of_the_site_fetch_nothing(site):
    pages = list(site.rglob('*.html'))
    assert {'index.html', 'faq.html', 'methods.html', 'ops.html'} <= {page.name for page in pages}
    for page in pages:
        assert not FETCHED.search(page.read_text(encoding='utf-8')), page
    ops = (site / 'api' / 'ops.html').read_text(encoding='utf-8')
    assert 'id="memba_vision.ops.selective_scan.selective_scan"' in ops


@pytest.mark.slow
@pytest.mark.parametrize(
    ('words', 'page'), [('learning rate', 'training_options'), ('huggingface', 'model_zoo')]
)
def test_a_search_leads_to_prose(words, page, site):
    """Sphinx puts pages with the words in a heading first."""
    text = (site / 'searchindex.js').read_text(encoding='utf-8')
    index = json.loads(text[text.index('{') : text.rindex('}') + 1])
    found = {
        index['docnames'][number]
        for title, places in index['alltitles'].items()
        for number, _ in places
        if words in title.lower()
    }
    assert page in found


@pytest.mark.slow
def test_headings_with_numbers_are_in_the_contents_and_tabs_are_tabs(site):
    text = (site / 'training_options.html').read_text(encoding='utf-8')
    contents = text[text.index('class="toc-tree"') :]
    assert '1. Learning rate' in contents[: contents.index('</aside>')]
    assert 'class="sd-tab-label"' in text


def test_no_page_has_the_name_of_one_that_sphinx_makes():
    taken = {'search', 'genindex', 'py-modindex'}
    assert not taken & {path.stem for path in DOCS.glob('*.*')}, 'Sphinx would write over it'


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


def test_the_extras_are_all_described():
    table = re.search(r'^EXTRAS = \{(.*?)^\}', (REPOSITORY / 'setup.py').read_text(), re.M | re.S)
    extras = {*re.findall(r"^    '(\w+)':", table[1], re.MULTILINE), 'test'}
    text = (DOCS / 'get_started.md').read_text(encoding='utf-8')
    assert extras == set(re.findall(r'^\| `(\w+)` \|', text, re.MULTILINE))
