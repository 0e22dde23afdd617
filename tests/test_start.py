"""A training begins, and ends, without what it does not need."""

import json
import os
import subprocess
import sys
from pathlib import Path

from helpers import DEMO, IMPORT_ROOT, TOOLS, as_arguments, tiny_options

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
