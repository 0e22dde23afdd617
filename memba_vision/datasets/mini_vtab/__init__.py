"""mini-VTAB: small tasks, and the task to pre-train on, made where they are used."""

from memba_vision.datasets.mini_vtab.pretraining import render_source_batch
from memba_vision.datasets.mini_vtab.write import ensure_mini_vtab, ensure_task

__all__ = ['ensure_mini_vtab', 'ensure_task', 'render_source_batch']
