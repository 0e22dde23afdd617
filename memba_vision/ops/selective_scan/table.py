"""The table that the backends of the selective scan enter themselves into."""

from memba_vision.ops.backends import BackendTable

BACKENDS = BackendTable('selective_scan')
