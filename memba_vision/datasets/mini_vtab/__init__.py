"""mini-VTAB: three small tasks, and the task to pre-train on, made where they are used."""

from memba_vision.datasets.mini_vtab.pretraining import render_source_batch

__all__ = ['render_source_batch']
