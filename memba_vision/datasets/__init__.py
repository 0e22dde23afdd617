"""Datasets in VTAB-1k's folder format, and the small ones that are made on first use."""

from memba_vision.datasets.mini_vtab.dataset import MiniVTAB
from memba_vision.datasets.mini_vtab.source import SourceShapes
from memba_vision.datasets.own_data import OwnData
from memba_vision.datasets.vtab1k import VTAB1k

__all__ = ['MiniVTAB', 'OwnData', 'SourceShapes', 'VTAB1k']
