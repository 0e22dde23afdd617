"""The site builds without a warning, needs no network, and tells of all there is."""

import json
import re
import subprocess
import sys

import pytest
from helpers import REPOSITORY

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
        text = page.read_text(encoding='utf-8')
        assert not FETCHED.search(text), page
        assert str(REPOSITORY) not in text, f'{page} names the folder that it was built in'
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


def test_the_extras_are_all_described():
    table = re.search(r'^EXTRAS = \{(.*?)^\}', (REPOSITORY / 'setup.py').read_text(), re.M | re.S)
    extras = {*re.findall(r"^    '(\w+)':", table[1], re.MULTILINE), 'test'}
    text = (DOCS / 'get_started.md').read_text(encoding='utf-8')
    assert extras == set(re.findall(r'^\| `(\w+)` \|', text, re.MULTILINE))
