"""The tensors that an op takes, checked before any of its backends runs.

A kernel believes what it is told: one that got tensors of other sizes would read and write past
their ends.
"""

from collections.abc import Callable
from typing import NoReturn

import torch

from memba_vision.errors import UserError

#: The dtypes that every op takes, each tensor its own.
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

#: Sizes that follow from those before them.
DERIVED: dict[str, Callable[[dict[str, int]], int]] = {
    '2': lambda sizes: 2,
    '2 * batch': lambda sizes: 2 * sizes['batch'],
    'chunk': lambda sizes: -(-sizes['length'] // sizes['num_chunks']),
    'width - 1': lambda sizes: sizes['width'] - 1,
}

#: Sizes that may be 0.
MAY_BE_EMPTY = ('batch', '2 * batch', 'width - 1')


class Signature:
    """The tensors of one op in the order of its arguments, and the names of their sizes.

    ``Signature('scale', x='batch, dim, length', weight='dim', mask='dim, length or dim or None')``
    takes a mask of two forms, or none. Sizes of one name are equal, the first tensor that has it
    says which; all but a batch are at least 1. Those in ``DERIVED`` follow from others.

    Args:
        op: name of the op, for the messages.
        advice: by the name of a tensor, what else to say where it has a wrong number of axes.
        tensors: the shapes.
    """

    def __init__(self, op: str, advice: dict[str, str] | None = None, **tensors: str) -> None:
        self.op = op
        self._advice = advice or {}
        self._tensors = [(name, _forms(shapes)) for name, shapes in tensors.items()]

    def check(self, *tensors: torch.Tensor | None, **sizes: int) -> dict[str, int]:
        """The size of every name, from ``tensors`` and from those given.

        Raises:
            UserError: a tensor is missing or is none, or its shape, dtype or device is not what
                the others ask for. The message says what was expected and what was found.
        """
        device = getattr(tensors[0], 'device', None)
        fitting: dict[tuple[str, ...], torch.Size] = {}
        for (name, forms), tensor in zip(self._tensors, tensors, strict=True):
            if tensor is None and None in forms:
                continue
            if not isinstance(tensor, torch.Tensor):
                self._refuse(name, f'must be a tensor, got {type(tensor).__name__}')
            shape = tensor.shape
            form = forms.get(len(shape))
            # Most tensors are of the shape of one before them: one comparison does for them.
            if form is None or fitting.get(form) != shape:
                self._bind(name, forms, shape, sizes)
                fitting[form] = shape
            if tensor.dtype not in DTYPES:
                self._refuse_dtype(name, tensor.dtype)
            if tensor.device != device:
                self._refuse_device(name, tensor.device, device)
        return sizes

    def _bind(self, name, forms, shape, sizes) -> None:
        """Note the sizes that this tensor is the first to have, and compare the others."""
        form = forms.get(len(shape))
        if form is None:
            self._refuse_shape(name, forms, shape, sizes)
        for axis, size in zip(form, shape, strict=True):
            if axis not in sizes:
                sizes[axis] = DERIVED[axis](sizes) if axis in DERIVED else size
                if size < 1 and axis not in MAY_BE_EMPTY:
                    self._refuse_shape(name, forms, shape, {axis: 'at least 1'})
            if sizes[axis] != size:
                self._refuse_shape(name, forms, shape, sizes)

    def _refuse_shape(self, name, forms, shape, sizes) -> NoReturn:
        expected = ' or '.join(_describe(form, sizes) for form in forms.values() if form)
        advice = '' if len(shape) in forms else self._advice.get(name, '')
        self._refuse(name, f'must be {expected}, got {_tuple(shape)}{advice}')

    def _refuse_dtype(self, name, dtype) -> NoReturn:
        taken = ', '.join(plain(known) for known in DTYPES)
        advice = 'complex numbers are not supported' if dtype.is_complex else 'convert it'
        self._refuse(name, f'must be one of {taken}, got {plain(dtype)}; {advice}')

    def _refuse_device(self, name, device, first) -> NoReturn:
        self._refuse(
            name, f"must be on {first}, as {self._tensors[0][0]}, got {device}; .to('{first}')"
        )

    def _refuse(self, name, problem) -> NoReturn:
        raise UserError(f'{self.op}: {name} {problem}')


def _forms(shapes: str) -> dict[int | None, tuple[str, ...] | None]:
    """The forms of a tensor by their number of axes; None stands for no tensor."""
    axes = [None if shape == 'None' else tuple(shape.split(', ')) for shape in shapes.split(' or ')]
    return {form and len(form): form for form in axes}


def _describe(form: tuple[str, ...], sizes: dict[str, int | str]) -> str:
    found = tuple(_size(axis, sizes) for axis in form)
    return _tuple(form) if found == form else f'{_tuple(form)} = {_tuple(found)}'


def _size(axis: str, sizes: dict[str, int | str]) -> int | str:
    """The size of an axis, or its name where nothing says it."""
    try:
        return sizes[axis] if axis in sizes else DERIVED[axis](sizes)
    except KeyError:
        return axis


def _tuple(items) -> str:
    items = list(items)
    return f'({", ".join(map(str, items))}{"," if len(items) == 1 else ""})'


def plain(dtype: torch.dtype) -> str:
    """The name of a dtype without the module's."""
    return str(dtype).removeprefix('torch.')
