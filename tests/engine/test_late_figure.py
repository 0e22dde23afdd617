"""The visualizer without a figure draws what mmpretrain's draws."""

import numpy as np
import pytest
from mmengine.visualization import Visualizer
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer

from memba_vision.engine.late_figure import PARTS, LateFigureVisualizer


def picture(visualizer: Visualizer) -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    visualizer.visualize_cls(image, DataSample().set_gt_label(1), classes=['a', 'b'])
    return visualizer.get_image()


def test_it_draws_the_same():
    late = LateFigureVisualizer()
    assert not set(PARTS) & vars(late).keys()
    assert np.array_equal(picture(late), picture(UniversalVisualizer()))
    assert set(PARTS) <= vars(late).keys()


def test_it_is_the_current_one_and_has_no_other_attribute():
    late = LateFigureVisualizer.get_instance('late')
    assert Visualizer.get_current_instance() is late
    with pytest.raises(AttributeError, match='no_such'):
        _ = late.no_such
