"""Where the files lie that come with the package beside its code: configs and tools."""

from pathlib import Path

from memba_vision.errors import UserError

_PACKAGE = Path(__file__).parent
# OpenMMLab's place for them in an installed copy; setup.py puts them there.
_INSTALLED = _PACKAGE / '.mim'


def shipped_folder() -> Path:
    """The folder with ``configs``, ``tools`` and ``model-index.yml``.

    In an installed copy it is inside the package, in a checkout it is the repository's root.
    """
    return _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent


#: The folder of the presets, a file per method.
PRESETS = shipped_folder() / 'configs' / '_base_' / 'peft'


def find_config(name: str | Path) -> Path:
    """The file that a config's name stands for.

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
    shipped = shipped_folder() / 'configs' / f'{short}.py'
    if shipped.is_file():
        return shipped
    raise UserError(f'no config at {name}: give a file such as configs/demo/digits_memba.py')
