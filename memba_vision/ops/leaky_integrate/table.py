"""The table that the backends of the membrane enter themselves into."""

from memba_vision.ops.backends import BackendTable

BACKENDS = BackendTable('leaky_integrate')
