"""The table that the backends of the linear map enter themselves into."""

from memba_vision.ops.backends import BackendTable

BACKENDS = BackendTable('linear')
