"""Imports run one way, and importing the package is quiet and light."""

import ast
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from helpers import IMPORT_ROOT, TOOLS

import memba_vision
from memba_vision import package_data

ROOT = Path(memba_vision.__file__).parent
FILES = {
    str(path.relative_to(ROOT)): path
    for path in sorted(ROOT.rglob('*.py'))
    if '.mim' not in path.parts  # where an installed copy has configs and tools
}


def imported_modules(path: Path) -> set[str]:
    """Full names of the modules that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path} imports by a relative name'
            names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return names


def parts_imported(path: Path) -> set[str]:
    """The parts of the package that a file imports: 'ops', 'models', …"""
    names = (name.split('.') for name in imported_modules(path))
    return {name[1] for name in names if name[0] == 'memba_vision' and len(name) > 1}


#: Which parts of the package each part may import, beside itself.
ALLOWED = {
    'errors': set(),
    'package_data': {'errors'},
    'discovery': set(),
    'registry': set(),
    'leases': set(),
    'file_kinds': set(),
    'files': {'errors', 'leases'},
    'download': {'errors', 'files'},
    'weights': {'errors', 'file_kinds', 'files', 'download'},
    'ops': {'errors', 'discovery'},
    'models': {'errors', 'discovery', 'registry', 'weights', 'ops'},
    'datasets': {'errors', 'discovery', 'registry', 'file_kinds', 'files', 'download'},
    'visualization': {'errors', 'ops', 'models'},
    'engine': {
        *('errors', 'discovery', 'registry', 'weights', 'ops', 'files', 'datasets', 'models'),
        'visualization',
    },
    'runs': {
        'errors',
        'package_data',
        'registry',
        'weights',
        'file_kinds',
        'files',
        'datasets',
        'engine',
        'models',
    },
    'zoo': {
        *('errors', 'package_data', 'registry', 'weights', 'files', 'download', 'engine', 'models'),
        'runs',
    },
    'serving': {
        *('errors', 'registry', 'weights', 'files', 'datasets', 'engine', 'models'),
        *('visualization', 'runs', 'zoo'),
    },
    'reports': {
        *('errors', 'registry', 'weights', 'files', 'datasets', 'models', 'visualization', 'runs'),
        *('zoo', 'serving', 'file_kinds'),
        '__init__',
    },
    'photos': {
        *('errors', 'files', 'datasets', 'engine', 'models', 'runs', 'serving', 'reports'),
        'sweeps',
    },
    'search': {
        *('errors', 'leases', 'package_data', 'files', 'engine', 'runs', 'reports'),
        'command_line',
    },
    'sweeps': {
        *('errors', 'leases', 'package_data', 'discovery', 'registry', 'files', 'datasets'),
        *('engine', 'runs', 'reports', 'zoo', 'command_line'),
    },
    'registration': {'errors', 'engine', 'runs', 'zoo'},
    'command_line': {'errors', 'engine', 'files', 'registration', 'registry', '__version__'},
    'timm': {'errors', 'zoo'},
    'completion': {'errors', 'package_data', 'command_line'},
    '__main__': {'errors', 'package_data', 'command_line', 'completion', '__version__'},
    '__init__': {'errors', 'package_data', 'discovery', 'registration'},
}


def part_of(file: str) -> str:
    return Path(file).parts[0].removesuffix('.py')


@pytest.mark.parametrize('file', FILES)
def test_imports_run_one_way(file):
    part = part_of(file)
    assert parts_imported(FILES[file]) <= ALLOWED[part] | {part}


def test_every_part_is_there():
    assert {part_of(file) for file in FILES} == set(ALLOWED)


@pytest.mark.parametrize('file', [file for file in FILES if part_of(file) == 'ops'])
def test_ops_need_torch_alone(file):
    """Beside the standard library; the kernels in other packages only where they are installed."""
    optional = {
        'ops/selective_scan/mamba_ssm.py': {'mamba_ssm', 'selective_scan_cuda'},
        'ops/causal_conv1d/cuda_package.py': {'causal_conv1d'},
    }
    packages = {name.split('.')[0] for name in imported_modules(FILES[file])}
    others = packages - sys.stdlib_module_names - {'torch', 'memba_vision'}
    if file.startswith('ops/numba_kernels/'):
        others -= {'numba', 'llvmlite', 'numpy'}
    if file.startswith('ops/triton_kernels/'):
        others -= {'triton'}
    assert others <= optional.get(file, set())


def test_modules_and_backbones_know_no_adapter():
    for file, path in FILES.items():
        if file.startswith(('models/modules/', 'models/backbones/')):
            assert not any('.peft' in name for name in imported_modules(path)), file


REGISTERED = """
import memba_vision
from mmpretrain.registry import DATASETS, HOOKS, MODELS, TRANSFORMS
heavy = 'mmpretrain.models mmpretrain.datasets numba triton timm sklearn scipy transformers'.split()
found = {
    'heavy': [name for name in heavy if name in sys.modules],
    'models': sorted({'Vim', 'PEFTModel', 'MembaModel', 'FeatureNorm'} & MODELS.module_dict.keys()),
    'datasets': sorted({'VTAB1k', 'MiniVTAB', 'OwnData'} & DATASETS.module_dict.keys()),
    'others': sorted({'LoadRGB', 'EpochSeedHook'} & {*TRANSFORMS.module_dict, *HOOKS.module_dict}),
}
"""

#: What other libraries are before and after the package is imported.
LEFT_ALONE = """
import warnings
import mmpretrain
from mmengine.config import Config
from mmengine.registry import OPTIMIZERS
from mmengine.runner.checkpoint import CheckpointLoader

def state():
    schemes = dict(CheckpointLoader._schemes)
    return {
        'filters': [repr(entry) for entry in warnings.filters],
        'finders': [repr(finder) for finder in sys.meta_path],
        'hooks': [repr(hook) for hook in sys.path_hooks],
        'environment': dict(os.environ),
        'config': repr({k: v for k, v in vars(Config).items() if k != '_get_cfg_path'}),
        'schemes': {name: schemes[name].__name__ for name in schemes if 'memba' not in name},
        'optimizers': {name: repr(entry) for name, entry in OPTIMIZERS.module_dict.items()},
        'seed': torch.initial_seed(),
        'threads': torch.get_num_threads(),
        'dtype': str(torch.get_default_dtype()),
    }

before = state()
import memba_vision
after = state()
found = [name for name in before if before[name] != after[name]]
"""

#: mmengine as it is by itself, beside what it is once the package was imported first.
OPTIMIZERS = """
IMPORTS
from mmengine.optim.optimizer import builder
from mmengine.registry import OPTIMIZERS
import mmpretrain.registry
mmpretrain.registry.OPTIMIZERS.get('AdamW')
one = repr(mmpretrain.registry.OPTIMIZERS.get('Adafactor')) if HAS_ONE else None
found = {
    'one': one,
    'known': 'Adafactor' in OPTIMIZERS.module_dict,
    'all': {name: repr(entry) for name, entry in OPTIMIZERS.module_dict.items()},
    'number': len(OPTIMIZERS),
    'listed': builder.TRANSFORMERS_OPTIMIZERS,
    'type': type(OPTIMIZERS.module_dict).__name__,
}
"""


def run(code: str, *arguments: str, is_quiet: bool = False) -> Any:
    """Run code in a new process, and return what it found, all that it may print."""
    code = f'import json, os, sys, torch\n{code}\nprint(json.dumps(found))'
    command = [sys.executable, '-c', code, *arguments]
    result = subprocess.run(command, cwd=ROOT.parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert not (is_quiet and result.stderr), result.stderr
    return json.loads(result.stdout)


def test_importing_the_package_is_quiet_and_light_and_registers_everything():
    assert run(REGISTERED, is_quiet=True) == {
        'heavy': [],
        'models': ['FeatureNorm', 'MembaModel', 'PEFTModel', 'Vim'],
        'datasets': ['MiniVTAB', 'OwnData', 'VTAB1k'],
        'others': ['EpochSeedHook', 'LoadRGB'],
    }


@pytest.mark.slow
def test_importing_the_package_leaves_other_libraries_alone():
    assert run(LEFT_ALONE) == []


@pytest.mark.slow
def test_mmengine_has_the_optimizers_that_it_has_by_itself():
    has_one = f'HAS_ONE = {find_spec("transformers") is not None}\n'
    alone, beside = (
        run(has_one + OPTIMIZERS.replace('IMPORTS', imports))
        for imports in ('import mmengine.optim', 'import memba_vision')
    )
    assert beside == alone
    assert 'SGD' in alone['all']


HELP = """
import contextlib, io, json, os, runpy, sys
heavy = {'torch', 'mmengine', 'mmcv', 'mmpretrain', 'timm', 'numba', 'numpy', 'PIL', 'matplotlib'}
heavy |= {'rich'}
found = {}
for arguments in json.loads(sys.argv[1]):
    sys.argv = arguments
    sys.path.insert(0, os.path.dirname(arguments[0]))
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            runpy.run_path(arguments[0], run_name='__main__')
        except SystemExit as end:
            status = end.code
    loaded = sorted(heavy & sys.modules.keys())
    found[os.path.basename(arguments[0])] = [status, 'usage: ' in out.getvalue(), loaded]
print(json.dumps(found))
"""


@pytest.mark.parametrize(('option', 'status'), [('--help', 0), ('--no-such-option', 2)])
def test_tools_print_help_and_mistakes_without_torch(tmp_path, option, status):
    tools = sorted(TOOLS.glob('*.py'))
    (tmp_path / 'calls.py').write_text(HELP)
    calls = json.dumps([[str(path), option] for path in tools])
    result = subprocess.run(
        [sys.executable, tmp_path / 'calls.py', calls],
        env={**os.environ, 'PYTHONPATH': str(IMPORT_ROOT)},
        capture_output=True,
        check=True,
    )
    assert json.loads(result.stdout) == {path.name: [status, True, []] for path in tools}


#: Command lines that argparse alone can answer, and the first word of the answer.
ANSWERED = {
    '': 'usage:',
    '--help': 'usage:',
    'train --help': 'usage:',
    'train': 'usage:',
    'train configs/demo/digits_memba.py --cfg-options lr': 'error:',
    'prepare_vtab1k build --help': 'usage:',
    'weights fetch no_such_weights': 'usage:',
    'weights': 'usage:',
}


@pytest.mark.parametrize('arguments', ANSWERED)
def test_the_command_answers_without_torch(arguments):
    command = [sys.executable, '-X', 'importtime', '-m', 'memba_vision', *arguments.split()]
    environment = {**os.environ, 'PYTHONPATH': str(IMPORT_ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    imports = [line for line in result.stderr.splitlines() if line.startswith('import time:')]
    said = [line for line in result.stderr.splitlines() if line not in imports]
    assert [*result.stdout.splitlines(), *said][0].split()[0] == ANSWERED[arguments]
    assert len(imports) > 20
    modules = {line.rpartition('|')[2].strip() for line in imports}
    assert not modules & {'torch', 'mmengine', 'mmcv', 'mmpretrain', 'timm', 'numba', 'numpy'}


@pytest.mark.parametrize(
    ('arguments', 'original', 'expected'),
    [
        (['tools/train.py', 'x'], [], True),
        (['memba-vision', 'train'], [], True),
        (['/somewhere/bin/memba-vision'], [], True),
        (['-m', 'train'], ['python', '-X', 'dev', '-m', 'memba_vision', 'train'], True),
        (['-m', 'train'], ['python', '-mmemba_vision', 'train'], True),
        (['-m', 'memba_vision'], ['python', '-m', 'pytest', 'memba_vision'], False),
        (['tools/mine.py'], [], False),
        (['elsewhere/train.py'], [], False),
        (['-c'], ['python', '-c', 'pass'], False),
        (['tools/train.py'], ['python', '-c', 'spawn', '--multiprocessing-fork'], False),
        ([''], [], False),
        ([], [], False),
    ],
    ids=str,
)
def test_a_tool_is_known_by_its_command(monkeypatch, arguments, original, expected):
    monkeypatch.chdir(package_data.package_data_folder())
    monkeypatch.setattr(sys, 'argv', arguments)
    monkeypatch.setattr(sys, 'orig_argv', original)
    assert package_data.is_tool_process() is expected


def test_all_tools_are_listed():
    assert {path.stem for path in TOOLS.glob('*.py')} <= set(package_data.TOOLS)


TIMM = """
import memba_vision
import timm
before = timm.list_models('vim_*')
import memba_vision.timm
found = before, timm.list_models('vim_*'), timm.is_model('vim_small_patch16_224')
"""
OLD_TIMM = """
sys.path.insert(0, sys.argv[1])
import timm
import memba_vision
memba_vision.get_model('vim_mini')
try:
    import memba_vision.timm
except memba_vision.UserError as error:
    found = str(error)
"""


@pytest.mark.slow
def test_timm_has_the_models_when_they_are_asked_for():
    before, names, is_model = run(TIMM)
    assert (before, len(names), is_model) == ([], 5, True)
    assert run('import timm, memba_vision; found = timm.list_models("vim_*")') == names


@pytest.mark.slow
def test_an_older_timm_does_not_fail(tmp_path):
    (tmp_path / 'timm').mkdir()
    for name in ('__init__', 'data', 'layers', 'models'):
        (tmp_path / 'timm' / f'{name}.py').write_text('')
    assert 'need a newer timm (found timm ' in run(OLD_TIMM, str(tmp_path))
