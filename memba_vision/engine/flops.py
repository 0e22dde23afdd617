"""Counts of floating-point operations of the package's kernels, for mmengine's analysis.

mmengine's ``get_model_complexity_info``, and with it mmpretrain's ``get_flops``, knows operators by
the names in a table and passes over all others.
"""

import math
from collections.abc import Sequence
from typing import Any

from mmengine.analysis import complexity_analysis, jit_handles


def scan_flops(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Count one selective scan: per channel and position, 9 for each state and 1 for the skip.

    This is the convention for vision Mambas (VMamba, Liu et al. 2024). Of the nine, the decay
    ``exp(delta * A)`` has 2, the input ``delta * B * u`` 3, the recurrence and the read-out 2 each.

    Args:
        inputs: of the operator, as the graph has them: ``u``, ``delta``, ``A``, …; ``A`` has the
            number of scans in front where there are several.
        outputs: not used.
    """
    batch, dim, length = _shape(inputs[0])
    *scans, _, state = _shape(inputs[2])
    return math.prod(scans) * batch * dim * length * (9 * state + 1)


def two_scans_flops(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Count the scans of both directions, in one launch."""
    return 2 * scan_flops(inputs, outputs)


def convolution_flops(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Count a depthwise convolution: the width of its filter for each output."""
    batch, dim, length = _shape(inputs[0])
    return batch * dim * length * _shape(inputs[1])[-1]


FLOPS = {
    'memba_vision::selective_scan_numba': scan_flops,
    'memba_vision::selective_scan_torch': scan_flops,
    'memba_vision::selective_scan_triton': scan_flops,
    'memba_vision::bidirectional_scan_triton': two_scans_flops,
    'memba_vision::causal_conv1d_numba': convolution_flops,
}
ONE_OUTPUT = [name for name in FLOPS if 'bidirectional' not in name]


def _shape(value: Any) -> list[int]:
    return value.type().sizes()


# It has no function to add to what get_model_complexity_info counts.
complexity_analysis._DEFAULT_SUPPORTED_FLOP_OPS.update(FLOPS)
complexity_analysis._DEFAULT_SUPPORTED_ACT_OPS.update(
    dict.fromkeys(ONE_OUTPUT, jit_handles.generic_activation_jit())
)
