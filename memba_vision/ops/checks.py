"""Checks of an op's tensors, made once before any backend runs.

Kernels check nothing: given tensors of wrong sizes, they would read and write past the ends.
"""

from collections.abc import Callable
from typing import NoReturn

import torch

from memba_vision.errors import UserError

#: Dtypes that every op accepts. The tensors of a call may have different ones.
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

#: Sizes that are computed from earlier ones.
DERIVED: dict[str, Callable[[dict[str, int]], int]] = {
    '2': lambda sizes: 2,
    '2 * batch': lambda sizes: 2 * sizes['batch'],
    'chunk': lambda sizes: -(-sizes['length'] // sizes['num_chunks']),
    'width - 1': lambda sizes: sizes['width'] - 1,
}

#: Sizes that may be 0.
MAY_BE_EMPTY = ('batch', '2 * batch', 'width - 1')


class Signature:
    """The shapes of one op's tensors, as named sizes, in the order of the op's arguments.

    ``Signature('scale', x='batch, dim, length', weight='dim', mask='dim, length or dim or None')``
    allows a mask of two shapes, or none. Sizes of the same name must be equal: the first tensor
    with that name sets the size. All but a batch must be at least 1. Those in ``DERIVED`` are
    computed from others.

    Args:
        op: name of the op, for error messages.
        advice: text to add to the error about a wrong number of axes, by the name of the tensor.
        tensors: the shapes.
    """

    def __init__(self, op: str, advice: dict[str, str] | None = None, **tensors: str) -> None:
        self.op = op
        self._advice = advice or {}
        self._tensors = [(name, _forms(shapes)) for name, shapes in tensors.items()]

    def check(self, *tensors: torch.Tensor | None, **sizes: int) -> dict[str, int]:
        """Check ``tensors`` and return the size of every name, those given as ``sizes`` included.

        Raises:
            UserError: a tensor is missing or is not a tensor, or its shape, dtype or device does
                not fit the others. The message has the expected and the found value.
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
            # Most tensors have the shape of an earlier one: then one comparison is enough.
            if form is None or fitting.get(form) != shape:
                self._bind(name, forms, shape, sizes)
                fitting[form] = shape
            if tensor.dtype not in DTYPES:
                self._refuse_dtype(name, tensor.dtype)
            if tensor.device != device:
                self._refuse_device(name, tensor.device, device)
        return sizes

    def _bind(self, name, forms, shape, sizes) -> None:
        """Record the sizes that this tensor has first, and compare the others."""
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
        taken = ', '.join(map(dtype_name, DTYPES))
        advice = 'complex numbers are not supported' if dtype.is_complex else 'convert it'
        self._refuse(name, f'must be one of {taken}, got {dtype_name(dtype)}; {advice}')

    def _refuse_device(self, name, device, first) -> NoReturn:
        self._refuse(
            name, f"must be on {first}, as {self._tensors[0][0]}, got {device}; .to('{first}')"
        )

    def _refuse(self, name, problem) -> NoReturn:
        raise UserError(f'{self.op}: {name} {problem}')


def _forms(shapes: str) -> dict[int | None, tuple[str, ...] | None]:
    """Return the allowed shapes by their number of axes; None stands for an absent tensor."""
    axes = [None if shape == 'None' else tuple(shape.split(', ')) for shape in shapes.split(' or ')]
    return {form and len(form): form for form in axes}


def _describe(form: tuple[str, ...], sizes: dict[str, int | str]) -> str:
    found = tuple(_size(axis, sizes) for axis in form)
    return _tuple(form) if found == form else f'{_tuple(form)} = {_tuple(found)}'


def _size(axis: str, sizes: dict[str, int | str]) -> int | str:
    """Return the size of an axis, or its name if the size is unknown."""
    try:
        return sizes[axis] if axis in sizes else DERIVED[axis](sizes)
    except KeyError:
        return axis


def _tuple(items) -> str:
    items = list(items)
    return f'({", ".join(map(str, items))}{"," if len(items) == 1 else ""})'


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a dtype without ``torch.``."""
    return str(dtype).removeprefix('torch.')
