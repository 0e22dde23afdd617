"""Pure tensor functions: no modules, no registries, no state."""

from memba_vision.ops.selective_scan import selective_scan

__all__ = ['selective_scan']
