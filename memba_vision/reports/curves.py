"""Learning curves from mmengine's logs in the folder of a run."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

ACCURACY = 'accuracy/top1'
SCALARS = '*/vis_data/scalars.json'  # in the folder of a run, once for each start


@dataclass(frozen=True)
class Curve:
    """Training loss by epoch: the mean over runs, and the range that they span."""

    epochs: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]


def loss_curve(folder: Path) -> dict[int, float]:
    """Return the last training loss that a run logged in each epoch.

    A run that was resumed has a log per start. Of an epoch that was run twice, the later counts.
    """
    return {entry['epoch']: entry['loss'] for entry in _entries(folder, 'loss') if 'epoch' in entry}


def accuracy_curve(folder: Path) -> dict[int, float]:
    """Return the accuracy of the validation after each epoch that had one, in percent."""
    found = _entries(folder, ACCURACY)
    return {entry['step']: entry[ACCURACY] for entry in found if 'epoch' not in entry}


def _entries(folder: Path, key: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of a run's logs that have a finite number under a key."""
    for path in sorted(folder.glob(SCALARS)):
        for line in path.read_text(encoding='utf-8').splitlines():
            entry = read_entry(line)
            if math.isfinite(entry.get(key, math.nan)):
                yield entry


def mean_curve(curves: Sequence[dict[int, float]]) -> Curve:
    """Return the curve of several runs, with the mean over the runs that reached an epoch."""
    by_epoch = defaultdict(list)
    for curve in curves:
        for epoch, loss in curve.items():
            by_epoch[epoch].append(loss)
    epochs = sorted(by_epoch)
    values = [by_epoch[epoch] for epoch in epochs]
    return Curve(epochs, [mean(v) for v in values], [min(v) for v in values], [*map(max, values)])


def read_entry(line: str) -> dict[str, Any]:
    """Read a line of a log; return an empty dict for one that is cut off."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
