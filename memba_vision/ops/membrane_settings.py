"""Settings of the leaky-integrate membrane, shared by every op that contains one."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

from memba_vision.errors import UserError


@dataclass(frozen=True)
class MembraneSettings:
    """Settings of the membrane in :func:`memba_vision.ops.leaky_integrate`.

    Attributes:
        num_chunks: number of chunks that the sequence is cut into, at least 1. It may exceed the
            length.
        leak: factor of a potential from chunk to chunk, in (0, 1].
        threshold: a potential above it is reset to zero; infinity never resets.

    Raises:
        UserError: a setting is out of range.
    """

    num_chunks: int = 4
    leak: float = 0.9
    threshold: float = 1.0

    #: The fields as arguments of a compiled operator, which takes no dataclass.
    SCHEMA: ClassVar[str] = 'SymInt num_chunks, float leak, float threshold'

    def __post_init__(self) -> None:
        if not isinstance(self.num_chunks, int):
            raise UserError(f'num_chunks must be a whole number, got {self.num_chunks!r}')
        if self.num_chunks < 1:
            raise UserError(f'num_chunks must be at least 1, got {self.num_chunks}')
        if not isinstance(self.leak, Real) or not 0 < self.leak <= 1:
            raise UserError(f'leak must be in (0, 1], got {self.leak!r}')
        if not isinstance(self.threshold, Real) or math.isnan(self.threshold):
            raise UserError(
                f'threshold must be a number, or infinity (None in an adapter) for no reset, got '
                f'{self.threshold!r}'
            )

    @property
    def fields(self) -> tuple[int, float, float]:
        """The arguments of ``SCHEMA``."""
        return self.num_chunks, self.leak, self.threshold

    def chunk(self, length: int) -> int:
        """Return the number of positions in a chunk; the last chunk may be padded."""
        # Not -(-length // num_chunks): ONNX's division rounds towards zero.
        return (length + self.num_chunks - 1) // self.num_chunks


def taking_fields(function: Callable) -> Callable:
    """Wrap ``function``, whose last argument is MembraneSettings, to take the fields one by one."""
    return lambda *arguments: function(*arguments[:-3], MembraneSettings(*arguments[-3:]))
