"""Places of a batch's features in memory, which sums over them depend on."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Layout:
    """Shape, strides, offset, dtype and device of a tensor.

    The class token of each image, for instance, is a view with gaps between its rows; a norm sums
    such rows in another order than those of a contiguous copy.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: torch.Tensor) -> 'Layout':
        """Return the layout of ``tensor``."""
        place = tensor.stride(), tensor.storage_offset()
        return cls(tuple(tensor.shape), *place, tensor.dtype, tensor.device)

    def filled(self, values: torch.Tensor) -> torch.Tensor:
        """Return a tensor of this layout with the given values.

        Args:
            values: of the same shape and dtype.
        """
        steps = sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        memory = torch.empty(self.offset + steps + 1, dtype=self.dtype, device=self.device)
        return memory.as_strided(self.shape, self.strides, self.offset).copy_(values)


def overlaps(tensor: torch.Tensor) -> bool:
    """Return True if a tensor is expanded, so that several of its elements lie in one place."""
    return any(step == 0 and n > 1 for n, step in zip(tensor.shape, tensor.stride(), strict=True))


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Return True if two tensors agree in shape, dtype and every bit."""
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return False
    return torch.equal(*(x.cpu().contiguous().reshape(-1).view(torch.uint8) for x in (a, b)))
