"""Export of low-rank layers to the files of Hugging Face's peft, which loads them into Vim."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from memba_vision.models.peft.adapter import AdaptedLayer
from memba_vision.models.peft.targets import name_these

#: The prefix that peft puts before a module's name in the backbone.
PREFIX = 'base_model.model'


def save_low_rank(
    backbone: nn.Module, kinds: Sequence[type[AdaptedLayer]], targets: Sequence[str], folder: Path
) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``.

    Args:
        backbone: the adapted backbone.
        kinds: classes of the low-rank layers to be saved; all have one rank and scale. One with
            a ``magnitude`` is DoRA's.
        targets: the names or roles that the adapter was given.
        folder: made where it is missing.
    """
    layers = {n: m for n, m in backbone.named_modules() if isinstance(m, tuple(kinds))}
    first = next(iter(layers.values()))
    rank = len(first.down.weight)
    config = {
        'peft_type': 'LORA',
        'task_type': None,
        'base_model_name_or_path': None,
        'inference_mode': True,
        # Roles are unknown to peft, and so are blocks.
        'target_modules': list(targets) if name_these(backbone, targets, layers) else list(layers),
        'r': rank,
        'lora_alpha': first.scale * rank,  # peft's scale is lora_alpha / r
        'lora_dropout': first.dropout.p,
        'bias': 'none',
        'use_dora': hasattr(first, 'magnitude'),
    }
    tensors = {}
    for name, layer in layers.items():
        tensors |= {f'{PREFIX}.{name}.{key}': value for key, value in _tensors(layer).items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'adapter_config.json').write_text(json.dumps(config, indent=2) + '\n')
    save_file(tensors, folder / 'adapter_model.safetensors', metadata={'format': 'pt'})


def _tensors(layer: AdaptedLayer) -> dict[str, torch.Tensor]:
    tensors = {'lora_A.weight': layer.down.weight, 'lora_B.weight': layer.up.weight}
    if hasattr(layer, 'magnitude'):
        tensors['lora_magnitude_vector'] = layer.magnitude
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
