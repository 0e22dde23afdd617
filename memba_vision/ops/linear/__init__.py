"""The linear map, by the fastest library that is available."""

import torch

from memba_vision.discovery import import_submodules
from memba_vision.errors import UserError
from memba_vision.ops.backends import BackendTable
from memba_vision.ops.linear.autocast import in_autocast_dtype

__all__ = ['BACKENDS', 'linear']

BACKENDS = BackendTable('linear')
import_submodules(__name__, __path__)


def linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """Compute ``x @ weight.T + bias``, as ``torch.nn.functional.linear`` does.

    Args:
        x: (..., in_features), any strides.
        weight: (out_features, in_features).
        bias: (out_features,).
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.

    Returns:
        (..., out_features); inside autocast in the dtype of autocast.

    Raises:
        UserError: shapes, dtypes (outside autocast) or devices disagree; the backend is unknown or
            cannot run on these tensors.
    """
    if not torch.jit.is_tracing():  # tracing turns sizes into tensors; torch checks those itself
        _check(x, weight, bias)
    x, weight, bias = in_autocast_dtype(x, weight, bias)
    return BACKENDS.select(backend, x).function(x, weight, bias)


def _check(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    # oneDNN's own error would not give the reason.
    fits = x.ndim > 0 and weight.ndim == 2 and x.shape[-1] == weight.shape[1]
    if not fits or (bias is not None and bias.shape != weight.shape[:1]):
        found = [tuple(tensor.shape) for tensor in (x, weight, bias) if tensor is not None]
        raise UserError(
            'linear: x must be (…, in_features), weight (out_features, in_features) and bias '
            f'(out_features,); their shapes are {", ".join(map(str, found))}'
        )
    for other in (weight, bias):
        if other is None or (other.dtype, other.device) == (x.dtype, x.device):
            continue
        if other.device != x.device or not torch.is_autocast_enabled(x.device.type):
            raise UserError(
                f'linear: x is {x.dtype} on {x.device} and its weights are {other.dtype} on '
                f'{other.device}: bring both to one dtype and device, or run under torch.autocast'
            )
