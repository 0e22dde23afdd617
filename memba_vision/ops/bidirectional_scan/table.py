"""The table that the backends of both directions' scans enter themselves into."""

from memba_vision.ops.backends import BackendTable

BACKENDS = BackendTable('bidirectional_scan')
