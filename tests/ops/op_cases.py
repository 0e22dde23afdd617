"""Every op that has rules about its tensors, with tensors of any sizes and layouts."""

import torch

from memba_vision import ops
from memba_vision.ops import backends

#: Sizes at which any disagreement by one is a disagreement.
SIZES = dict(batch=2, dim=36, length=7, state=3, width=3, groups=2, num_chunks=1)


def scan_shapes(batch, dim, length, state, **_):
    sequence, matrix = (batch, dim, length), (batch, state, length)
    return dict(
        u=sequence,
        delta=sequence,
        A=(dim, state),
        B=matrix,
        C=matrix,
        D=(dim,),
        z=sequence,
        delta_bias=(dim,),
    )


def grouped_scan_shapes(batch, dim, length, state, groups, **_):
    matrix = (batch, groups, state, length)
    return {**scan_shapes(batch, dim, length, state), 'B': matrix, 'C': matrix}


def several_ways(*ways):
    def shapes(**sizes):
        one_way = scan_shapes(**sizes)
        del one_way['z']
        return {f'{way}.{name}': shape for way in ways for name, shape in one_way.items()}

    return shapes


#: The directions of each op that scans in several.
WAYS = {
    'bidirectional_scan': ('forward', 'backward'),
    'cross_scan': ('rows', 'columns', 'rows_back', 'columns_back'),
}


def convolution_shapes(batch, dim, length, width, **_):
    return dict(
        x=(batch, dim, length),
        weight=(dim, width),
        bias=(dim,),
        initial_states=(batch, dim, width - 1),
    )


def potential_shape(batch, dim, length, num_chunks, **_):
    return batch, dim, -(-length // num_chunks)


def membrane_shapes(batch, dim, length, **sizes):
    initial = potential_shape(batch, dim, length, **sizes)
    return dict(x=(batch, dim, length), initial=initial)


def both_membranes_shapes(batch, dim, length, **sizes):
    initial = potential_shape(2 * batch, dim, length, **sizes)
    return dict(current=(batch, length, dim), initial=initial)


def membrane_gate_shapes(batch, dim, length, **sizes):
    sequence = (batch, dim, length)
    initial = potential_shape(2 * batch, dim, length, **sizes)
    return dict(z=sequence, forward_scan=sequence, backward_scan=sequence, initial=initial)


def merge_shapes(batch, dim, length, **_):
    sequence = (batch, length, dim)
    return dict(
        forward_scan=sequence, backward_scan=sequence, gate=sequence, updates=(2, *sequence)
    )


SHAPES = {
    'selective_scan': scan_shapes,
    'selective_scan, grouped': grouped_scan_shapes,
    **{op: several_ways(*ways) for op, ways in WAYS.items()},
    'causal_conv1d': convolution_shapes,
    'leaky_integrate': membrane_shapes,
    'bidirectional_membrane': both_membranes_shapes,
    'membrane_gate': membrane_gate_shapes,
    'gated_merge': merge_shapes,
}


def op_of(case):
    return case.split(',')[0]


def backends_of(case):
    """The names of all backends of an op."""
    return backends.TABLES[op_of(case)].names()


def cpu_backends_of(case):
    """Those that run on a CPU, the plainest first; not Triton's interpreter, which is slow."""
    table = backends.TABLES[op_of(case)]
    tensor = torch.zeros(1, 36, 36)
    names = [name for name in table.names()[::-1] if name != 'triton']
    return [name for name in names if table._backends[name].why_unsupported([tensor]) is None]


def make_tensors(case, sizes, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        for name, shape in SHAPES[case](**sizes).items()
    }
    for name in tensors:
        if name.endswith('A'):
            tensors[name] = -tensors[name].abs()
    return tensors


def call(case, tensors, backend, num_chunks=1, **options):
    """The results of an op, as a list."""
    op = op_of(case)
    function = getattr(ops, op)
    if 'membrane' in op or op == 'leaky_integrate':
        options['num_chunks'] = num_chunks
    if op == 'cross_scan':
        options.setdefault('grid', (1, SIZES['length']))
    if op in WAYS or op == 'selective_scan':
        options['delta_softplus'] = True
    if op in WAYS:
        names = ops.ScanInputs._fields
        ways = (
            ops.ScanInputs(**{name: tensors.get(f'{way}.{name}') for name in names})
            for way in WAYS[op]
        )
        results = function(*ways, backend=backend, **options)
    else:
        results = function(**tensors, backend=backend, **options)
    return [results] if isinstance(results, torch.Tensor) else list(results)


def results_and_grads(case, tensors, backend, **options):
    """The results, and the gradients of all tensors under fixed gradients of the results."""
    return outputs_and_grads(
        lambda *inputs: call(case, dict(zip(tensors, inputs, strict=True)), backend, **options),
        tensors.values(),
    )


def outputs_and_grads(function, inputs, **options):
    """What a function yields, and the gradients of a weighted sum of it all."""
    inputs = [None if tensor is None else tensor.detach().requires_grad_() for tensor in inputs]
    outputs = function(*inputs, **options)
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
    loss = sum((output * weights_like(output)).sum() for output in outputs)
    leaves = [tensor for tensor in inputs if tensor is not None]
    return [*outputs, *torch.autograd.grad(loss, leaves)]


def weights_like(tensor):
    weights = torch.linspace(-1, 2, tensor.numel(), dtype=tensor.dtype, device=tensor.device)
    return weights.reshape(tensor.shape)
