"""Inputs of the selective scan, and how its backends are compared with the plain loop."""

import torch

from memba_vision.ops import selective_scan

NAMES = ('u', 'delta', 'A', 'B', 'C', 'D', 'z', 'delta_bias')


def make_inputs(batch, dim, length, state, dtype=torch.float32, channel_last=False, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    def sequence(rows):
        if channel_last:
            return draw(batch, length, rows).transpose(1, 2)
        return draw(batch, rows, length)

    return {
        'u': sequence(dim),
        'delta': sequence(dim) - 1,
        'A': -torch.exp(draw(dim, state)),
        'B': sequence(state),
        'C': sequence(state),
        'D': draw(dim),
        'z': sequence(dim),
        'delta_bias': draw(dim),
    }


def every_other(inputs):
    """The same values in memory that skips every other element along the last axis."""
    return {
        name: torch.stack([tensor, tensor], -1).flatten(-2)[..., ::2]
        for name, tensor in inputs.items()
    }


def scan_and_grads(inputs, backend, softplus=True, frozen=(), grad_dtype=None, **options):
    """Return the result, and the gradients by name, under a fixed gradient of the result.

    ``grad_dtype`` is what that gradient is rounded to, by default the dtype of the result.
    """
    inputs = {
        name: tensor.detach().requires_grad_(name not in frozen) for name, tensor in inputs.items()
    }
    out = selective_scan(**inputs, delta_softplus=softplus, backend=backend, **options)
    grad_dtype = grad_dtype or out.dtype
    grad_out = torch.linspace(-1, 1, out.numel(), dtype=grad_dtype, device=out.device)
    out.backward(grad_out.to(out.dtype).reshape(out.shape))
    return {'out': out.detach(), **{name: tensor.grad for name, tensor in inputs.items()}}


def assert_close(actual, expected, bound):
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        if tensor is None:
            assert actual[name] is None, name
            continue
        assert actual[name].isfinite().all(), name
        error = (actual[name] - tensor).abs().max() / tensor.abs().max().clamp_min(1e-30)
        assert error <= bound, f'{name}: relative error {error:.1e}'


def assert_like_naive(backend, inputs, bound, **options):
    assert_close(
        scan_and_grads(inputs, backend, **options),
        scan_and_grads(inputs, 'naive', **options),
        bound,
    )
