"""The files around the code: they parse, and name what exists."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import REPOSITORY

pytestmark = pytest.mark.skipif(
    not (REPOSITORY / 'setup.py').is_file(), reason='these files are not part of the package'
)
YAML = ('.pre-commit-config.yaml', '.github/workflows/ci.yml', 'CITATION.cff')


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding='utf-8')


@pytest.mark.parametrize('name', YAML)
def test_yaml_parses(name):
    assert isinstance(yaml.safe_load(read(name)), dict)


def files_of_hook(identifier: str, *paths: Path) -> subprocess.CompletedProcess:
    """Call a hook of the language "system" as pre-commit does."""
    hooks = yaml.safe_load(read('.pre-commit-config.yaml'))['repos'][0]['hooks']
    entry = next(hook['entry'] for hook in hooks if hook['id'] == identifier)
    return subprocess.run([*shlex.split(entry), *paths], capture_output=True, text=True)


def test_the_hook_for_large_files(tmp_path):
    small, large = tmp_path / 'small', tmp_path / 'large file'
    small.write_bytes(b'0')
    large.write_bytes(bytes(3_000_001))
    assert files_of_hook('large-files', small).returncode == 0
    refused = files_of_hook('large-files', small, large)
    assert refused.returncode == 1
    assert 'large file is larger than 3 MB' in refused.stdout


@pytest.mark.parametrize('identifier', ['trailing-whitespace', 'merge-conflict', 'carriage-return'])
def test_no_file_has_what_a_hook_refuses(identifier):
    hooks = yaml.safe_load(read('.pre-commit-config.yaml'))['repos'][0]['hooks']
    pattern = next(hook['entry'] for hook in hooks if hook['id'] == identifier)
    pattern = re.compile(pattern.encode(), re.MULTILINE)
    folders = ['configs', 'docs', 'memba_vision', 'tests', 'tools', '.github', '.ci']
    files = [path for folder in folders for path in (REPOSITORY / folder).rglob('*')]
    files += REPOSITORY.glob('*.*')
    texts = [p for p in files if p.is_file() and p.suffix in ('.py', '.md', '.rst', '.yml', '.css')]
    assert len(texts) > 100
    assert not [path for path in texts if pattern.search(path.read_bytes())]


INSTRUCTIONS = ('FROM', 'RUN', 'COPY', 'WORKDIR', 'USER', 'CMD')


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, lines joined and comments left out."""
    lines = [line for line in read('Dockerfile').splitlines() if not line.startswith('#')]
    joined = '\n'.join(lines).replace('\\\n', ' ')
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def test_the_dockerfile_parses_and_copies_what_exists():
    found = instructions()
    assert {name for name, _ in found} <= set(INSTRUCTIONS)
    assert found[0][0] == 'FROM'
    for name, arguments in found:
        if name == 'RUN':
            subprocess.run(['sh', '-n', '-c', arguments], check=True)
        if name == 'COPY':
            *sources, _ = arguments.split()
            assert all((REPOSITORY / source).exists() for source in sources), arguments


@pytest.mark.slow
def test_what_the_dockerfile_copies_first_is_enough_for_setup(tmp_path):
    """setup.py reads files, and packages change seldom: what it needs is copied before the code."""
    first = next(arguments for name, arguments in instructions() if name == 'COPY')
    for source in [*first.split()[:-1], 'memba_vision/__init__.py']:
        path = tmp_path / source
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((REPOSITORY / source).read_bytes())
    command = [sys.executable, 'setup.py', '--quiet', 'egg_info']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
