"""``_base_ = 'memba_vision::demo/digits_memba.py'`` in configs that lie elsewhere."""

import difflib
from pathlib import Path

from mmengine.config import Config

from memba_vision.errors import UserError
from memba_vision.shipped import shipped_folder

PREFIX = 'memba_vision::'


def register_bases() -> None:
    """Let mmengine find the bases of configs that begin with ``memba_vision::``.

    mmengine itself knows a closed list of packages, installed ones alone, and asks
    ``pkg_resources`` for their place, which setuptools no longer has.
    """
    of_others = Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(PREFIX):
            return str(find_base(cfg_path.removeprefix(PREFIX))), None
        return of_others(cfg_path, filename)

    Config._get_cfg_path = staticmethod(get_cfg_path)


def find_base(name: str) -> Path:
    """The file of a config that comes with the package, such as ``_base_/models/vim-mini.py``.

    Raises:
        UserError: there is none of that name.
    """
    folder = shipped_folder() / 'configs'
    path = folder / f'{name.removeprefix("configs/").removesuffix(".py")}.py'
    if path.is_file():
        return path
    known = [str(found.relative_to(folder)) for found in folder.rglob('*.py')]
    near = ' or '.join(difflib.get_close_matches(name, known, 2))
    raise UserError(
        f'no config {PREFIX}{name}{f"; did you mean {PREFIX}{near}?" if near else ""} (they are in '
        f'{folder})'
    )
