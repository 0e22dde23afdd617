"""The README: short, its links lead somewhere, and its plot shows what the table has."""

import json
import re
import runpy

from blocks import blocks_of
from helpers import REPOSITORY
from PIL import Image

README = REPOSITORY / 'README.md'
TEXT = README.read_text(encoding='utf-8')
SECTION = re.compile(r'^## Quick start$(.*?)(?=^## )', re.MULTILINE | re.DOTALL)


def test_it_is_short():
    assert len(TEXT.splitlines()) < 150


def test_the_quick_start_has_a_block_to_run_and_one_to_test():
    section = SECTION.search(TEXT)[1]
    run, test = [b.text for b in blocks_of(README) if b.is_shell and b.text in section]
    assert 'tools/train.py' in run
    assert 'pytest' in test


def test_every_link_to_a_file_leads_to_one():
    targets = re.findall(r'\]\(([^)#:]+)(?:#[\w-]+)?\)', TEXT)
    assert len(targets) > 20
    assert not [target for target in targets if not (REPOSITORY / target).exists()]


def test_every_link_to_a_heading_leads_to_one():
    for file, anchor in re.findall(r'\]\(([^)#:]+)#([\w-]+)\)', TEXT):
        headings = re.findall(r'^#+ (.*)$', (REPOSITORY / file).read_text(), re.MULTILINE)
        slugs = [re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-') for heading in headings]
        assert anchor in slugs, f'{file} has no {anchor}'


def test_the_plot_shows_what_is_published(tmp_path):
    script = runpy.run_path(str(REPOSITORY / 'docs' / 'accuracy_plot.py'))
    assert len(script['points']()) >= 8
    with Image.open(script['PICTURE']) as picture:
        shown = picture.info['Description']
    assert json.loads(shown) == json.loads(script['description']()), (
        'run "python docs/accuracy_plot.py"'
    )
    script['draw']().savefig(tmp_path / 'drawn.png')
    Image.open(tmp_path / 'drawn.png').verify()
