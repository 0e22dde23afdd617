"""Arguments of functions that people call, checked before anything is built."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.patches import to_pair


def check_arguments(num_classes: int | None, settings: Mapping[str, Any]) -> None:
    """See to it that numbers of things are whole and positive.

    Args:
        num_classes: outputs of a head; None is allowed.
        settings: of a backbone, of which sizes may be (height, width).

    Raises:
        UserError: one is not.
    """
    if num_classes is not None and not is_count(num_classes):
        raise UserError(
            f'num_classes is a whole number from 1 on, or None, got {num_classes!r}; features '
            'without a head come from memba_vision.extract_features'
        )
    channels = settings.get('in_channels')
    if channels is not None and not is_count(channels):
        raise UserError(f'in_channels is a whole number from 1 on, got {channels!r}')
    for name in ('img_size', 'patch_size', 'stride'):
        if settings.get(name) is not None:
            to_pair(settings[name], name)


def is_count(value: Any) -> bool:
    """True for a whole number from 1 on."""
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0


def usual_device() -> str:
    """The GPU where there is one, else the CPU."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def placed(model: nn.Module, device: str | torch.device | None) -> nn.Module:
    """The model on ``device``; None leaves it where it is.

    Raises:
        UserError: there is no such device.
    """
    if device is None:
        return model
    try:
        torch.empty(0, device=device)  # a model that fails on its way would stay half there
        return model.to(torch.device(device))
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        found = ['cpu', *(f'cuda:{number}' for number in range(torch.cuda.device_count()))]
        raise UserError(
            f'device {device!r} cannot be used ({str(error).splitlines()[0]}): this machine has '
            f'{", ".join(found)}'
        ) from error
