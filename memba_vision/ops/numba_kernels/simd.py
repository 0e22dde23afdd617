"""Rows of channels as values, which stay in vector registers while a kernel computes with them.

Arrays of bfloat16, which numpy lacks, are arrays of their bits, uint16. A row of one is float32: it
is converted where it is loaded and rounded to the nearest where it is stored.

numba vectorises loops over arrays, but loads and stores every array in each iteration of the loop
around them. A row from :func:`load` is a value like any scalar, of ``WIDTH`` lanes; LLVM keeps it
in as many registers as the CPU's vectors need.
"""

import operator

from llvmlite import ir
from numba import float32, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from memba_vision.ops.numba_kernels.layout import WIDTH


class Row(types.Type):
    """``WIDTH`` numbers of type ``dtype``, or ``count`` rows of them that are one value."""

    def __init__(self, dtype: types.Float, count: int = 1) -> None:
        self.dtype, self.count = dtype, count
        super().__init__(f'Row({dtype}, {count})')


@register_model(Row)
class _RowModel(models.PrimitiveModel):
    def __init__(self, manager, row) -> None:
        vector = vector_of(manager.lookup(row.dtype).get_value_type())
        super().__init__(
            manager, row, vector if row.count == 1 else ir.ArrayType(vector, row.count)
        )


def vector_of(element: ir.Type) -> ir.VectorType:
    """Return the type of a row of ``element``."""
    return ir.VectorType(element, WIDTH)


def _computed(dtype: types.Number) -> types.Float:
    """Return the type that numbers of an array are computed in."""
    return float32 if dtype == types.uint16 else dtype


def _read(builder, pointer, dtype: types.Number, shape, align: int):
    """Load numbers of an array of ``dtype``; ``shape`` makes an LLVM type of that of a number."""
    number = builder.load(pointer, align=align)
    if dtype != types.uint16:
        return number
    wide = shape(ir.IntType(32))
    bits = builder.shl(builder.zext(number, wide), _constant(wide, 16))
    return builder.bitcast(bits, shape(ir.FloatType()))


def _write(builder, value, pointer, dtype: types.Number, shape, align: int) -> None:
    """Store numbers into an array; see :func:`_read`."""
    if dtype == types.uint16:
        value = _round_to_bfloat16(builder, value, shape)
    builder.store(value, pointer, align=align)


def _round_to_bfloat16(builder, value, shape):
    """Return the upper halves of float32s, rounded to the nearest, of two such to the even one.

    In integers: LLVM has an instruction for it on few CPUs, and calls a function elsewhere that no
    library here has.
    """
    wide = shape(ir.IntType(32))
    bits, half = builder.bitcast(value, wide), _constant(wide, 16)
    is_odd = builder.and_(builder.lshr(bits, half), _constant(wide, 1))
    rounded = builder.add(builder.add(bits, _constant(wide, 0x7FFF)), is_odd)
    quiet = builder.or_(bits, _constant(wide, 0x400000))  # NaN, which must not become infinite
    chosen = builder.select(builder.fcmp_unordered('uno', value, value), quiet, rounded)
    return builder.trunc(builder.lshr(chosen, half), shape(ir.IntType(16)))


def _constant(kind: ir.Type, number: int):
    return ir.Constant(kind, [number] * WIDTH if isinstance(kind, ir.VectorType) else number)


def _scalar(element: ir.Type) -> ir.Type:
    return element


def split_rows(builder, value) -> list:
    """Return the rows of a value."""
    if isinstance(value.type, ir.VectorType):
        return [value]
    return [builder.extract_value(value, i) for i in range(value.type.count)]


def join_rows(builder, rows: list):
    """Return the value that consists of ``rows``."""
    if len(rows) == 1:
        return rows[0]
    value = ir.Constant(ir.ArrayType(rows[0].type, len(rows)), ir.Undefined)
    for i, row in enumerate(rows):
        value = builder.insert_value(value, row, i)
    return value


@intrinsic
def load(typing_context, array, index):
    """Load the row that starts at ``array[index]``; ``index`` has one number per axis."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args, args)
        return _read(builder, pointer, array.dtype, vector_of, array.dtype.bitwidth // 8)

    return Row(_computed(array.dtype))(array, index), generate


@intrinsic
def store(typing_context, array, index, row):
    """Write ``row`` from ``array[index]`` on."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args, args)
        _write(builder, args[2], pointer, array.dtype, vector_of, array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, index, row), generate


@intrinsic
def load_number(typing_context, array, index):
    """Load the number ``array[index]``, as :func:`load` does a row."""

    def generate(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature.args, args)
        return _read(builder, pointer, array.dtype, _scalar, array.dtype.bitwidth // 8)

    return _computed(array.dtype)(array, index), generate


@intrinsic
def store_number(typing_context, array, index, number):
    """Write ``number`` to ``array[index]``, as :func:`store` does a row."""

    def generate(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature.args, args)
        _write(builder, args[2], pointer, array.dtype, _scalar, array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, index, number), generate


def _pointer(context, builder, types_, args):
    element = context.get_value_type(types_[0].dtype)
    pointer = _element_pointer(context, builder, types_, args)
    return builder.bitcast(pointer, vector_of(element).as_pointer())


def _element_pointer(context, builder, types_, args):
    array, index = types_[:2]
    parts = context.make_array(array)(context, builder, args[0])
    indices = [
        context.cast(builder, number, kind, types.intp)
        for number, kind in zip(cgutils.unpack_tuple(builder, args[1]), index, strict=True)
    ]
    return cgutils.get_item_pointer(
        context, builder, array, parts, indices, wraparound=False, boundscheck=False
    )


@intrinsic
def broadcast(typing_context, number):
    """Return a row of which every lane is ``number``."""

    def generate(context, builder, signature, args):
        return _broadcast(builder, args[0])

    return Row(number)(number), generate


@intrinsic
def repeat(typing_context, number, row):
    """Return a row like ``row``, of which every lane is ``number``."""

    def generate(context, builder, signature, args):
        return _broadcast(builder, context.cast(builder, args[0], number, row.dtype))

    return row(number, row), generate


def _broadcast(builder, number):
    vector = vector_of(number.type)
    lane = ir.Constant(ir.IntType(32), 0)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), number, lane)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), mask)


def _arithmetic(name: str):
    """Return an intrinsic of two values that LLVM may fuse with others into a multiply-add.

    A single row is repeated where the other value has several.
    """

    @intrinsic
    def operation(typing_context, a, b):
        result = a if a.count > 1 else b

        def generate(context, builder, signature, args):
            rows = [split_rows(builder, value) for value in args]
            first, second = (one * (result.count // len(one)) for one in rows)
            instruction = getattr(builder, name)
            pairs = zip(first, second, strict=True)
            return join_rows(builder, [instruction(*pair, flags=('contract',)) for pair in pairs])

        return result(a, b), generate

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


def _choice(comparison: str):
    """Return an intrinsic of two rows that returns the first where it compares so to the second."""

    @intrinsic
    def operation(typing_context, a, b):
        def generate(context, builder, signature, args):
            return builder.select(builder.fcmp_ordered(comparison, *args), *args)

        return a(a, b), generate

    return operation


minimum, maximum = _choice('<'), _choice('>')


@intrinsic
def where_negative(typing_context, test, a, b):
    """Return the lanes of ``a`` where those of ``test`` are below 0, elsewhere those of ``b``."""

    def generate(context, builder, signature, args):
        test, a, b = args
        zero = ir.Constant(test.type, [0.0] * WIDTH)
        return builder.select(builder.fcmp_ordered('<', test, zero), a, b)

    return a(test, a, b), generate


@intrinsic
def masked_fill(typing_context, row, test, threshold):
    """Return ``row`` with 0 in the lanes where ``test`` is above the number ``threshold``."""
    element = test.dtype

    def generate(context, builder, signature, args):
        row, test, number = args
        number = context.cast(builder, number, threshold, element)
        mask = builder.fcmp_ordered('>', test, _broadcast(builder, number))
        return builder.select(mask, ir.Constant(row.type, [0.0] * WIDTH), row)

    return row(row, test, threshold), generate


@intrinsic
def load_rows(typing_context, array, index, group):
    """Load as many rows as ``group``, a tuple, is long; they lie one after the other."""

    def generate(context, builder, signature, args):
        first = _pointer(context, builder, signature.args, args)
        pointers = (_shifted(builder, first, i) for i in range(group.count))
        align = array.dtype.bitwidth // 8
        return join_rows(builder, [builder.load(pointer, align=align) for pointer in pointers])

    return Row(array.dtype, group.count)(array, index, group), generate


@intrinsic
def store_rows(typing_context, array, index, rows):
    """Write rows one after the other from ``array[index]`` on."""

    def generate(context, builder, signature, args):
        first = _pointer(context, builder, signature.args, args)
        for i, row in enumerate(split_rows(builder, args[2])):
            builder.store(row, _shifted(builder, first, i), align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, index, rows), generate


@intrinsic
def broadcast_each(typing_context, array, index, group):
    """Repeat each of the ``len(group)`` numbers from ``array[index]`` on over a row of its own."""

    def generate(context, builder, signature, args):
        first = _element_pointer(context, builder, signature.args, args)
        numbers = (builder.load(_shifted(builder, first, i)) for i in range(group.count))
        return join_rows(builder, [_broadcast(builder, number) for number in numbers])

    return Row(array.dtype, group.count)(array, index, group), generate


@intrinsic
def add_up(typing_context, row, rows):
    """Add ``rows``, the first one first, to ``row``."""

    def generate(context, builder, signature, args):
        total = args[0]
        for each in split_rows(builder, args[1]):
            total = builder.fadd(total, each, flags=('contract',))
        return total

    return row(row, rows), generate


@intrinsic
def store_sums(typing_context, array, index, rows):
    """Write the sum over the lanes of each of 1, 2 or 4 rows, in a fixed order, to ``array``."""

    def generate(context, builder, signature, args):
        first = _element_pointer(context, builder, signature.args, args)
        folded = [_fold(builder, row, 16) for row in split_rows(builder, args[2])]
        a, b, c, d = folded * (4 // rows.count)
        halves = _pair(builder, a, b, 1), _pair(builder, c, d, 1)
        lanes = _fold(builder, _pair(builder, *halves, 2), 4)
        for i in range(rows.count):
            lane = builder.extract_element(lanes, ir.Constant(ir.IntType(32), i))
            builder.store(lane, _shifted(builder, first, i))
        return context.get_dummy_value()

    return types.none(array, index, rows), generate


def _shifted(builder, pointer, count):
    return builder.gep(pointer, [ir.Constant(ir.IntType(64), count)])


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
