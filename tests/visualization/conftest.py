import numpy as np
import pytest
from membrane_runs import make_run
from PIL import Image


@pytest.fixture(scope='session')
def image(tmp_path_factory):
    """A picture of 90 x 60 pixels, dark on the left and bright on the right."""
    path = tmp_path_factory.mktemp('images') / 'slope.png'
    pixels = np.linspace(0, 255, 90).astype(np.uint8)
    Image.fromarray(np.broadcast_to(pixels[None, :, None], (60, 90, 3)).copy()).save(path)
    return path


@pytest.fixture(scope='session')
def run(base, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp('runs') / 'digits_memba', base)


@pytest.fixture(scope='session')
def gate_run(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs') / 'digits_memba-gate'
    return make_run(folder, base, 'digits_memba-gate', seed=1)
