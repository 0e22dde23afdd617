"""Inputs of the membrane and of its gate, and what comes out of them."""

import torch
from op_cases import outputs_and_grads

from memba_vision.ops import leaky_integrate, membrane_gate


def make_inputs(length, num_chunks, dtype=torch.float64, batch=2, dim=3):
    generator = torch.Generator().manual_seed(length)
    x = torch.randn(batch, dim, length, generator=generator, dtype=dtype)
    initial = torch.randn(batch, dim, -(-length // num_chunks), generator=generator)
    return x, initial.to(torch.promote_types(dtype, torch.float32))


def integrate_and_grads(x, initial, **options):
    """Potentials and mean, and the gradients of a function of both."""
    return outputs_and_grads(leaky_integrate, [x, initial], **options)


def make_gate_inputs(length, num_chunks, dtype=torch.float64, batch=2, dim=3):
    """z, both scans, and the initial potentials."""
    generator = torch.Generator().manual_seed(length)
    sequences = torch.randn(3, batch, dim, length, generator=generator, dtype=dtype)
    initial = torch.randn(2 * batch, dim, -(-length // num_chunks), generator=generator)
    return [*sequences, initial.to(torch.promote_types(dtype, torch.float32))]


def gate_and_grads(inputs, **options):
    """The merged sequence and the mean, and the gradients of a function of both."""
    return outputs_and_grads(membrane_gate, inputs, **options)
