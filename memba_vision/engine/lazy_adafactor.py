"""mmengine's optimizers without what one of them costs where transformers is installed.

``mmengine.optim`` imports transformers for the sake of Adafactor, and with it peft: three seconds
of processor time, more than all else that this package needs, in every process that trains, tests
or shows something. Here Adafactor is entered when somebody asks for it, or for all optimizers;
whoever does finds what mmengine would have entered.
"""

import sys
from collections import UserDict
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

NAME = 'Adafactor'
SOURCE = 'transformers'


def import_optimizers() -> None:
    """Import ``mmengine.optim``, whose registry then has Adafactor as before, but late.

    Where mmengine's optimizers or transformers have been imported before, or transformers is not
    installed, nothing is to be saved, and they are imported as ever.
    """
    if SOURCE in sys.modules or 'mmengine.optim' in sys.modules or find_spec(SOURCE) is None:
        return
    # For this import alone, in which nothing else looks for transformers.
    sys.modules[SOURCE] = None
    try:
        import mmengine.optim
    finally:
        del sys.modules[SOURCE]
    registry = mmengine.optim.OPTIMIZERS
    registry._module_dict = _Entries(registry)


class _Entries(UserDict):
    """The entries of mmengine's registry of optimizers, until one asks for Adafactor.

    Then it is entered, and the registry has its plain dict again.
    """

    def __init__(self, registry: Any) -> None:
        self.registry = registry
        self.data = registry._module_dict

    def _complete(self) -> None:
        if self.registry._module_dict is self:
            self.registry._module_dict = self.data
            from mmengine.optim.optimizer import builder

            builder.TRANSFORMERS_OPTIMIZERS += builder.register_transformers_optimizers()

    def __contains__(self, name: object) -> bool:
        if name == NAME:
            self._complete()
        return name in self.data

    def __getitem__(self, name: str) -> type:
        if name == NAME:
            self._complete()
        return self.data[name]

    def __iter__(self) -> Iterator[str]:
        self._complete()
        return iter(self.data)

    def __len__(self) -> int:
        self._complete()
        return len(self.data)
