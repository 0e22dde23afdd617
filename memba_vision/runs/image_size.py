"""The size of the images: the backbone's ``img_size``, which the pipelines follow."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config

from memba_vision.errors import UserError
from memba_vision.models.modules.patches import Size, to_pair

WIDTH_FIRST, HEIGHT_FIRST, ONE_SIDE = (1, 0), (0, 1), None
# The settings of steps that say how large an image is, with the order of their two numbers.
SETTINGS = {
    ('CenterCrop', 'crop_size'): WIDTH_FIRST,
    ('EfficientNetCenterCrop', 'crop_size'): ONE_SIDE,
    ('EfficientNetRandomCrop', 'scale'): ONE_SIDE,
    ('RandomCrop', 'crop_size'): HEIGHT_FIRST,
    ('RandomResizedCrop', 'scale'): HEIGHT_FIRST,
    ('Resize', 'scale'): WIDTH_FIRST,
    ('ResizeEdge', 'scale'): ONE_SIDE,
}


@contextmanager
def following_image_size(config: Config) -> Iterator[None]:
    """Let the pipelines follow where the backbone's ``img_size`` is changed meanwhile.

    Whatever says a size in the pipelines of the data loaders grows or shrinks as the backbone's
    does, height and width each for itself: an edge of 256 pixels before a crop of 224 becomes 512
    before 448.

    Args:
        config: of a run or a model, changed in place.
    """
    old = image_size(config)
    yield
    new = image_size(config)
    if old is None or new is None or new == old:
        return
    loaders = [value for key, value in config.items() if key.endswith('_dataloader')]
    # Loaders may share them.
    steps = {id(step): step for pipeline in pipelines_below(loaders) for step in pipeline}
    for step in steps.values():
        _resize(step, old, new)


def image_size(config: Config) -> Size | None:
    """Height and width of the images that the backbone of ``config`` takes, if it says so."""
    backbone = config.get('model', {}).get('backbone') or {}
    size = (backbone.get('module') or backbone).get('img_size')
    try:
        return to_pair(size, 'img_size')
    except UserError:  # the backbone says so, in its own words
        return None


def stated_image_size(config: Config, source: str) -> int | Size:
    """Return ``img_size`` of the backbone that a config adapts, as it stands there.

    Args:
        config: of a model, with ``model.backbone.module``.
        source: the config's name, for the error.

    Raises:
        UserError: it states none.
    """
    size = config.model.backbone.module.get('img_size')
    if size is None:
        raise UserError(
            f'{source}: it does not say how large its images are: state img_size, in pixels, in '
            'model.backbone.module'
        )
    return size


def pipelines_below(part: object) -> Iterator[list[dict]]:
    """Yield the pipelines of datasets, which may be wrapped, and lie in lists."""
    children = part.items() if isinstance(part, dict) else ()
    for key, child in enumerate(part) if isinstance(part, list) else children:
        if key == 'pipeline' and isinstance(child, list):
            yield child
        else:
            yield from pipelines_below(child)


def _resize(step: dict, old: Size, new: Size) -> None:
    for (kind, setting), order in SETTINGS.items():
        if step.get('type') == kind and step.get(setting) is not None:
            step[setting] = _resized(step[setting], order, old, new)


def _resized(value: int | Size, order: Size | None, old: Size, new: Size) -> int | Size:
    if order is ONE_SIDE:
        return round(value * max(new) / max(old))
    sides = (value, value) if isinstance(value, int) else value
    sides = tuple(
        round(side * new[axis] / old[axis]) for side, axis in zip(sides, order, strict=True)
    )
    return sides[0] if isinstance(value, int) and sides[0] == sides[1] else sides
