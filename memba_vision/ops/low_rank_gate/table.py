"""The table that the backends of the low-rank gate enter themselves into."""

from memba_vision.ops.backends import BackendTable

BACKENDS = BackendTable('low_rank_gate')
