"""One switch for all implementations of an op."""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.autograd import forward_ad

from memba_vision.errors import UserError
from memba_vision.ops.checks import plain

#: The table of every op that has been imported, by its name.
#:
#: :meta hide-value:
TABLES: dict[str, 'BackendTable'] = {}


def describe_choice(tensor: torch.Tensor) -> str:
    """One line on which backend every op takes for tensors like this one, left to itself."""
    chosen = (f'{op} {table.select(None, tensor).name}' for op, table in sorted(TABLES.items()))
    return f'Kernels on {tensor.device}: {", ".join(chosen)}'


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """A context in which no tensor on ``device`` is cast."""
    kind = device.type
    if kind == 'meta':  # which torch.autocast does not know
        return contextlib.nullcontext()
    # To enter it takes a tenth of a small scan; a graph may run inside autocast later.
    if not torch.compiler.is_compiling() and not torch.is_autocast_enabled(kind):
        return contextlib.nullcontext()
    return torch.autocast(kind, enabled=False)


def _is_exporting() -> bool:
    # torch 2.6 cannot tell torch.export; whoever exports with it names the backends.
    return _is_traced_to_be_run() or getattr(torch.compiler, 'is_exporting', lambda: False)()


def _is_traced_to_be_run() -> bool:
    # mmengine traces as well, to count the operators, kernels among them: without this map.
    if not torch.jit.is_tracing():
        return False
    return torch.jit._trace._trace_module_map is not None or torch.onnx.is_in_onnx_export()


def _is_transformed() -> bool:
    """Return True if torch.func or a forward-mode derivative follows the operators that run.

    Both pass by what is inside a kernel: a forward derivative through it would be zero.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


@dataclass(frozen=True)
class Backend:
    """One implementation of an op.

    ``obstacle`` takes the op's first tensor and returns why this backend cannot run on tensors
    like it, or None where it can; ``dtypes`` are those that it takes of any of them, or None for
    all. Among those that can run, 'auto' takes the highest ``priority``.
    ``portable`` ones are made of torch's own operators: 'auto' takes no other while torch.export or
    torch.jit.trace follows a model, so that what is exported runs without this package, and nothing
    else runs inside torch.func and forward-mode derivatives.
    """

    name: str
    function: Callable[..., torch.Tensor]
    priority: int
    obstacle: Callable[[torch.Tensor], str | None]
    portable: bool
    dtypes: tuple[torch.dtype, ...] | None = None

    def objection(self, tensors: Sequence[torch.Tensor]) -> str | None:
        """Return the reason that this backend cannot run on these tensors, None if it can."""
        obstacle = self.obstacle(tensors[0])
        if obstacle is not None or self.dtypes is None:
            return obstacle
        for tensor in tensors:
            if tensor.dtype not in self.dtypes:
                taken = ', '.join(plain(dtype) for dtype in self.dtypes)
                return f'it takes {taken}, and one of the tensors is {plain(tensor.dtype)}'
        return None


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
        dtypes: tuple[torch.dtype, ...] | None = None,
    ) -> Callable:
        """Decorate the function that implements the op as backend ``name``."""

        def decorate(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
            backend = Backend(name, function, priority, obstacle, portable, dtypes)
            ranked = sorted([*self._backends.values(), backend], key=lambda b: -b.priority)
            self._backends = {backend.name: backend for backend in ranked}
            return function

        return decorate

    def names(self) -> list[str]:
        """Every known backend, the preferred ones first."""
        return list(self._backends)

    def select(self, name: str | None, *tensors: torch.Tensor | None) -> Backend:
        """The backend called ``name``; for None or 'auto', the best that can run on ``tensors``.

        Raises:
            UserError: the backend is unknown or cannot run on such tensors.
        """
        present = [tensor for tensor in tensors if tensor is not None]
        name = name or os.environ.get(self.variable) or 'auto'
        if name == 'auto':
            all_run = not _is_exporting() and not _is_transformed()
            for backend in self._backends.values():
                if (backend.portable or all_run) and backend.objection(present) is None:
                    return backend
        if name not in self._backends:
            known = ', '.join(['auto', *self.names()])
            raise UserError(f'{self.op}: unknown backend {name!r}; known are {known}')
        backend = self._backends[name]
        objection = backend.objection(present)
        if objection is None and not backend.portable and _is_transformed():
            portable = ', '.join(b.name for b in self._backends.values() if b.portable)
            objection = (
                "torch.func and forward-mode derivatives take torch's own operators alone: choose "
                f"'auto' or one of {portable}"
            )
        if objection is not None:
            raise UserError(f'{self.op}: backend {name!r} cannot run here: {objection}')
        return backend
