"""Visualizer that makes its figure when something is drawn."""

from types import SimpleNamespace
from typing import Any

from mmpretrain.visualization import UniversalVisualizer

#: Attributes that mmengine sets in the constructor.
PARTS = ('fig_save_canvas', 'fig_save', 'ax_save')
DPI = 'dpi'


class LateFigureVisualizer(UniversalVisualizer):
    """mmpretrain's visualizer, which a run that draws nothing has for its numbers alone.

    The figure needs matplotlib, 0.4 seconds at the start of every run.
    """

    def __init__(self, name: str = 'visualizer', **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        for name in (*PARTS, DPI):
            delattr(self, name)

    def _initialize_fig(self, fig_cfg: dict) -> tuple:
        """Return stand-ins for canvas, figure and axes, which the constructor asks for."""
        return None, SimpleNamespace(get_dpi=lambda: None), None

    def __getattr__(self, name: str) -> Any:
        """Make the figure when one of its parts is missing."""
        if name not in (*PARTS, DPI):
            raise AttributeError(f'{type(self).__name__!r} object has no attribute {name!r}')
        for part, made in zip(PARTS, super()._initialize_fig(self.fig_save_cfg), strict=True):
            setattr(self, part, made)
        self.dpi = self.fig_save.get_dpi()
        return getattr(self, name)
