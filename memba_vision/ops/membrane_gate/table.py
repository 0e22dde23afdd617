"""The table that the backends of the membrane's gate enter themselves into."""

from memba_vision.ops.backends import BackendTable

BACKENDS = BackendTable('membrane_gate')
