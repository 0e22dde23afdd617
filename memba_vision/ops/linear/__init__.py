"""Linear maps, by the fastest library that is available."""

import torch

from memba_vision.discovery import import_submodules
from memba_vision.errors import UserError
from memba_vision.ops.backends import BackendTable
from memba_vision.ops.linear.autocast import in_autocast_dtype, is_wider

__all__ = ['BACKENDS', 'linear', 'linear_each']

BACKENDS = BackendTable('linear')
import_submodules(__name__, __path__)


def linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    added: torch.Tensor | None = None,
    backend: str | None = None,
) -> torch.Tensor:
    """Compute ``x @ weight.T + bias + added``, as ``torch.nn.functional.linear`` and a sum do.

    Args:
        x: (..., in_features), any strides.
        weight: (out_features, in_features).
        bias: (out_features,).
        added: (..., out_features), any strides. Autocast does not round it where it is wider, and
            the sum has its dtype then.
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.

    Returns:
        (..., out_features); inside autocast in the dtype of autocast, unless ``added`` is wider or
        all is float64, which autocast leaves alone.

    Raises:
        UserError: shapes, dtypes (outside autocast, or of float64 with another) or devices
            disagree; the backend is unknown or cannot run on these tensors.
    """
    return _run(x, [weight], bias, added, backend)[0]


def linear_each(
    x: torch.Tensor, *weights: torch.Tensor, backend: str | None = None
) -> list[torch.Tensor]:
    """Compute ``x @ weight.T`` for each of several weights.

    The gradients of ``x`` are summed as they are computed, without a pass over memory for the sum.
    Arguments, results and errors are those of :func:`linear`.
    """
    return _run(x, weights, None, None, backend)


def _run(x, weights, bias, added, backend) -> list[torch.Tensor]:
    if not torch.jit.is_tracing():  # tracing turns sizes into tensors; torch checks those itself
        for number, weight in enumerate(weights):
            _check(x, weight, *((None, None) if number else (bias, added)))
    wider = added if added is not None and is_wider(added) else None
    added = added if wider is None else None
    x, bias, added, *weights = in_autocast_dtype(x, bias, added, *weights)
    outs = BACKENDS.select(backend, x).function(x, weights, bias, added)
    return outs if wider is None else [outs[0] + wider, *outs[1:]]


def _check(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, added: torch.Tensor | None
) -> None:
    # oneDNN's own error would not give the reason.
    fits = x.ndim > 0 and weight.ndim == 2 and x.shape[-1] == weight.shape[1]
    if not fits or (bias is not None and bias.shape != weight.shape[:1]):
        found = [tuple(tensor.shape) for tensor in (x, weight, bias) if tensor is not None]
        raise UserError(
            'linear: x must be (…, in_features), weight (out_features, in_features) and bias '
            f'(out_features,); their shapes are {", ".join(map(str, found))}'
        )
    if added is not None and added.shape != (*x.shape[:-1], len(weight)):
        raise UserError(
            f'linear: added must be {(*x.shape[:-1], len(weight))}, the shape of the result, got '
            f'{tuple(added.shape)}'
        )
    for other in (weight, bias, added):
        if other is None or (other.dtype, other.device) == (x.dtype, x.device):
            continue
        converts = torch.is_autocast_enabled(x.device.type)
        if other is not added:
            converts &= torch.float64 not in (x.dtype, other.dtype)
        if other.device != x.device or not converts:
            raise UserError(
                f'linear: x is {x.dtype} on {x.device} and its weights are {other.dtype} on '
                f'{other.device}: bring both to one dtype and device, or run under torch.autocast, '
                'which leaves float64 as it is'
            )
