"""Checkpoints that trainings write: read safely, and loaded with every key in its place."""

from typing import Any

from mmengine.dist import broadcast_object_list, is_distributed, is_main_process
from torch import nn

from memba_vision.engine.config_errors import one_line
from memba_vision.errors import UserError
from memba_vision.models.peft.adapter_files import is_adapter_file, read_adapter
from memba_vision.weights import read_checkpoint


def read_training_checkpoint(filename: str, map_location: Any = 'cpu') -> dict[str, Any]:
    """Read a checkpoint that ``tools/train.py`` wrote, or an adapter file, which has an empty meta.

    Raises:
        UserError: the file is damaged, holds pickled code, or is something else.
    """
    if is_adapter_file(filename):
        return {'state_dict': read_adapter(filename)[0], 'meta': {}}
    checkpoint = read_checkpoint(filename, map_location)
    parts = [checkpoint.get('state_dict'), checkpoint.get('meta')]
    if not all(isinstance(part, dict) for part in parts):
        raise UserError(
            f'{filename} was not written by tools/train.py or tools/export.py: name a checkpoint '
            'of this config, or an adapter file (base weights go into '
            'model.backbone.module.init_cfg.checkpoint)'
        )
    # mmengine would run this text as a config: code, out of a file of weights.
    checkpoint['meta'].pop('config', None)
    return checkpoint


def load_training_checkpoint(model: nn.Module, checkpoint: dict, source: str) -> None:
    """Copy the weights of a checkpoint into a model, every key in its place.

    Args:
        model: a classifier.
        checkpoint: from :func:`read_training_checkpoint`.
        source: its origin, for the error's text.

    Raises:
        UserError: it is of another model.
    """
    try:
        model.load_state_dict(checkpoint['state_dict'])
    except UserError as error:
        raise UserError(f'{source}: {error}') from error
    except (RuntimeError, AttributeError, TypeError) as error:
        raise UserError(
            f'{source} does not fit the model of the config: {one_line(error)}'
        ) from error


def read_in_main_process(filename: str, map_location: Any = 'cpu') -> dict[str, Any]:
    """Read a training checkpoint in the main process, and broadcast it to the others."""
    if not is_distributed():
        return read_training_checkpoint(filename, map_location)
    found: list = [None]
    if is_main_process():
        try:
            found = [read_training_checkpoint(filename)]
        except UserError as error:
            found = [error]  # raised alone, it would keep the others waiting
    broadcast_object_list(found)
    if isinstance(found[0], UserError):
        raise found[0]
    return found[0]
