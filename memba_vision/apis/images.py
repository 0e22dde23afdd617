"""Old name of :mod:`memba_vision.serving.images`."""

from memba_vision.serving.images import ImagePipeline, batches, read_pixels

__all__ = ['ImagePipeline', 'batches', 'read_pixels']
