"""mmengine without what makes short runs long; nothing of it changes a result."""

import functools
import json
from types import SimpleNamespace

import mmengine
import mmengine.dataset

_format = mmengine.config.config.FormatCode


def make_quick() -> None:
    """Take out what takes longer than a tiny training."""
    # It pretty-prints the config of a run seven times.
    mmengine.config.config.FormatCode = lambda text, **style: _format_once(
        text, tuple((k, json.dumps(v)) for k, v in style.items())
    )
    # It collects garbage for each dataset, half a second at a time with all that tests import.
    mmengine.dataset.base_dataset.gc = SimpleNamespace(collect=lambda: 0)


@functools.lru_cache(maxsize=100)
def _format_once(text: str, style: tuple) -> tuple:
    return _format(text, **{key: json.loads(value) for key, value in style})
