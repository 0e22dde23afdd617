"""The description of a compiled op, on one that is computed by numpy."""

import numpy as np
import pytest
import torch

from memba_vision.ops.compiled import compiled_op

received = []


def forward(out, total, x, y, bias, scale):
    added = 0 if bias is None else bias.numpy()
    out.copy_(torch.from_numpy(np.sin(scale * (x.numpy() + y.numpy())) + added))
    total.copy_(out.sum())


def backward(grad_x, grad_y, grad_bias, grad_out, grad_total, x, y, bias, scale):
    received.append([grad is not None for grad in (grad_x, grad_y, grad_bias)])
    grad = grad_out.numpy() + grad_total.numpy()
    grad_x.copy_(torch.from_numpy(grad * scale * np.cos(scale * (x.numpy() + y.numpy()))))
    if grad_bias is not None:
        grad_bias.copy_(torch.from_numpy(grad))


def reference(x, y, bias, scale):
    out = torch.sin(scale * (x + y)) + (0 if bias is None else bias)
    return out, out.sum()


add_waves = compiled_op(
    'test_of_compiled_op',
    '(Tensor x, Tensor y, Tensor? bias, float scale) -> (Tensor, Tensor)',
    outputs=lambda x, y, bias, scale: (torch.empty_like(x), x.new_empty(())),
    forward=forward,
    backward=backward,
    reference=reference,
    optional=['bias'],
    equal={'y': 'x'},
)


def make_inputs(with_bias):
    generator = torch.Generator().manual_seed(0)
    tensors = list(torch.randn(3, 4, generator=generator, dtype=torch.float64))
    tensors = [tensor.requires_grad_() for tensor in tensors]
    return tensors if with_bias else [*tensors[:2], None]


@pytest.mark.parametrize('with_bias', [False, True], ids=['no_bias', 'bias'])
def test_first_and_second_derivatives(with_bias):
    inputs = make_inputs(with_bias)
    leaves = [tensor for tensor in inputs if tensor is not None]

    def results(op):
        outs = op(*inputs, 1.5)
        loss = outs[0].square().sum() + outs[1]
        grads = torch.autograd.grad(loss, leaves, create_graph=True)
        penalty = sum(grad.square().sum() for grad in grads)
        return [*outs, *grads, *torch.autograd.grad(penalty, leaves)]

    torch.testing.assert_close(results(add_waves), results(reference))


def test_only_the_gradients_that_are_needed_are_allocated():
    x, y, bias = make_inputs(True)
    received.clear()
    add_waves(x, y, bias.detach(), 1.0)[1].backward()
    add_waves(x, y, bias, 1.0)[1].backward()
    add_waves(x.detach(), y, None, 1.0)[1].backward()
    assert received == [[True, False, False], [True, False, True], [True, False, False]]
    torch.testing.assert_close(y.grad - x.grad, torch.cos(x + y))


@pytest.mark.parametrize('with_bias', [False, True], ids=['no_bias', 'bias'])
def test_the_operators_agree_with_their_declarations(with_bias):
    inputs = make_inputs(with_bias)
    op = torch.ops.memba_vision.test_of_compiled_op.default
    torch.library.opcheck(op, (*inputs, 2.0), test_utils=('test_schema', 'test_faketensor'))
    grad_op = torch.ops.memba_vision.test_of_compiled_op_backward.default
    arguments = *(tensor.detach() for tensor in add_waves(*inputs, 2.0)), *inputs, 2.0
    torch.library.opcheck(
        grad_op, (*arguments, [True] * 3), test_utils=('test_schema', 'test_faketensor')
    )


def test_compiled_by_torch():
    def gradients(function):
        x, y, bias = make_inputs(True)
        function(x, y, bias, 0.5)[1].backward()
        return x.grad, y.grad, bias.grad

    compiled = torch.compile(lambda *a: add_waves(*a), fullgraph=True, backend='aot_eager')
    torch.testing.assert_close(gradients(compiled), gradients(add_waves))
