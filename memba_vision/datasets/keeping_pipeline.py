"""Pipeline whose first steps, without anything random in them, run once for each image."""

from typing import Any

from mmengine.dataset import Compose

from memba_vision.datasets.kept_images import KeptImages
from memba_vision.datasets.loading import LoadRGB

#: Transforms that make the same of an image each time; by their names, as they take long to import.
FIXED = (
    'mmcv.transforms.processing.Resize',
    'mmcv.transforms.processing.CenterCrop',
    'mmpretrain.datasets.transforms.processing.ResizeEdge',
    'mmpretrain.datasets.transforms.processing.CenterCrop',
)
IMAGE = 'img'


class KeepingPipeline(Compose):
    """Transforms, of which ``LoadRGB`` and the :data:`FIXED` ones behind it run once for an image.

    The image after them is kept, so that all epochs have the same bits, and the time of one for
    reading, decoding and resizing. Transforms are not to be changed in place: another pipeline
    keeps images of its own.

    Args:
        transforms: the steps.
        kept: the memory for the images.
    """

    def __init__(self, transforms: list, kept: KeptImages) -> None:
        super().__init__(transforms)
        self.kept = kept

    def __call__(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """Run the steps; None where one of them gave it."""
        number = _number_fixed(self.transforms) if self.kept.limit else 0
        data = self._first(data, number) if number else data
        return _run(self.transforms[number:], data)

    def _first(self, data: dict[str, Any], number: int) -> dict[str, Any] | None:
        """Return what the first steps make of ``data``, perhaps from the memory."""
        path = data['img_path']
        found = self.kept.find(path)
        if found is not None:
            image, facts = found
            return {**data, **facts, IMAGE: image}
        made = _run(self.transforms[:number], dict(data))
        # A step may also have changed what was there, such as boxes: then it runs each time.
        if made is not None and all(made.get(key) is value for key, value in data.items()):
            facts = {key: value for key, value in made.items() if key not in {*data, IMAGE}}
            self.kept.keep(path, made[IMAGE], facts)
        return made


def _run(transforms: list, data: dict[str, Any] | None) -> dict[str, Any] | None:
    for transform in transforms:
        if data is None:
            break
        data = transform(data)
    return data


def _number_fixed(transforms: list) -> int:
    """Return the number of steps at the beginning whose result is kept; 0 if none loads images."""
    if not transforms or type(transforms[0]) is not LoadRGB:
        return 0
    kinds = (f'{type(step).__module__}.{type(step).__qualname__}' for step in transforms[1:])
    return next((n for n, kind in enumerate(kinds, 1) if kind not in FIXED), len(transforms))
