"""The selective scan in plain torch, block by block along the length, on any device.

The state is (batch, state, dim) per position; keeping all positions is what makes the naive loop
slow and large. Here a group of samples and a block of positions are in memory at a time: the
forward pass keeps the state at the start of each block, the backward pass recomputes the rest.
Inside a block everything but the recurrence itself is one batched operation. The channels lie side
by side in memory, since they are many and the state dimensions few.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from memba_vision.ops.second_derivatives import register_second_derivatives
from memba_vision.ops.selective_scan import BACKENDS
from memba_vision.ops.selective_scan.grids import walk_by_copy
from memba_vision.ops.selective_scan.groups import one_group_at_a_time
from memba_vision.ops.selective_scan.surroundings import scan_with
from memba_vision.ops.selective_scan.torch_portable import scan_gradients

# Positions of a block, and elements of a (block, group, state, dim) work tensor: a CPU wants it in
# its cache, a GPU wants few launches.
BLOCK_LENGTH = {'cpu': 16, 'cuda': 64}
WORK_ELEMENTS = {'cpu': 1 << 18, 'cuda': 1 << 26}


class Work(NamedTuple):
    """A (block, group, state, dim) tensor to work in, and its positions one by one."""

    tensor: torch.Tensor
    positions: tuple[torch.Tensor, ...]


class Group(NamedTuple):
    """Samples, time first: u, delta (length, group, dim); B, C (length, group, state)."""

    u: torch.Tensor
    delta: torch.Tensor
    B: torch.Tensor
    C: torch.Tensor


@BACKENDS.register('torch', priority=0)
@one_group_at_a_time
@walk_by_copy
def selective_scan_torch(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None = None,
    z: torch.Tensor | None = None,
    delta_bias: torch.Tensor | None = None,
    delta_softplus: bool = False,
    reverse: bool = False,
) -> torch.Tensor:
    """See :func:`memba_vision.ops.selective_scan`."""
    return scan_with(_recurrence, u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse)


def _recurrence(*operands) -> torch.Tensor:
    out, _ = _scan(*operands)
    return out


@torch.library.custom_op('memba_vision::selective_scan_torch', mutates_args=())
def _scan(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    reverse: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the output, and the states at block starts, (blocks, batch, state, dim)."""
    out = u.new_empty(u.shape[2], u.shape[0], u.shape[1])
    starts = _block_starts(u, A)
    A = A.T.contiguous()
    for samples, work in _sample_groups(u, A, work_tensors=2):
        group = _gather(samples, u, delta, B, C)
        state = torch.zeros_like(starts[0, samples])
        for number, block in enumerate(_blocks(u, reverse)):
            starts[number, samples] = state
            states, _ = _states(group, A, block, starts[number, samples], reverse, work)
            state = states[0 if reverse else -1]
            out[block, samples] = _contract_state(states, group.C[block])
    return out.permute(1, 2, 0).contiguous(), starts


@torch.library.custom_op('memba_vision::selective_scan_torch_backward', mutates_args=())
def _scan_backward(
    grad_out: torch.Tensor,
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    starts: torch.Tensor,
    reverse: bool,
    needs_grad_A: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of u, delta, A (empty if not needed), B and C."""
    batch, dim, length = u.shape
    grad_u = u.new_empty(length, batch, dim)
    grad_delta = torch.empty_like(grad_u)
    grad_A = torch.zeros_like(A) if needs_grad_A else A.new_empty(0)
    grad_B = u.new_empty(length, batch, A.shape[1])
    grad_C = torch.empty_like(grad_B)
    A = A.T.contiguous()
    for samples, work in _sample_groups(u, A, work_tensors=3):
        group = _gather(samples, u, delta, B, C)
        grad_y = _time_first(grad_out[samples])
        carried = torch.zeros_like(starts[0, samples])
        for number, block in reversed(list(enumerate(_blocks(u, reverse)))):
            start = starts[number, samples]
            states, decays = _states(group, A, block, start, reverse, work)
            adjoints = _adjoints(grad_y[block], group.C[block], carried, reverse, work)
            carried = adjoints[-1] * decays[-1] if reverse else adjoints[0] * decays[0]

            block_u, block_delta = group.u[block], group.delta[block]
            grad_input = _contract_state(adjoints, group.B[block])
            grad_u[block, samples] = grad_input * block_delta
            grad_B[block, samples] = _contract_dim(block_delta * block_u, adjoints)
            grad_C[block, samples] = _contract_dim(grad_y[block], states)

            grad_exponent = decays.mul_(adjoints)
            _multiply_by_previous(grad_exponent, states, start, reverse)
            if needs_grad_A:
                torch.mul(grad_exponent, block_delta[:, :, None, :], out=adjoints)
                grad_A += adjoints.sum((0, 1)).T
            grad_exponent.mul_(A)
            grad_delta[block, samples] = grad_exponent.sum(2).addcmul_(grad_input, block_u)
    grads = (grad.permute(1, 2, 0).contiguous() for grad in (grad_u, grad_delta, grad_B, grad_C))
    grad_u, grad_delta, grad_B, grad_C = grads
    return grad_u, grad_delta, grad_A, grad_B, grad_C


def _states(
    group: Group,
    A: torch.Tensor,
    block: slice,
    start: torch.Tensor,
    reverse: bool,
    work: list[Work],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return states and decays of a block, both (block, group, state, dim), in ``work``."""
    delta = group.delta[block]
    count = len(delta)
    states, decays = work[0].tensor[:count], work[1].tensor[:count]
    torch.mul(delta[:, :, None, :], A, out=decays).exp_()
    torch.mul((delta * group.u[block])[:, :, None, :], group.B[block][..., None], out=states)
    previous = start
    for t in _in_order(count, reverse):
        previous = work[0].positions[t].addcmul_(work[1].positions[t], previous)
    return states, decays


def _adjoints(
    grad_y: torch.Tensor,
    C: torch.Tensor,
    carried: torch.Tensor,
    reverse: bool,
    work: list[Work],
) -> torch.Tensor:
    """Return the loss's gradient with respect to each state of a block, (block, group, state, dim).

    ``carried`` is what reaches the block's last state from the positions scanned after it. Reads
    the decays that :func:`_states` left in ``work``.
    """
    count = len(grad_y)
    adjoints = work[2].tensor[:count]
    torch.mul(grad_y[:, :, None, :], C[..., None], out=adjoints)
    later = None
    for t in _in_order(count, not reverse):
        adjoint = work[2].positions[t]
        if later is None:
            adjoint.add_(carried)
        else:
            adjoint.addcmul_(work[2].positions[later], work[1].positions[later])
        later = t
    return adjoints


def _in_order(count: int, reverse: bool) -> range:
    """Return the positions of a block in scan order."""
    return range(count - 1, -1, -1) if reverse else range(count)


def _multiply_by_previous(
    tensor: torch.Tensor, states: torch.Tensor, start: torch.Tensor, reverse: bool
) -> None:
    """Multiply each position of ``tensor`` by the state before it in scan order, in place."""
    if reverse:
        tensor[:-1].mul_(states[1:])
        tensor[-1].mul_(start)
    else:
        tensor[1:].mul_(states[:-1])
        tensor[0].mul_(start)


def _contract_state(states: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum (block, group, state, dim) over the states, weighted: (block, group, dim)."""
    return (weights[..., None, :] @ states)[..., 0, :]


def _contract_dim(weights: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Sum (block, group, state, dim) over the channels, weighted: (block, group, state)."""
    return (weights[..., None, :] @ states.mT)[..., 0, :]


def _time_first(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.permute(2, 0, 1).contiguous()


def _gather(samples: slice, *tensors: torch.Tensor) -> Group:
    return Group(*(_time_first(tensor[samples]) for tensor in tensors))


def _block_length(u: torch.Tensor) -> int:
    return BLOCK_LENGTH.get(u.device.type, BLOCK_LENGTH['cpu'])


def _blocks(u: torch.Tensor, reverse: bool) -> list[slice]:
    """Return slices of the length, in scan order."""
    length, step = u.shape[2], _block_length(u)
    blocks = [slice(at, min(at + step, length)) for at in range(0, length, step)]
    return blocks[::-1] if reverse else blocks


def _block_starts(u: torch.Tensor, A: torch.Tensor) -> torch.Tensor:
    batch, dim, length = u.shape
    return u.new_empty(-(-length // _block_length(u)), batch, A.shape[1], dim)


def _sample_groups(
    u: torch.Tensor, A: torch.Tensor, work_tensors: int
) -> Iterator[tuple[slice, list[Work]]]:
    """Yield slices of the batch that fit the device's budget, with tensors to work in.

    The work tensors, (block, group, state, dim), are used again by each group of samples: fresh
    memory would cost more than the arithmetic.
    """
    batch, _, length = u.shape
    budget = WORK_ELEMENTS.get(u.device.type, WORK_ELEMENTS['cpu'])
    block = min(length, _block_length(u))
    size = max(1, min(batch, budget // (block * A.numel())))
    work = [u.new_empty(block, size, *A.shape) for _ in range(work_tensors)]
    for start in range(0, batch, size):
        stop = min(start + size, batch)
        parts = [tensor[:, : stop - start] for tensor in work]
        yield slice(start, stop), [Work(part, part.unbind()) for part in parts]


@_scan.register_fake
def _(u, delta, A, B, C, reverse):
    return torch.empty_like(u, memory_format=torch.contiguous_format), _block_starts(u, A)


@_scan_backward.register_fake
def _(grad_out, u, delta, A, B, C, starts, reverse, needs_grad_A):
    grad_A = torch.empty_like(A) if needs_grad_A else A.new_empty(0)
    contiguous = torch.contiguous_format
    grads = [torch.empty_like(tensor, memory_format=contiguous) for tensor in (u, delta, B, C)]
    return grads[0], grads[1], grad_A, grads[2], grads[3]


def _setup_context(ctx, inputs, output):
    u, delta, A, B, C, ctx.reverse = inputs
    ctx.save_for_backward(u, delta, A, B, C, output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad_out, _):
    needs_grad_A = ctx.needs_input_grad[2]
    with torch.autocast(grad_out.device.type, enabled=False):
        grad_u, grad_delta, grad_A, grad_B, grad_C = _scan_backward(
            grad_out, *ctx.saved_tensors, ctx.reverse, needs_grad_A
        )
    return grad_u, grad_delta, grad_A if needs_grad_A else None, grad_B, grad_C, None


_scan.register_autograd(_backward, setup_context=_setup_context)


def _twin(grad_out, u, delta, A, B, C, starts, reverse, _):
    return scan_gradients(grad_out, (u, [delta], A, B, C, None, None), False, [reverse], [1])[:5]


register_second_derivatives(_scan_backward, _twin)
