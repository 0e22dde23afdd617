"""mmengine's own way to weights, ``init_cfg=dict(type='Pretrained')``, led to the safe loader."""

from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader

from memba_vision.weights import read_checkpoint


@CheckpointLoader.register_scheme(prefixes=('', 'http://', 'https://'), force=True)
def load_from_location(
    filename: str, map_location: Any = None, progress: bool = True, logger: Any = None
) -> dict:
    """As :func:`memba_vision.weights.read_checkpoint`; the last two arguments are not read."""
    return read_checkpoint(filename, map_location or 'cpu')
