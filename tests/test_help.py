"""What ``--help`` shows."""

import re

import pytest
from helpers import TOOLS, run_tool

SUBCOMMANDS = {
    'prepare_vtab1k': ('download', 'extract', 'check', 'build'),
    'weights': ('fetch', 'convert', 'verify'),
}


@pytest.mark.parametrize('tool', sorted(path.stem for path in TOOLS.glob('*.py')))
def test_it_ends_with_examples_that_fit_the_tool(tool):
    outcome = run_tool(tool, '--help')
    assert outcome.status == 0
    options, _, examples = outcome.out.partition('\nexamples:\n')
    for subcommand in SUBCOMMANDS.get(tool, ()):
        options += run_tool(tool, subcommand, '--help').out
    assert f'  python tools/{tool}.py' in examples
    for option in re.findall(r'(?<!\S)--[\w-]+', examples):
        assert f'{option} ' in options, f'tools/{tool}.py has no {option}'
