"""Calls of a kernel from many threads: compiled code that shares out a range of items.

torch multiplies matrices on threads of OpenMP, which go on spinning for a while after a product. On
threads of another kind, a kernel would wait for a core until they sleep: a training step of Vim-S
took 1.2 times as long. So kernels run on the same threads, entered by the function that gcc's
``#pragma omp parallel`` calls.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

INDEX, POINTER = ir.IntType(64), ir.IntType(8).as_pointer()
WORK = ir.FunctionType(ir.VoidType(), [POINTER])
#: ``void GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags)``
TEAM = ir.FunctionType(ir.VoidType(), [WORK.as_pointer(), POINTER, ir.IntType(32), ir.IntType(32)])


@intrinsic(prefer_literal=False)
def share_out(typing_context, body, team, threads, items, size, args):
    """Call ``body(first, last, *args)`` on pieces of ``size`` items that cover ``range(items)``.

    Args:
        body: a compiled function.
        team: address of a function such as GOMP_parallel; not called with a single thread.
        threads: number of threads.
        items: number of items.
        size: items of a piece.
        args: a tuple.

    Returns:
        A number other than 0 where a call failed, as it does where memory is lacking.
    """
    body_args = types.intp, types.intp, *args.types
    body.get_call_type(typing_context, body_args, {})  # compiles it

    def generate(context, builder, signature, values):
        compiled = body.dispatcher.overloads[body_args]
        _, team, threads, items, size, args = values
        args = cgutils.unpack_tuple(builder, args)
        fields = [INDEX, INDEX, INDEX, INDEX, *(arg.type for arg in args)]
        record = cgutils.alloca_once(builder, ir.LiteralStructType(fields))
        zero = ir.Constant(INDEX, 0)
        for number, value in enumerate([zero, zero, items, size, *args]):
            builder.store(value, cgutils.gep_inbounds(builder, record, 0, number))
        context.add_linking_libs([compiled.library])
        work = _worker(context, builder.module, compiled, record.type)
        data = builder.bitcast(record, POINTER)
        several = builder.icmp_signed('>', threads, ir.Constant(INDEX, 1))
        with builder.if_else(several) as (then, otherwise):
            with then:
                enter = builder.inttoptr(team, TEAM.as_pointer())
                count = builder.trunc(threads, ir.IntType(32))
                builder.call(enter, [work, data, count, ir.Constant(ir.IntType(32), 0)])
            with otherwise:
                builder.call(work, [data])
        return builder.load(cgutils.gep_inbounds(builder, record, 0, 1))

    index = types.intp
    return index(body, index, index, index, index, args), generate


def _worker(context, module, compiled, record_type) -> ir.Function:
    """Return a function that takes pieces until none is left.

    ``record_type`` points to the next item, the status, the number of items, the size of a piece,
    and the arguments of the body.
    """
    work = ir.Function(module, WORK, module.get_unique_name('share_out'))
    work.linkage = 'internal'
    # Two inlined copies could differ in their last bits.
    work.attributes.add('noinline')
    # On many Intel CPUs LLVM prefers vectors of 256 bits, which suits code that rarely uses any.
    # This attribute is that of clang's -mprefer-vector-width=512; llvmlite's list lacks it.
    set.add(work.attributes, '"prefer-vector-width"="512"')
    builder = ir.IRBuilder(work.append_basic_block('entry'))
    record = builder.bitcast(work.args[0], record_type)
    places = [
        cgutils.gep_inbounds(builder, record, 0, number)
        for number in range(len(record_type.pointee.elements))
    ]
    next_item, status_place = places[:2]
    items, size, *args = (builder.load(place) for place in places[2:])
    body = context.declare_function(module, compiled.fndesc)
    loop, call, leave = (work.append_basic_block(name) for name in ('loop', 'call', 'leave'))
    builder.branch(loop)
    builder.position_at_end(loop)
    first = builder.atomic_rmw('add', next_item, size, 'monotonic')
    builder.cbranch(builder.icmp_signed('<', first, items), call, leave)
    builder.position_at_end(call)
    end = builder.add(first, size)
    last = builder.select(builder.icmp_signed('<', end, items), end, items)
    restype, argtypes = compiled.fndesc.restype, compiled.fndesc.argtypes
    status, _ = context.call_conv.call_function(
        builder, body, restype, argtypes, [first, last, *args]
    )
    failed = builder.zext(status.is_error, INDEX)
    builder.atomic_rmw('or', status_place, failed, 'monotonic')
    builder.branch(loop)
    builder.position_at_end(leave)
    builder.ret_void()
    return work
