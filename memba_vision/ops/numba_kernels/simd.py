"""Rows of channels as values, which stay in vector registers while a kernel computes with them.

numba vectorises loops over arrays, but loads and stores every array in each iteration of the loop
around them. A row from :func:`load` is a value like any scalar, of ``WIDTH`` lanes; LLVM keeps it
in as many registers as the CPU's vectors need.
"""

import operator

from llvmlite import ir
from numba import float32, float64, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from memba_vision.ops.numba_kernels.layout import WIDTH
from memba_vision.ops.numba_kernels.maths import E1, E2, E3, E4, E5, HIGHEST, LOWEST, ONE, ROUND


class Row(types.Type):
    """``WIDTH`` numbers of type ``dtype``."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(f'Row({dtype})')


@register_model(Row)
class _RowModel(models.PrimitiveModel):
    def __init__(self, manager, row) -> None:
        super().__init__(manager, row, _vector(manager.lookup(row.dtype).get_value_type()))


def _vector(element: ir.Type) -> ir.VectorType:
    return ir.VectorType(element, WIDTH)


@intrinsic
def load(typing_context, array, index):
    """Load the row that starts at ``array[index]``; ``index`` has one number per axis."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args, args)
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return Row(array.dtype)(array, index), generate


@intrinsic
def store(typing_context, array, index, row):
    """Write ``row`` from ``array[index]`` on."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args, args)
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, index, row), generate


def _pointer(context, builder, types_, args):
    array, index = types_[:2]
    parts = context.make_array(array)(context, builder, args[0])
    indices = cgutils.unpack_tuple(builder, args[1], count=len(index))
    pointer = cgutils.get_item_pointer(
        context, builder, array, parts, indices, wraparound=False, boundscheck=False
    )
    element = context.get_value_type(array.dtype)
    return builder.bitcast(pointer, _vector(element).as_pointer())


@intrinsic
def broadcast(typing_context, number):
    """Return a row of which every lane is ``number``."""

    def generate(context, builder, signature, args):
        return _broadcast(builder, args[0])

    return Row(number)(number), generate


def _broadcast(builder, number):
    vector = _vector(number.type)
    lane = ir.Constant(ir.IntType(32), 0)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, lane)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), mask)


def _arithmetic(name: str):
    """An intrinsic of two rows that LLVM may fuse with others into a multiply-add."""

    @intrinsic
    def operation(typing_context, a, b):
        def generate(context, builder, signature, args):
            return getattr(builder, name)(*args, flags=('contract',))

        return a(a, b), generate

    return operation


_add, _subtract = _arithmetic('fadd'), _arithmetic('fsub')
_multiply, _divide = _arithmetic('fmul'), _arithmetic('fdiv')


@overload(operator.add)
def _(a, b):
    if isinstance(a, Row):
        return lambda a, b: _add(a, b)


@overload(operator.sub)
def _(a, b):
    if isinstance(a, Row):
        return lambda a, b: _subtract(a, b)


@overload(operator.mul)
def _(a, b):
    if isinstance(a, Row):
        return lambda a, b: _multiply(a, b)


@overload(operator.truediv)
def _(a, b):
    if isinstance(a, Row):
        return lambda a, b: _divide(a, b)


@intrinsic
def exp2(typing_context, row):
    """Return 2 to the power of each lane; see :func:`memba_vision.ops.numba_kernels.maths.exp2`."""
    formula = {float32: _exp2_float32, float64: _exp2_float64}[row.dtype]
    return row(row), formula


def _exp2_float32(context, builder, signature, args):
    def constant(value):
        return ir.Constant(_vector(ir.FloatType()), [float(value)] * WIDTH)

    def multiply_add(a, b, c):
        flags = ('contract',)
        return builder.fadd(builder.fmul(a, b, flags=flags), constant(c), flags=flags)

    highest = constant(HIGHEST)
    x = builder.select(builder.fcmp_ordered('>', args[0], highest), highest, args[0])
    rounded = builder.fadd(x, constant(ROUND))
    r = builder.fsub(x, builder.fsub(rounded, constant(ROUND)))
    power = constant(E5)
    for coefficient in (E4, E3, E2, E1, ONE):
        power = multiply_add(power, r, coefficient)
    bits = ir.VectorType(ir.IntType(32), WIDTH)
    exponent = builder.shl(builder.bitcast(rounded, bits), ir.Constant(bits, [23] * WIDTH))
    scaled = builder.bitcast(builder.add(builder.bitcast(power, bits), exponent), power.type)
    vanishes = builder.fcmp_ordered('<', args[0], constant(LOWEST))
    return builder.select(vanishes, constant(0), scaled)


def _exp2_float64(context, builder, signature, args):
    vector = args[0].type
    name = f'llvm.exp2.v{WIDTH}f64'
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector]), name
    )
    return builder.call(function, args)


@intrinsic
def masked_fill(typing_context, row, test, threshold):
    """Return ``row`` with 0 in the lanes where ``test`` is above the number ``threshold``."""

    def generate(context, builder, signature, args):
        row, test, threshold = args
        mask = builder.fcmp_ordered('>', test, _broadcast(builder, threshold))
        return builder.select(mask, ir.Constant(row.type, [0.0] * WIDTH), row)

    return row(row, test, test.dtype), generate


@intrinsic
def sums(typing_context, a, b, c, d):
    """The sums over the lanes of four rows, in a fixed order."""
    signature = types.UniTuple(a.dtype, 4)(a, b, c, d)

    def generate(context, builder, signature, args):
        a, b, c, d = (_fold(builder, row, 16) for row in args)
        halves = _pair(builder, a, b, 1), _pair(builder, c, d, 1)
        quarters = _pair(builder, *halves, 2)
        folded = _fold(builder, quarters, 4)
        lanes = [builder.extract_element(folded, ir.Constant(ir.IntType(32), i)) for i in range(4)]
        return context.make_tuple(builder, signature.return_type, lanes)

    return signature, generate


def _fold(builder, vector, lanes):
    """Add the upper half of the lanes to the lower half until ``lanes`` are left."""
    while vector.type.count > lanes:
        half = vector.type.count // 2
        vector = builder.fadd(
            _shuffle(builder, vector, vector, range(half)),
            _shuffle(builder, vector, vector, range(half, 2 * half)),
        )
    return vector


def _pair(builder, a, b, width):
    """Add neighbours, ``width`` lanes each; those of ``a`` and of ``b`` take turns."""
    first = [
        start + offset + lane
        for start in range(0, a.type.count, 2 * width)
        for offset in (0, a.type.count)
        for lane in range(width)
    ]
    second = [lane + width for lane in first]
    return builder.fadd(_shuffle(builder, a, b, first), _shuffle(builder, a, b, second))


def _shuffle(builder, a, b, lanes):
    lanes = list(lanes)
    return builder.shuffle_vector(
        a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    )
