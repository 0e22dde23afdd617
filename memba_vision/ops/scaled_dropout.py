"""Dropout and a factor in one product, with random numbers that cost little on a CPU."""

import torch
import torch.nn.functional as F

from memba_vision.errors import UserError

#: Values of the 16 random bits that decide on an element.
LEVELS = 2**16


def scaled_dropout(x: torch.Tensor, rate: float, factor: float = 1.0) -> torch.Tensor:
    """Set elements to zero with the probability ``rate``; multiply the others by what makes up.

    On a CPU ``torch.nn.functional.dropout`` draws a double for each element; here four elements
    share 64 random bits of torch's default generator, so that the probability is a multiple of
    2**-16.

    Args:
        x: any shape.
        rate: in [0, 1); 0 drops nothing.
        factor: multiplied with the result.

    Returns:
        ``x * factor / (1 - rate)`` or 0, in the shape and dtype of ``x``.

    Raises:
        UserError: ``rate`` is out of range.
    """
    if not 0 <= rate < 1:
        raise UserError(f'scaled_dropout: rate must be in [0, 1), got {rate}')
    if not rate:
        return x * factor
    if x.device.type != 'cpu' or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return F.dropout(x, rate) * factor
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)
    is_kept = bits < min(round(LEVELS * (1 - rate)) - LEVELS // 2, LEVELS // 2 - 1)
    return x * torch.where(is_kept, x.new_tensor(factor / (1 - rate)), x.new_tensor(0))
