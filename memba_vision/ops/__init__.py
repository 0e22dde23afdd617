"""Pure tensor functions: no modules, no registries, no state."""

from memba_vision.ops.bidirectional_membrane import bidirectional_membrane
from memba_vision.ops.bidirectional_scan import ScanInputs, bidirectional_scan, goes_in_one_launch
from memba_vision.ops.causal_conv1d import causal_conv1d
from memba_vision.ops.cross_scan import cross_scan
from memba_vision.ops.gated_merge import gated_merge
from memba_vision.ops.leaky_integrate import leaky_integrate
from memba_vision.ops.linear import linear, linear_each
from memba_vision.ops.membrane_gate import membrane_gate
from memba_vision.ops.membrane_settings import MembraneSettings
from memba_vision.ops.scaled_dropout import scaled_dropout
from memba_vision.ops.selective_scan import selective_scan

__all__ = [
    'MembraneSettings',
    'ScanInputs',
    'bidirectional_membrane',
    'bidirectional_scan',
    'causal_conv1d',
    'cross_scan',
    'gated_merge',
    'goes_in_one_launch',
    'leaky_integrate',
    'linear',
    'linear_each',
    'membrane_gate',
    'scaled_dropout',
    'selective_scan',
]
