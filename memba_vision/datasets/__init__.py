"""Datasets in VTAB-1k's folder format, and the small ones that are made on first use."""

from memba_vision.discovery import lazy_attributes

# Imported when they are asked for: the tables of tasks beside them are needed without torch.
_CLASSES = {
    'MiniVTAB': 'memba_vision.datasets.mini_vtab.dataset',
    'OwnData': 'memba_vision.datasets.own_data',
    'SourceScenes': 'memba_vision.datasets.source_scenes.dataset',
    'SourceShapes': 'memba_vision.datasets.mini_vtab.source',
    'VTAB1k': 'memba_vision.datasets.vtab1k',
}
__all__ = [*_CLASSES]

__getattr__ = lazy_attributes(__name__, _CLASSES)
