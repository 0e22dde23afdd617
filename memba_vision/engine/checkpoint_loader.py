"""mmengine's own way to weights, ``init_cfg=dict(type='Pretrained')``, led to the safe loader."""

from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader

from memba_vision.weights import find_weights, marked, read_checkpoint


@CheckpointLoader.register_scheme(prefixes=('', 'http://', 'https://'), force=True)
def load_from_location(
    filename: str, map_location: Any = None, progress: bool = True, logger: Any = None
) -> dict:
    """As :func:`memba_vision.weights.read_checkpoint`; the last two arguments are not read.

    Returns:
        What the file holds, its weights under ``state_dict``, as mmengine looks for them.
    """
    content = read_checkpoint(filename, map_location or 'cpu')
    weights = find_weights(content, filename)
    metadata = getattr(content.get('state_dict'), '_metadata', {})
    return {**content, 'state_dict': marked(weights, metadata, filename)}
