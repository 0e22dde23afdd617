"""The table that the backends of the gate enter themselves into."""

from memba_vision.ops.backends import BackendTable

BACKENDS = BackendTable('gated_merge')
