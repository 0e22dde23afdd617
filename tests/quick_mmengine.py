"""mmengine without what makes short runs long; nothing of it changes a result."""

import os
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import mmengine
import mmengine.dataset
from mmengine.config import Config

SHIPPED = str(Path(__file__).resolve().parents[1] / 'configs' / '_base_')


def make_quick() -> None:
    """Take out what takes longer than a tiny training."""
    # It breaks the config of each run into lines with care.
    mmengine.config.config.FormatCode = lambda text, **style: (text, True)
    # It collects garbage for each dataset, half a second at a time with all that tests import.
    mmengine.dataset.base_dataset.gc = SimpleNamespace(collect=lambda: 0)
    # It makes a temporary folder for each base of each config.
    read = Config._file2dict
    read_once = cache(lambda changed, path, *more, **named: read(path, *more, **named))

    def read_bases_once(filename: str, *more: object, **named: object) -> tuple:
        path = os.path.abspath(filename)
        if not path.startswith(SHIPPED):
            return read(filename, *more, **named)
        return deepcopy(read_once(os.stat(path).st_mtime_ns, path, *more, **named))

    Config._file2dict = staticmethod(read_bases_once)
