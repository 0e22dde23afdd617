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


class Signature:
    """The tensors of one op in the order of its arguments, and the names of their sizes.

    ``Signature('scale', x='batch, dim, length', weight='dim', mask='dim, length or dim or None')``
    takes a mask of two forms, or none. Sizes of one name are equal, the first tensor that has it
    says which; all but a batch are at least 1. Those in ``DERIVED`` follow from others.

    Args:
        op: name of the op, for the messages.
        advice: by the name of a tensor, what else to say where its shape is wrong.
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
        for (name, forms), tensor in zip(self._tensors, tensors, strict=True):
            if tensor is None and None in forms:
                continue
            if not isinstance(tensor, torch.Tensor):
                self._refuse(name, f'must be a tensor, got {type(tensor).__name__}')
            shape = tensor.shape
            form = forms.get(len(shape))
            if form is None:
                self._refuse_shape(name, forms, shape, sizes)
            for (axis, rule), size in zip(form, shape, strict=True):
                known = sizes.get(axis)
                if known is None:
                    sizes[axis] = known = size if rule is None else rule(sizes)
                    if rule is None and size < 1 and axis != 'batch':
                        self._refuse_shape(name, forms, shape, {axis: 'at least 1'})
                if known != size:
                    self._refuse_shape(name, forms, shape, sizes)
            if tensor.dtype not in DTYPES:
                self._refuse_dtype(name, tensor.dtype)
            if tensor.device != device:
                self._refuse_device(name, tensor.device, device)
        return sizes

    def _refuse_shape(self, name, forms, shape, sizes) -> NoReturn:
        expected = ' or '.join(_describe(form, sizes) for form in forms.values() if form)
        advice = f'; {self._advice[name]}' if name in self._advice else ''
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


Form = tuple[tuple[str, Callable[[dict[str, int]], int] | None], ...]


def _forms(shapes: str) -> dict[int | None, Form | None]:
    """The forms of a tensor by their number of axes; None stands for no tensor."""
    forms = {}
    for shape in shapes.split(' or '):
        axes = () if shape == 'None' else tuple((a, DERIVED.get(a)) for a in shape.split(', '))
        forms[len(axes) or None] = axes or None
    return forms


def _describe(form: Form, sizes: dict[str, int | str]) -> str:
    names = [axis for axis, _ in form]
    found = [sizes.get(name, name) for name in names]
    return _tuple(names) if found == names else f'{_tuple(names)} = {_tuple(found)}'


def _tuple(items) -> str:
    items = list(items)
    return f'({", ".join(map(str, items))}{"," if len(items) == 1 else ""})'


def plain(dtype: torch.dtype) -> str:
    """The name of a dtype without the module's."""
    return str(dtype).removeprefix('torch.')
