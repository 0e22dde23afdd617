"""A training begins, and ends, without what it does not need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import (
    DEMO,
    EACH_EPOCH,
    ENVIRONMENT,
    IMPORT_ROOT,
    TOOLS,
    as_arguments,
    command,
    tiny_options,
)

CODE = """
import atexit, gc, json, os, runpy, sys

def report():
    print('\\nfound:', json.dumps([sorted({name.split('.')[0] for name in sys.modules}), frozen]))

tool = sys.argv[1]
sys.argv, sys.orig_argv = sys.argv[1:], ['python', *sys.argv[1:]]  # as if it was started itself
sys.path.insert(0, os.path.dirname(tool))
atexit.register(report)
try:
    runpy.run_path(tool, run_name='__main__')
finally:
    frozen = gc.get_freeze_count()
"""
NOT_NEEDED = {'matplotlib', 'transformers', 'timm', 'peft', 'sklearn', 'pandas', 'gradio'}


def test_a_training_imports_nothing_for_nothing(base, data_root, tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(CODE)
    options = as_arguments(tiny_options(base, data_root))
    arguments = [TOOLS / 'train.py', DEMO, '--work-dir', tmp_path / 'run', *options]
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        env={**os.environ, 'PYTHONPATH': str(IMPORT_ROOT), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    packages, frozen = json.loads(done.stdout.rpartition('found:')[2])
    assert 'torch' in packages
    assert not NOT_NEEDED & set(packages)
    assert frozen > 100_000, 'the collector goes through what was imported'
    (log,) = Path(tmp_path / 'run').glob('*/*.log')
    text = log.read_text()
    assert "custom_imports = dict(imports=[\n    'memba_vision',\n])" in text


@pytest.mark.slow
def test_a_start_and_going_on_are_quiet(base, data_root, tmp_path):
    """No warning, but for the one that is right: the data are not the published ones."""
    options = tiny_options(base, data_root, **EACH_EPOCH)
    for arguments in ([], ['--resume']):
        line = command('train', DEMO, tmp_path / 'run', options, *arguments)
        done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        lines = (done.stdout + done.stderr).splitlines()
        warnings = [line for line in lines if 'warn' in line.lower() and 'published' not in line]
        assert warnings == []
        (tmp_path / 'run' / 'epoch_2.pth').unlink()
