"""mmengine without what makes short runs long; nothing of it changes a result."""

from types import SimpleNamespace

import mmengine
import mmengine.dataset


def make_quick() -> None:
    """Take out what takes longer than a tiny training."""
    # It breaks the config of each run into lines with care.
    mmengine.config.config.FormatCode = lambda text, **style: (text, True)
    # It collects garbage for each dataset, half a second at a time with all that tests import.
    mmengine.dataset.base_dataset.gc = SimpleNamespace(collect=lambda: 0)
