"""Arguments of functions that people call, checked before anything is built."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import torch
from torch import nn

from memba_vision.errors import UserError


def check_arguments(num_classes: int | None, settings: Mapping[str, Any]) -> None:
    """See to it that numbers of things are whole and positive.

    Args:
        num_classes: outputs of a head; None is allowed.
        settings: of a backbone, of which ``img_size`` may be (height, width).

    Raises:
        UserError: one is not.
    """
    if num_classes is not None and not is_count(num_classes):
        raise UserError(
            f'num_classes is a whole number from 1 on, or None, got {num_classes!r}; features '
            'without a head come from memba_vision.extract_features'
        )
    for name in ('patch_size', 'stride', 'in_channels'):
        value = settings.get(name)
        if value is not None and not is_count(value):
            raise UserError(f'{name} is a whole number from 1 on, got {value!r}')
    if 'img_size' in settings:
        width_and_height(settings['img_size'])


def is_count(value: Any) -> bool:
    """Whether ``value`` is a whole number from 1 on."""
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0


def width_and_height(img_size: Any) -> tuple[int, int]:
    """The size of images in the order of mmcv's transforms, from one side or (height, width).

    Raises:
        UserError: it is neither.
    """
    sides = img_size if isinstance(img_size, list | tuple) else (img_size, img_size)
    if len(sides) != 2 or not all(is_count(side) for side in sides):
        raise UserError(
            f'img_size is a whole number of pixels, or (height, width), got {img_size!r}'
        )
    return int(sides[1]), int(sides[0])


def placed(model: nn.Module, device: str | torch.device | None) -> nn.Module:
    """The model on ``device``; None leaves it where it is.

    Raises:
        UserError: there is no such device.
    """
    if device is None:
        return model
    try:
        return model.to(torch.device(device))
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        found = ['cpu', *(f'cuda:{number}' for number in range(torch.cuda.device_count()))]
        raise UserError(
            f'device {device!r} cannot be used ({str(error).splitlines()[0]}): this machine has '
            f'{", ".join(found)}'
        ) from error
