"""What the command line says to a slip of the hand, and of its version."""

import os
import subprocess
import sys

import pytest
from helpers import IMPORT_ROOT, run_tool

import memba_vision
from memba_vision.command_line import did_you_mean
from memba_vision.errors import UserError
from memba_vision.package_data import find_config


def command(*arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, 'PYTHONPATH': str(IMPORT_ROOT)}
    whole = [sys.executable, '-m', 'memba_vision', *arguments]
    return subprocess.run(whole, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ('name', 'meant'), [('trian', 'train'), ('prepare-vtab', 'prepare_vtab1k')]
)
def test_a_tool_that_is_nearly_one(name, meant):
    result = command(name)
    assert result.returncode == 2
    *usage, error = result.stderr.splitlines()
    assert error == f'error: there is no tool {name}: did you mean {meant}?'
    assert usage[0] == 'usage: memba-vision TOOL …'


@pytest.mark.parametrize(
    ('arguments', 'meant'),
    [
        (['train', 'x.py', '--epohcs', '3'], '--epochs'),
        (['predict', 'x.jpg', '--run', 'r', '--frmat=json'], '--format'),
        (['sweep', '--suite', 'demos'], 'demo'),
        (['prepare_vtab1k', 'biuld'], 'build'),
        (['adapt', 'x', '--skipbroken'], '--skip-broken'),
    ],
    ids=str,
)
def test_an_option_or_choice_that_is_nearly_one(arguments, meant):
    outcome = run_tool(*arguments)
    assert outcome.status == 2
    assert f'(did you mean {meant}' in outcome.err


def test_nothing_is_proposed_for_what_is_far():
    assert did_you_mean('xyz', ['train', 'test']) == ''
    assert 'did you mean' not in run_tool('train', 'x.py', '--zzz').err


def test_a_config_that_is_nearly_one():
    with pytest.raises(UserError, match='did you mean demo/digits_memba'):
        find_config('configs/demo/digit_memba.py')


@pytest.mark.parametrize('arguments', [['--version'], ['train', '--version']], ids=str)
def test_the_version(arguments):
    result = command(*arguments)
    assert (result.returncode, result.stdout) == (0, f'memba_vision {memba_vision.__version__}\n')
