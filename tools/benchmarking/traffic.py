"""The floor that memory sets: a copy that moves as many bytes as an op has to."""

from collections.abc import Callable, Iterable

import torch

from benchmarking.setting import Sizes, Workload

#: Values per token that an op reads, and that it writes.
Traffic = tuple[int, int]


def scan_traffic(sizes: Sizes) -> Traffic:
    """The selective scan: u, delta, B and C to one output."""
    return 2 * sizes.channels + 2 * sizes.state, sizes.channels


def mixer_traffic(sizes: Sizes) -> list[Traffic]:
    """The ops of a bidirectional mixer, each reading and writing its activations once."""
    channels, dt_rank = sizes.channels, -(-sizes.width // 16)
    direction = [
        (channels, channels),  # convolution
        (channels, dt_rank + 2 * sizes.state),  # x_proj
        (dt_rank, channels),  # dt_proj
        scan_traffic(sizes),
    ]
    return [
        (sizes.width, 2 * channels),  # in_proj
        *direction,
        *direction,
        (3 * channels, channels),  # gate
        (channels, sizes.width),  # out_proj
    ]


def forward_values(traffic: Iterable[Traffic]) -> int:
    """Values per token that a forward pass moves: inputs read, outputs written."""
    return sum(read + written for read, written in traffic)


def step_values(traffic: Iterable[Traffic]) -> int:
    """The same with the backward pass.

    That reads the inputs and the gradients of the outputs, and writes the gradients of the inputs.
    """
    return sum(3 * read + 2 * written for read, written in traffic)


def copy_of(values_per_token: int, sizes: Sizes, workload: Workload) -> Callable[[], object]:
    """A copy that reads and writes as many bytes in all as the values of a batch take."""
    values = values_per_token * workload.batch * sizes.length
    source = torch.ones(values // 2, dtype=workload.dtype, device=workload.device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)
