"""Draw the picture of docs/mini_vtab.md: some test images of every task, with their labels.

python docs/contact_sheet.py
"""

from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from memba_vision.datasets.mini_vtab.classes import CLASS_NAMES
from memba_vision.datasets.mini_vtab.write import MAKERS
from memba_vision.datasets.tasks import MINI2_TASKS

PICTURE = Path(__file__).parent / 'images' / 'mini_vtab.png'
NUM_IMAGES = 10
SIDE = 96  # pixels of an image in the picture: twice its own
CELL_WIDTH, CELL_HEIGHT = SIDE + 6, SIDE + 18
LEFT = 124  # pixels for the name of the task
COLORS = 256  # of the picture's palette: all of them would take three times the room


def contact_sheet() -> Image.Image:
    """A row per task: images whose labels are spread over the classes."""
    sheet = Image.new(
        'RGB', (LEFT + NUM_IMAGES * CELL_WIDTH, len(MINI2_TASKS) * CELL_HEIGHT), 'white'
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(Path(get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf'), 12)
    for row, task in enumerate(MINI2_TASKS.values()):
        test = MAKERS[task.name]()['test']
        top = row * CELL_HEIGHT
        draw.text((4, top + SIDE / 2), task.name, 'black', font, anchor='lm')
        for column, place in enumerate(_spread(test.labels, task.num_classes)):
            left = LEFT + column * CELL_WIDTH
            image = Image.fromarray(test.images[place])
            sheet.paste(image.resize((SIDE, SIDE), Image.Resampling.NEAREST), (left, top))
            name = CLASS_NAMES[task.name][test.labels[place]]
            draw.text((left + SIDE / 2, top + SIDE + 2), name, 'black', font, anchor='ma')
    return sheet


def _spread(labels: np.ndarray, num_classes: int) -> list[int]:
    # The first image of every class or, of many classes, of every second or third; the second
    # image of a class that is shown twice.
    step = max(1, num_classes / NUM_IMAGES)
    shown = [int(number * step) % num_classes for number in range(NUM_IMAGES)]
    return [
        int(np.flatnonzero(labels == label)[shown[:number].count(label)])
        for number, label in enumerate(shown)
    ]


if __name__ == '__main__':
    contact_sheet().quantize(COLORS, kmeans=1).save(PICTURE, optimize=True)
