"""What the command line says to a slip of the hand, and of its version."""

import os
import subprocess
import sys

import pytest
from helpers import IMPORT_ROOT, run_tool

import memba_vision
from memba_vision.command_line import did_you_mean, tool_parser
from memba_vision.completion import completion_script
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
    ('arguments', 'allowed'),
    [
        (['sweep', '--gpus-per-run', '-1'], '0 or more'),
        (['sweep', '--retries', '-1'], '0 or more'),
        (['sweep', '--jobs', '0'], '1 or more'),
        (['sweep', '--jobs-per-gpu', '-1'], '1 or more'),
        (['sweep', '--seeds', '0', '-1'], '0 to 4294967295'),
        (['sweep', '--seeds', '4294967296'], '0 to 4294967295'),
        (['train', 'x.py', '--seed', '-1'], '0 to 4294967295'),
        (['adapt', 'photos', '--seed', '1.5'], '0 to 4294967295'),
        (['prepare_vtab1k', 'check', '--jobs', '0'], '1 or more'),
        (['predict', 'x.jpg', '--run', 'r', '--top', '0'], '1 or more'),
        (['predict', 'x.jpg', '--run', 'r', '--batch-size', '-2'], '1 or more'),
        (['app', '--port', '99999'], '1 to 65535'),
        (['weights', 'verify', 'x.safetensors', '--img-size', '0'], '1 or more'),
        (['benchmark', '--threads', '0'], '1 or more'),
        (['benchmark', '--depth', '0'], '1 or more'),
    ],
    ids=str,
)
def test_a_number_that_means_nothing(arguments, allowed):
    wrong = f'argument {arguments[-2]}' if arguments[-2].startswith('--') else 'argument --'
    outcome = run_tool(*arguments)
    assert outcome.status == 2
    assert wrong in outcome.err
    assert outcome.err.endswith(f'expected {allowed}, found {arguments[-1]}\n')


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


@pytest.fixture(scope='module')
def completions(tmp_path_factory):
    pytest.importorskip('shtab')
    result = command('--print-completion', 'bash')
    assert result.returncode == 0, result.stderr
    path = tmp_path_factory.mktemp('shell') / 'memba-vision.bash'
    path.write_text(result.stdout)
    return path


@pytest.mark.parametrize(
    ('typed', 'proposed'),
    [
        ('tr', ['train']),
        ('train --ep', ['--epochs']),
        ('train x.py --peft lora_p', ['lora_plus']),
        ('adapt --backbone vim-mini', ['vim-mini', 'vim-mini-v2']),
        ('prepare_vtab1k b', ['build']),
        ('sweep --suite vtab', ['vtab1k']),
    ],
    ids=str,
)
def test_completion_of_what_was_typed(completions, typed, proposed):
    words = ['memba-vision', *typed.split()]
    script = (
        f'source {completions}; COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}; '
        '_shtab_memba_vision; printf "%s\n" "${COMPREPLY[@]}"'
    )
    result = subprocess.run(['bash', '-c', script], capture_output=True, text=True)
    assert sorted({*result.stdout.split()}) == proposed, result


def test_a_tool_gets_nothing_but_its_own_options():
    assert vars(tool_parser('Do it.').parse_args([])) == {}


def test_shells_that_are_known():
    result = command('--print-completion', 'sh')
    assert result.returncode == 2
    assert result.stderr == 'error: --print-completion: expected bash, zsh, fish, found sh\n'
    assert 'compdef' in command('--print-completion=zsh').stdout


def test_without_the_library_for_completion(monkeypatch):
    monkeypatch.setitem(sys.modules, 'shtab', None)  # as where it is not installed
    with pytest.raises(UserError, match='pip install shtab'):
        completion_script({}, 'bash')
