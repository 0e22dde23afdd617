"""Schemes of mmengine's ``CheckpointLoader`` that read files for this package's models safely.

mmengine opens a file without telling its loader for which model. The schemes registered here look
who asks: where a model of this package is to be loaded, or a run of its tools goes on, a file is
read by :func:`memba_vision.weights.read_checkpoint`. All other files of other projects go to the
loaders that were registered before, unchanged.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint
from torch import nn

from memba_vision.weights import find_weights, marked, read_checkpoint
from memba_vision.weights.reading import PACKAGE_SCHEME

_PACKAGE = __name__.split('.')[0]
_in_a_run: ContextVar[bool] = ContextVar('in_a_run', default=False)


def load_from_location(filename: str, map_location: Any = None, *_: Any, **__: Any) -> dict:
    """Read a file by :func:`memba_vision.weights.read_checkpoint`, ignoring other arguments.

    Returns:
        The content of the file, with its weights under ``state_dict``, where mmengine looks.
    """
    content = read_checkpoint(filename, map_location or 'cpu')
    weights = find_weights(content, filename)
    metadata = getattr(content.get('state_dict'), '_metadata', {})
    return {**content, 'state_dict': marked(weights, metadata, filename)}


@contextmanager
def safe_loading() -> Iterator[None]:
    """Read every file that mmengine opens in the context safely, for models of others too."""
    token = _in_a_run.set(True)
    try:
        yield
    finally:
        _in_a_run.reset(token)


def _loads_our_model() -> bool:
    if _in_a_run.get():
        return True
    # The model is an argument of the function that asks, and goes no further.
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code is load_checkpoint.__code__:
            return _has_our_modules(frame.f_locals['model'])
        frame = frame.f_back
    return False


def _has_our_modules(model: nn.Module) -> bool:
    kinds = {type(module).__module__.split('.')[0] for module in model.modules()}
    return _PACKAGE in kinds or getattr(model, 'loads_strictly', False)


def _redirect(other_loader: Callable[..., dict]) -> Callable[..., dict]:
    @wraps(other_loader)
    def load(*args: Any, **kwargs: Any) -> dict:
        return (load_from_location if _loads_our_model() else other_loader)(*args, **kwargs)

    return load


for _prefix in ('', 'http://', 'https://'):
    _loader = _redirect(CheckpointLoader._schemes[_prefix])
    CheckpointLoader.register_scheme(_prefix, _loader, force=True)
CheckpointLoader.register_scheme(PACKAGE_SCHEME, load_from_location, force=True)
