"""Weights and adapters out of training checkpoints, in the formats that others read."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmpretrain.models import ImageClassifier
from safetensors.torch import save
from torch import nn

from memba_vision.engine.file_backend import write_atomically
from memba_vision.engine.training_checkpoints import (
    load_training_checkpoint,
    read_training_checkpoint,
)
from memba_vision.errors import UserError
from memba_vision.files import remove_checksum
from memba_vision.models.necks import FeatureNorm
from memba_vision.models.peft.adapter_files import holds_adapters
from memba_vision.weights import read_state_dict
from memba_vision.zoo.model_size import build_without_weights
from memba_vision.zoo.models import build_classifier


def export_backbone(checkpoint: str, out: str) -> str:
    """Write the backbone of a checkpoint that was trained in full, under the official key names.

    Returns:
        A line on the file.

    Raises:
        UserError: the checkpoint holds no whole backbone.
    """
    tensors = read_state_dict(checkpoint)
    prefix = 'backbone.'
    weights = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
    if not weights or holds_adapters(checkpoint, tensors):
        raise UserError(
            f'{checkpoint} holds no whole backbone (an adapter checkpoint does not): give one that '
            'was trained in full, or choose another --as'
        )
    return _write(weights, out)


def export_merged(config: Config, checkpoint: str, out: str) -> str:
    """Fold the adapters of a checkpoint into plain weights, the head beside them.

    Returns:
        A line on the file, and a line on each part of the method that is not in it.

    Raises:
        UserError: the adapters or the neck cannot be folded whole.
    """
    model = load_adapted(config, checkpoint)
    backbone, reasons = model.backbone.merge()
    weights = backbone.state_dict()
    if weights.keys() != build_without_weights(config).state_dict().keys():
        raise UserError(f'{checkpoint} cannot be merged: {"; ".join(reasons)}. Use --as adapter')
    head = {f'head.{name}': weight for name, weight in _folded_head(model, checkpoint).items()}
    return '\n'.join([_write(weights | head, out), *(f'not in it: {r}' for r in reasons)])


def _folded_head(model: ImageClassifier, checkpoint: str) -> dict[str, torch.Tensor]:
    if not model.with_neck or not model.neck.state_dict():
        return model.head.fc.state_dict()
    if isinstance(model.neck, FeatureNorm):
        return model.neck.folded_into(model.head.fc)
    neck = type(model.neck).__name__
    raise UserError(
        f'{checkpoint} cannot be merged: no weight takes up its {neck}. Use --as adapter'
    )


def export_hf(config: Config, checkpoint: str, out: str) -> str:
    """Write the adapter of a checkpoint in the format of Hugging Face's peft, without the head.

    Returns:
        A line on the file.

    Raises:
        UserError: peft has no such method.
    """
    load_adapted(config, checkpoint).backbone.save_hf(out)
    return f'{out}: {", ".join(sorted(path.name for path in Path(out).iterdir()))}'


def load_adapted(config: Config, checkpoint: str) -> nn.Module:
    """Build the classifier of ``config`` with its base weights, and load a checkpoint into it.

    Raises:
        UserError: the checkpoint holds no adapters, or others.
    """
    if config.get('model', {}).get('backbone', {}).get('module') is None:
        raise UserError(f'{config.filename} adapts no backbone: name the config of the training')
    content = read_training_checkpoint(checkpoint)  # a config takes longer to build
    model = build_classifier(config)
    load_training_checkpoint(model, content, checkpoint)
    return model.eval()


def _write(weights: dict[str, torch.Tensor], out: str) -> str:
    remove_checksum(Path(out))
    write_atomically(out, save({k: v.contiguous() for k, v in weights.items()}))
    return f'{out}: {len(weights)} tensors, {sum(v.numel() for v in weights.values()):,} values'
