"""Imports run one way, and importing the package is quiet and light."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import memba_vision

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
    'shipped': {'errors'},
    'discovery': set(),
    'registry': set(),
    'files': {'errors'},
    'download': {'errors', 'files'},
    'weights': {'errors', 'files', 'download'},
    'ops': {'errors', 'discovery'},
    'models': {'errors', 'discovery', 'registry', 'weights', 'ops'},
    'datasets': {'errors', 'discovery', 'registry', 'files', 'download'},
    'visualization': {'errors', 'ops', 'models'},
    'engine': {
        *('errors', 'discovery', 'registry', 'weights', 'ops', 'files', 'datasets'),
        'visualization',
    },
    'apis': {
        *('errors', 'shipped', 'discovery', 'registry', 'weights', 'files', 'download'),
        *('datasets', 'engine', 'models', 'visualization', 'zoo'),
    },
    'zoo': {'errors', 'shipped'},
    'sweeps': {'errors', 'shipped', 'discovery', 'registry', 'files', 'datasets', 'apis'},
    'reports': {'errors', 'files', 'datasets', 'models', 'apis', 'zoo', '__init__'},
    'search': {'errors', 'shipped', 'files', 'engine', 'apis'},
    '__main__': {'shipped'},
    '__init__': {'errors', 'discovery', 'registry', 'datasets', 'engine', 'models', 'apis'},
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


CODE = """
import json, pathlib, sys
import memba_vision
from mmpretrain.registry import DATASETS, MODELS
heavy = 'mmpretrain.models mmpretrain.datasets numba triton timm sklearn scipy transformers'.split()
found = {
    'heavy': [name for name in heavy if name in sys.modules],
    'models': sorted({'Vim', 'PEFTModel', 'MembaModel'} & MODELS.module_dict.keys()),
    'datasets': sorted({'VTAB1k', 'MiniVTAB'} & DATASETS.module_dict.keys()),
}
pathlib.Path(sys.argv[1]).write_text(json.dumps(found))
"""


def test_importing_the_package_is_quiet_and_light_and_registers_everything(tmp_path):
    file = tmp_path / 'found.json'
    result = subprocess.run(
        [sys.executable, '-c', CODE, file], cwd=ROOT.parent, capture_output=True, check=True
    )
    assert (result.stdout, result.stderr) == (b'', b'')
    assert json.loads(file.read_text()) == {
        'heavy': [],
        'models': ['MembaModel', 'PEFTModel', 'Vim'],
        'datasets': ['MiniVTAB', 'VTAB1k'],
    }
