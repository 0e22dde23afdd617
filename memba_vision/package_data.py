"""Paths of the configs and tools that come with the package."""

import difflib
import sys
from pathlib import Path

from memba_vision.errors import UserError

_PACKAGE = Path(__file__).parent
# OpenMMLab's place for them in an installed copy; setup.py puts them there. An editable install
# has links to the checkout in it.
_INSTALLED = _PACKAGE / '.mim'


def package_data_folder() -> Path:
    """Return the folder with ``configs``, ``tools`` and ``model-index.yml``.

    In an installed copy it is inside the package, in a checkout it is the repository's root.
    """
    is_copy = _INSTALLED.is_dir() and not (_INSTALLED / 'configs').is_symlink()
    return _INSTALLED if is_copy else _PACKAGE.parent


#: The tools by the names of their files; a script of the user's own beside them is none.
TOOLS = (
    *('adapt', 'app', 'benchmark', 'export', 'methods', 'predict', 'prepare_vtab1k', 'push'),
    *('report', 'search', 'sweep', 'test', 'train', 'visualize', 'weights'),
)
COMMAND = 'memba-vision'


def is_tool_process() -> bool:
    """Return True in a process that was started as one of the tools, by any of their commands.

    ``python -m memba_vision`` imports the package before it puts the file into ``sys.argv``. A
    process that multiprocessing started for a tool has the tool's ``sys.argv``, and reads no
    arguments: such processes begin with ``python -c``.
    """
    if '-c' in sys.orig_argv:
        return False
    script = Path(sys.argv[0] if sys.argv else '')
    if script.name == '-m':
        return sys.orig_argv[-len(sys.argv)].removeprefix('-m') == _PACKAGE.name
    if script.stem in TOOLS and script.suffix == '.py':
        return script.resolve().parent == (package_data_folder() / 'tools').resolve()
    return script.stem == COMMAND


#: The folder of the presets, a file per method.
#:
#: :meta hide-value:
PRESETS = package_data_folder() / 'configs' / '_base_' / 'peft'


def find_config(name: str | Path) -> Path:
    """Return the file of a config by its name or path.

    Args:
        name: a path, or the name of a config that comes with the package, as
            ``configs/demo/digits_memba.py`` or ``demo/digits_memba``. A file at that path is
            taken first.

    Raises:
        UserError: there is no such file.
    """
    path = Path(name)
    if path.is_file():
        return path
    short = str(name).removeprefix('configs/').removesuffix('.py')
    shipped = package_data_folder() / 'configs' / f'{short}.py'
    if shipped.is_file():
        return shipped
    if path.is_dir():
        inside = ', '.join(str(file) for file in sorted(path.glob('*.py'))[:2])
        such = f', such as {inside}' if inside else ''
        raise UserError(f'no config at {name}, which is a folder: give a file{such}')
    folder = package_data_folder() / 'configs'
    known = [str(path.relative_to(folder).with_suffix('')) for path in folder.glob('[a-z]*/*.py')]
    near = ' or '.join(difflib.get_close_matches(short, known, 2))
    meant = f' (did you mean {near}?)' if near else ''
    raise UserError(f'no config at {name}{meant}: give a file such as configs/demo/digits_memba.py')
