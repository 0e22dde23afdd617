"""Scenes: an object in any pose before a textured ground, with smaller objects beside it."""

import math
from functools import cached_property

import torch

from memba_vision.datasets.source_scenes import things
from memba_vision.datasets.source_scenes.glyphs import draw_glyphs
from memba_vision.datasets.source_scenes.render import Placement, clouds, colours, grating, place

#: The labels of a scene, and how many classes each has beside the kinds of objects.
FACTORS = {'hue': 8, 'scale': 4, 'turn': 8, 'yaw': 5, 'place': 16, 'stripes': 8, 'period': 4}
SMALLEST, LARGEST = 0.25, 0.48  # radii as shares of the image side
WIDEST_TURN, WIDEST_YAW = math.radians(60), math.radians(50)
NUM_OTHERS = 3  # smaller objects at most
THINGS_SHARE = 0.25  # of the scenes, where there are photographs of things


class Scenes:
    """The pictures that scenes are made of, on one device.

    Args:
        device: Where scenes are drawn.
        image_size: Height and width in pixels.
    """

    def __init__(self, device: str, image_size: int) -> None:
        self.device = torch.device(device)
        self.image_size = image_size

    @cached_property
    def glyphs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures and classes of the glyphs."""
        drawn = draw_glyphs()
        return self._here(drawn.pictures), self._here(drawn.classes)

    @cached_property
    def things(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Pictures and classes of the photographs, None where there are none."""
        read = things.read_things()
        return None if read is None else (self._here(read[0]), self._here(read[1]))

    @property
    def num_kinds(self) -> int:
        """The number of classes of objects: the glyphs', then those of the things."""
        return len(draw_glyphs().characters) + things.NUM_CLASSES

    def _here(self, array) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)

    def draw(self, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw n scenes.

        Args:
            n: Number of images.
            seed: Equal seeds draw equal scenes on equal devices.

        Returns:
            RGB images, (n, 3, size, size) uint8, and labels, (n, 1 + len(FACTORS)) int64: the kind
            of the object, then the factors.
        """
        generator = torch.Generator(self.device).manual_seed(seed)
        return _Batch(self, n, generator).draw()


class _Batch:
    """One batch of scenes while it is drawn."""

    def __init__(self, world: Scenes, n: int, generator: torch.Generator) -> None:
        self.world, self.n, self.generator = world, n, generator
        self.size = world.image_size
        # From plain grounds to cluttered ones: with cluttered ones alone, kinds are learned late.
        self.clutter = self._uniform(0, 1, 1, 1, 1)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        images, ground = self._ground()
        for _ in range(NUM_OTHERS):
            images = self._with_other(images)
        images, labels = self._with_object(images)
        images = self._as_photographed(images)
        return (images.clamp(0, 1) * 255).to(torch.uint8), torch.cat([labels, ground], 1)

    def _uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        drawn = torch.rand(self.n, *shape, generator=self.generator, device=self.world.device)
        return low + (high - low) * drawn

    def _integers(self, end: int) -> torch.Tensor:
        shape = (self.n,)
        return torch.randint(end, shape, generator=self.generator, device=self.world.device)

    def _ground(self) -> tuple[torch.Tensor, torch.Tensor]:
        # Colour clouds, fine and coarse, with two gratings; the stronger gives two labels.
        images = self._uniform(0.15, 0.75, 1, 1, 1) + self._uniform(-0.15, 0.15, 3, 1, 1)
        for cells in (4, 7, 16):
            field = clouds((self.n, 3, self.size), cells, self.generator)
            grey = field.mean(1, keepdim=True)
            images = images + 0.15 * self.clutter * (grey + 0.4 * field)
        stripes, period = self._integers(FACTORS['stripes']), self._integers(FACTORS['period'])
        angle = (stripes + self._uniform(0, 1)) * math.pi / FACTORS['stripes']
        length = 3 * 1.6 ** (period + self._uniform(0, 1))
        images = images + self._grating(angle, length, 0.15)
        other = self._grating(self._uniform(0, math.pi), self._uniform(3, 16), 0.06)
        return images + other, torch.stack([stripes, period], 1)

    def _grating(self, angle, length, most: float) -> torch.Tensor:
        waves = grating(angle, length, self._uniform(0, 2 * math.pi), self.size)
        return most * self.clutter * waves

    def _with_other(self, images: torch.Tensor) -> torch.Tensor:
        pictures, _ = self._glyphs()
        radius = self._uniform(0.06, 0.12) * self.size
        where = [self._uniform(0, self.size) for _ in range(2)]
        placement = Placement(*where, radius, self._uniform(-3.1, 3.1), self._uniform(-1, 1))
        is_there = (self._uniform(0, 1, 1, 1, 1) < self.clutter).float()
        coverage = place(pictures, placement, self.size) * is_there
        colour = colours(self._uniform(0, 1), self._uniform(0, 1), self._uniform(0, 1))
        return images + coverage * (colour - images)

    def _with_object(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        placement, pose = self._pose()
        hue = self._integers(FACTORS['hue'])
        shade = (hue + self._uniform(0.1, 0.9)) / FACTORS['hue']
        colour = colours(shade, self._uniform(0.45, 1), self._uniform(0.45, 1))
        pictures, kinds = self._glyphs()
        light = 1 + self._uniform(0, 0.35, 1, 1, 1) * clouds(
            (self.n, 1, self.size), 3, self.generator
        )
        coverage = place(pictures, placement, self.size)
        painted = images + coverage * (colour * light - images)
        if self.world.things is not None:
            painted, kinds = self._with_things(images, painted, kinds, placement, colour * light)
        return painted, torch.cat([torch.stack([kinds, hue], 1), pose], 1)

    def _with_things(self, images, painted, kinds, placement, colour):
        pictures, classes = self.world.things
        drawn = self._integers(len(pictures))
        grey = place(pictures[drawn][:, None].float() / 255, placement, self.size)
        coverage = (grey * 8).clamp(0, 1)
        shown = images + coverage * (colour * (0.25 + grey) - images)
        is_thing = self._uniform(0, 1) < THINGS_SHARE
        kinds_of_things = classes[drawn] + self.world.num_kinds - things.NUM_CLASSES
        painted = torch.where(is_thing[:, None, None, None], shown, painted)
        return painted, torch.where(is_thing, kinds_of_things, kinds)

    def _glyphs(self) -> tuple[torch.Tensor, torch.Tensor]:
        pictures, classes = self.world.glyphs
        drawn = self._integers(len(pictures))
        return pictures[drawn][:, None].float() / 255, classes[drawn]

    def _pose(self) -> tuple[Placement, torch.Tensor]:
        # Labels count equal parts of the range of each number.
        scale, turn, yaw = (self._integers(FACTORS[name]) for name in ('scale', 'turn', 'yaw'))
        side = math.isqrt(FACTORS['place'])
        row, column = self._integers(side), self._integers(side)

        def part(label: torch.Tensor, low: float, high: float, parts: int) -> torch.Tensor:
            return low + (high - low) * (label + self._uniform(0, 1)) / parts

        radius = part(scale, SMALLEST, LARGEST, FACTORS['scale']) * self.size
        x, y = (part(label, 0.3, 0.7, side) * self.size for label in (column, row))
        placement = Placement(
            x,
            y,
            radius,
            part(turn, -WIDEST_TURN, WIDEST_TURN, FACTORS['turn']),
            part(yaw, -WIDEST_YAW, WIDEST_YAW, FACTORS['yaw']),
        )
        return placement, torch.stack([scale, turn, yaw, row * side + column], 1)

    def _as_photographed(self, images: torch.Tensor) -> torch.Tensor:
        contrast = self._uniform(0.7, 1.15, 1, 1, 1)
        images = (images - 0.5) * contrast + 0.5 + self._uniform(-0.12, 0.12, 1, 1, 1)
        noise = torch.randn(images.shape, generator=self.generator, device=images.device)
        return images + 0.07 * self.clutter * noise
