"""Every Triton kernel compiles for a GPU, whether there is one here or not.

The interpreter, which stands in for a GPU in the other tests, accepts more than the compiler. Run
in a process of its own: Triton decides at its import whether it interprets.
"""

import os
import subprocess
import sys

import pytest
from helpers import IMPORT_ROOT

from memba_vision.ops.triton_kernels import presence

if presence.MISSING:
    pytest.skip(presence.MISSING, allow_module_level=True)

CODE = r"""
import re
import sys
import torch
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from memba_vision.ops.triton_kernels import launch

TYPES = {torch.float32: '*fp32', torch.bfloat16: '*bf16', int: 'i32', float: 'fp32'}

def compile_only(kernel, programs, *arguments, registers=None, **constants):
    warps = constants.pop('num_warps', 4)
    constants = {name: constants[name] for name in kernel.arg_names if name in constants}
    signature = {}
    for parameter, value in zip(kernel.params, arguments):
        if value is None or type(value) is int and value == 1 and not parameter.do_not_specialize:
            constants[parameter.name] = value
        else:
            kind = value.dtype if isinstance(value, torch.Tensor) else type(value)
            signature[parameter.name] = TYPES[kind]
    signature.update(dict.fromkeys(constants, 'constexpr'))
    signature = {name: signature[name] for name in kernel.arg_names}
    keys = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    options = dict(num_warps=warps, maxnreg=registers, enable_fp_fusion=True)
    source = ASTSource(kernel, signature, keys)
    compiled = compile(source, target=GPUTarget('cuda', 80, 32), options=options)
    assert compiled.asm['cubin']
    if constants.get('ROWS', 0) > 1:  # a channel in each lane: sums over states need no exchange
        text = compiled.asm['ttgir']
        lanes = dict(re.findall(r'(#\w+) = #ttg.blocked<.*?threadsPerWarp = (\[.*?\])', text))
        blocks = set(re.findall(r'tensor<%dx32x!tt.ptr<f32>, (#\w+)>' % constants['ROWS'], text))
        assert {lanes[layout] for layout in blocks} == {'[1, 32]'}, lanes
    print(kernel.fn.__module__, kernel.__name__)

launch.launch = compile_only
import memba_vision.ops
from memba_vision.ops.triton_kernels import causal_conv1d, gated_merge, selective_scan

def empty(*shape, dtype=torch.bfloat16):
    return torch.empty(shape, dtype=dtype)

weight = empty(96, dtype=torch.float32)
for state, needed, D, bias in ((1, False, weight, None), (16, False, None, None),
                               (64, True, weight, weight)):
    u, delta, A = empty(2, 40, 96).mT, empty(2, 40, 96).mT, empty(96, state, dtype=torch.float32)
    B, C = empty(2, 40, state).mT, empty(2, 40, state).mT
    inputs = u, [delta], A, B, C, D, bias, needed, [needed], [5 if needed else 1]
    out, states = selective_scan.forward(*inputs, True)
    selective_scan.backward(out, states, *inputs, [needed] * 3)
    way = u, delta, *inputs[2:7]
    *outs, states = selective_scan.forward_ways([way, way], needed, False, 8, True)
    selective_scan.backward_ways(outs, states, [way, way], needed, False, 8, [needed] * 3)
sequence, filters = empty(2, 40, 96), empty(96, 4, dtype=torch.float32)
for bias, needed, reverse in ((None, False, False), (weight, True, True)):
    arguments = sequence.mT, filters, bias, True, reverse
    causal_conv1d.forward(sequence.mT, *arguments)
    grads = [filters, bias] if needed else [None, None]
    causal_conv1d.backward(sequence.mT, *grads, sequence.mT, *arguments)
one = empty(1, 1, 96)  # Triton takes an argument of 1 for a constant
for sequence, updates in ((sequence, None), (sequence, empty(2, 2, 40, 96)), (one, None),
                          (one, empty(2, 1, 1, 96))):
    gated_merge.forward(*[sequence] * 4, updates)
    gated_merge.backward(*[sequence] * 3, updates, *[sequence] * 4, updates)
for batch, carried in ((1, False), (1, True), (2, False), (2, True)):
    initial = empty(2 * batch, 96, 10, dtype=torch.float32) if carried else None
    for name, sequences in (
        ('leaky_integrate', [empty(2 * batch, 96, 40)]),
        ('bidirectional_membrane', [empty(batch, 40, 96).mT]),
        ('membrane_gate', [empty(batch, 40, 96).mT for _ in range(3)]),
    ):
        inputs = *sequences, initial, 4, 0.9, 1.0
        outputs = getattr(torch.ops.memba_vision, f'{name}_triton')(*inputs)
        backward = getattr(torch.ops.memba_vision, f'{name}_triton_backward')
        backward(*outputs, *inputs, [True] * len(sequences) + [carried])
"""


@pytest.mark.slow
def test_every_kernel_compiles(tmp_path):
    environment = {**os.environ, 'TRITON_CACHE_DIR': str(tmp_path)}
    environment.pop('TRITON_INTERPRET', None)
    result = subprocess.run(
        [sys.executable, '-c', CODE],
        env=environment,
        cwd=IMPORT_ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    # Forward and backward of scan, convolution, gate, membrane and the membrane's gate.
    assert len(set(result.stdout.splitlines())) == 10
