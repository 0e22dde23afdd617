"""The table that the backends of the causal convolution enter themselves into."""

from memba_vision.ops.backends import BackendTable

BACKENDS = BackendTable('causal_conv1d')
