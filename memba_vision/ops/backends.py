"""One switch for all implementations of an op."""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.autograd import forward_ad

from memba_vision.errors import UserError
from memba_vision.ops.checks import dtype_name

#: The table of every op that has been imported, by its name.
#:
#: :meta hide-value:
TABLES: dict[str, 'BackendTable'] = {}


def describe_choice(tensor: torch.Tensor) -> str:
    """Return a line that names the backend each op would choose for tensors like this one."""
    chosen = (f'{op} {table.select(None, tensor).name}' for op, table in sorted(TABLES.items()))
    return f'Kernels on {tensor.device}: {", ".join(chosen)}'


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Return a context that turns autocast off on ``device``."""
    kind = device.type
    if kind == 'meta':  # unknown to torch.autocast
        return contextlib.nullcontext()
    # Entering autocast costs a tenth of a small scan. A compiled graph always enters it: the graph
    # may run inside autocast later.
    if not torch.compiler.is_compiling() and not torch.is_autocast_enabled(kind):
        return contextlib.nullcontext()
    return torch.autocast(kind, enabled=False)


def _is_exporting() -> bool:
    # torch 2.6 has no is_exporting: with it, a user who exports has to name the backends.
    return _is_traced_for_export() or getattr(torch.compiler, 'is_exporting', lambda: False)()


def _is_traced_for_export() -> bool:
    # mmengine traces too, to count operators, and has to find the kernels. It sets no module map.
    if not torch.jit.is_tracing():
        return False
    return torch.jit._trace._trace_module_map is not None or torch.onnx.is_in_onnx_export()


def _is_transformed() -> bool:
    """Return True inside a torch.func transform or a forward-mode derivative.

    Neither sees what a kernel computes: the forward derivative of a kernel would be zero.
    """
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


@dataclass(frozen=True)
class Backend:
    """One implementation of an op.

    Attributes:
        name: the name that callers and environment variables choose it by.
        function: the implementation.
        priority: 'auto' takes the backend of the highest priority among those that can run.
        unsupported_reason: takes the op's first tensor and returns the reason that the backend
            cannot run on such tensors, None if it can.
        portable: True if it is made of torch's own operators. 'auto' takes no other backend while
            torch.export or torch.jit.trace records a model, so that an exported model runs without
            this package. Inside torch.func and forward-mode derivatives no other backend runs.
        dtypes: the dtypes that any of the tensors may have; None allows all.
    """

    name: str
    function: Callable[..., torch.Tensor]
    priority: int
    unsupported_reason: Callable[[torch.Tensor], str | None]
    portable: bool
    dtypes: tuple[torch.dtype, ...] | None = None

    def why_unsupported(self, tensors: Sequence[torch.Tensor]) -> str | None:
        """Return the reason that this backend cannot run on these tensors, None if it can."""
        reason = self.unsupported_reason(tensors[0])
        if reason is not None or self.dtypes is None:
            return reason
        for tensor in tensors:
            if tensor.dtype not in self.dtypes:
                taken = ', '.join(map(dtype_name, self.dtypes))
                return f'it takes {taken}, and one of the tensors is {dtype_name(tensor.dtype)}'
        return None


class BackendTable:
    """The implementations of one op, by name.

    The environment variable ``MEMBA_VISION_<OP>_BACKEND`` is the default for calls that name none.
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
        unsupported_reason: Callable[[torch.Tensor], str | None] = lambda tensor: None,
        portable: bool = False,
        dtypes: tuple[torch.dtype, ...] | None = None,
    ) -> Callable:
        """Decorate the function that implements the op as backend ``name``."""

        def decorate(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
            backend = Backend(name, function, priority, unsupported_reason, portable, dtypes)
            ranked = sorted([*self._backends.values(), backend], key=lambda b: -b.priority)
            self._backends = {backend.name: backend for backend in ranked}
            return function

        return decorate

    def names(self) -> list[str]:
        """Return the names of all backends, the preferred ones first."""
        return list(self._backends)

    def select(self, name: str | None, *tensors: torch.Tensor | None) -> Backend:
        """Return the backend ``name``; for None or 'auto', the best that can run on ``tensors``.

        Raises:
            UserError: the backend is unknown or cannot run on such tensors.
        """
        present = [tensor for tensor in tensors if tensor is not None]
        name = name or os.environ.get(self.variable) or 'auto'
        if name == 'auto':
            all_run = not _is_exporting() and not _is_transformed()
            for backend in self._backends.values():
                if (backend.portable or all_run) and backend.why_unsupported(present) is None:
                    return backend
        if name not in self._backends:
            known = ', '.join(['auto', *self.names()])
            raise UserError(f'{self.op}: unknown backend {name!r}; known are {known}')
        backend = self._backends[name]
        reason = backend.why_unsupported(present)
        if reason is None and not backend.portable and _is_transformed():
            portable = ', '.join(b.name for b in self._backends.values() if b.portable)
            reason = (
                "torch.func and forward-mode derivatives take torch's own operators alone: choose "
                f"'auto' or one of {portable}"
            )
        if reason is not None:
            raise UserError(f'{self.op}: backend {name!r} cannot run here: {reason}')
        return backend
