"""Every command and every Python block of README and docs runs, or the page says why it cannot."""

import re
import subprocess

import pytest
from blocks import Block, blocks_of
from helpers import REPOSITORY

PAGES = sorted(
    path for path in [*REPOSITORY.glob('*.md'), *REPOSITORY.glob('docs/**/*.md')] if blocks_of(path)
)
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN = [page for page in PAGES if any(block.runs for block in blocks_of(page))]


def ids(value):
    return str(value.relative_to(REPOSITORY)) if not isinstance(value, Block) else str(value)


@pytest.mark.slow
@pytest.mark.parametrize('page', RUN, ids=ids)
def test_the_blocks_of_a_page_run(page, scratch):
    for block in blocks_of(page):
        if block.runs:
            scratch.run(block)


def test_there_are_pages():
    assert {'README.md', 'methods.md', 'own_data.md'} <= {page.name for page in PAGES}


@pytest.mark.parametrize('block', BLOCKS, ids=ids)
def test_a_block_is_of_a_known_kind(block):
    assert block.is_known, f'{block}: unknown language {block.language!r}; listings are ```text'
    assert block.reason is None or len(block.reason) > 5, f'{block}: say why it is not run'
    assert block.language != 'console' or block.commands.strip(), f'{block}: no line with a prompt'


SHARED_OPTIONS = ''.join(path.read_text() for path in (REPOSITORY / 'memba_vision').rglob('*.py'))
NOT_RUN = [block for block in BLOCKS if block.reason and block.is_shell]


@pytest.mark.parametrize('block', NOT_RUN, ids=ids)
def test_commands_that_are_not_run_are_right_as_far_as_can_be_seen(block):
    """They parse, and their tools, files and options exist."""
    subprocess.run(['bash', '-n', '-c', block.commands], check=True)
    made = {other.file for other in blocks_of(block.page)}
    for config in re.findall(r'\bconfigs/[\w/.-]+\.py', block.commands):
        assert config in made or (REPOSITORY / config).is_file(), f'{block}: no {config}'
    joined = block.commands.replace('\\\n', ' ')
    for tool, arguments in re.findall(r'\btools/(\w+)\.py([^\n;|]*)', joined):
        source = (REPOSITORY / 'tools' / f'{tool}.py').read_text() + SHARED_OPTIONS
        for option in re.findall(r'(?<!\S)--[\w-]+', arguments.split(' #')[0]):
            assert f"'{option}'" in source, f'{block}: tools/{tool}.py has no {option}'


def test_python_that_is_not_run_parses():
    for block in BLOCKS:
        if block.reason and block.language == 'python':
            compile(block.text, str(block), 'exec')
