"""The short causal convolution before the scan (Gu and Dao 2023, section 3.4)."""

import torch
import torch.nn.functional as F

from memba_vision.discovery import import_submodules
from memba_vision.ops.backends import BackendTable
from memba_vision.ops.checks import Signature

__all__ = ['BACKENDS', 'causal_conv1d']

BACKENDS = BackendTable('causal_conv1d')
import_submodules(__name__, __path__)

SIGNATURE = Signature(
    'causal_conv1d',
    x='batch, dim, length',
    weight='dim, width',
    bias='dim or None',
    initial_states='batch, dim, width - 1 or None',
)


def causal_conv1d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    silu: bool = False,
    reverse: bool = False,
    initial_states: torch.Tensor | None = None,
    return_final_states: bool = False,
    backend: str | None = None,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Convolve each channel with its own filter, over the present and earlier positions.

    ``out[t] = bias + sum over k of weight[k] * x[t - (width - 1) + k]``, with the initial states
    or zeros before the start. With ``reverse`` it is ``x[t + (width - 1) - k]``, with the initial
    states or zeros after the end: the convolution of the flipped sequence, flipped back.

    Args:
        x: (batch, dim, length).
        weight: (dim, width). Its dtype may differ from that of ``x``.
        bias: (dim,).
        silu: apply the SiLU to the result.
        reverse: convolve over the present and later positions.
        initial_states: the positions before the first, or with ``reverse`` after the last, in the
            order of the sequence: (batch, dim, width - 1).
        return_final_states: also return the initial states for the next part of the sequence.
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.

    Returns:
        (batch, dim, length) in the dtype of ``x``. With ``return_final_states`` also (batch, dim,
        width - 1), the ``initial_states`` for the part of the sequence that is convolved next.

    Raises:
        UserError: the shapes, dtypes or devices of the tensors disagree, or the backend is
            unknown or cannot run on them.
    """
    past = SIGNATURE.check(x, weight, bias, initial_states)['width'] - 1
    convolve = BACKENDS.select(backend, x, weight, bias).function
    if initial_states is None and not return_final_states:
        return convolve(x, weight, bias, silu, reverse)
    length = x.shape[-1]
    if initial_states is None:
        extended = F.pad(x, (0, past) if reverse else (past, 0))
    else:
        states = initial_states.to(x.dtype)
        extended = torch.cat([x, states] if reverse else [states, x], dim=-1)
    out = convolve(extended, weight, bias, silu, reverse).narrow(-1, 0 if reverse else past, length)
    if not return_final_states:
        return out
    return out, extended.narrow(-1, 0 if reverse else length, past).clone()
