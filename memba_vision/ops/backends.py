"""One switch for all implementations of an op."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.autograd import forward_ad

from memba_vision.errors import UserError

#: The table of every op that has been imported, by its name.
#:
#: :meta hide-value:
TABLES: dict[str, 'BackendTable'] = {}


def describe_choice(tensor: torch.Tensor) -> str:
    """One line on which backend every op takes for tensors like this one, left to itself."""
    chosen = (f'{op} {table.select(None, tensor).name}' for op, table in sorted(TABLES.items()))
    return f'Kernels on {tensor.device}: {", ".join(chosen)}'


def _is_exporting() -> bool:
    # torch 2.6 cannot tell torch.export; whoever exports with it names the backends.
    return _is_traced_to_be_run() or getattr(torch.compiler, 'is_exporting', lambda: False)()


def _is_traced_to_be_run() -> bool:
    # mmengine traces as well, to count the operators, kernels among them: without this map.
    kept = torch.jit._trace._trace_module_map is not None or torch.onnx.is_in_onnx_export()
    return kept and torch.jit.is_tracing()


def _is_transformed() -> bool:
    """Whether torch.func or a forward-mode derivative follows the operators that run.

    Both pass by what is inside a kernel: a forward derivative through it would be zero.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


@dataclass(frozen=True)
class Backend:
    """One implementation of an op.

    ``obstacle`` takes the op's first tensor and returns why this backend cannot run on tensors
    like it, or None where it can. Among those that can, 'auto' takes the highest ``priority``.
    ``portable`` ones are made of torch's own operators: 'auto' takes no other while torch.export or
    torch.jit.trace follows a model, so that what is exported runs without this package, and nothing
    else runs inside torch.func and forward-mode derivatives.
    """

    name: str
    function: Callable[..., torch.Tensor]
    priority: int
    obstacle: Callable[[torch.Tensor], str | None]
    portable: bool


class BackendTable:
    """The implementations of one op, by name.

    ``MEMBA_VISION_<OP>_BACKEND`` names the one to use where the caller names none.
    """

    def __init__(self, op: str) -> None:
        TABLES[op] = self
        self.op = op
        self.variable = f'MEMBA_VISION_{op.upper()}_BACKEND'
        self._backends: dict[str, Backend] = {}

    def register(
        self,
        name: str,
        *,
        priority: int,
        obstacle: Callable[[torch.Tensor], str | None] = lambda tensor: None,
        portable: bool = False,
    ) -> Callable:
        """Decorate the function that implements the op as backend ``name``."""

        def decorate(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
            self._backends[name] = Backend(name, function, priority, obstacle, portable)
            return function

        return decorate

    def names(self) -> list[str]:
        """Every known backend, the preferred ones first."""
        return [backend.name for backend in self._by_priority()]

    def select(self, name: str | None, tensor: torch.Tensor) -> Backend:
        """The backend called ``name``; for None or 'auto', the best that can run on ``tensor``.

        Raises:
            UserError: the backend is unknown or cannot run on such tensors.
        """
        name = name or os.environ.get(self.variable) or 'auto'
        if name == 'auto':
            all_run = not _is_exporting() and not _is_transformed()
            candidates = [b for b in self._by_priority() if b.portable or all_run]
            return next(b for b in candidates if b.obstacle(tensor) is None)
        if name not in self._backends:
            known = ', '.join(['auto', *self.names()])
            raise UserError(f'{self.op}: unknown backend {name!r}; known are {known}')
        backend = self._backends[name]
        obstacle = backend.obstacle(tensor)
        if obstacle is None and not backend.portable and _is_transformed():
            portable = ', '.join(b.name for b in self._by_priority() if b.portable)
            obstacle = (
                "torch.func and forward-mode derivatives take torch's own operators alone: choose "
                f"'auto' or one of {portable}"
            )
        if obstacle is not None:
            raise UserError(f'{self.op}: backend {name!r} cannot run here: {obstacle}')
        return backend

    def _by_priority(self) -> list[Backend]:
        return sorted(self._backends.values(), key=lambda b: -b.priority)
