"""Learning curves of a run, from its own file or from mmengine's logs."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from memba_vision.files import CURVE_FILE
from memba_vision.runs.metrics import TOP1

SCALARS = '*/vis_data/scalars.json'  # in the folder of a run, once for each start


@dataclass(frozen=True)
class Curve:
    """Training loss by epoch: the mean over runs, and the range that they span."""

    epochs: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]


def loss_curve(folder: Path) -> dict[int, float]:
    """Return the last training loss of a run in each epoch."""
    return _curve(folder, 'loss', 'epoch')


def accuracy_curve(folder: Path) -> dict[int, float]:
    """Return the accuracy of the validation after each epoch that had one, in percent."""
    return _curve(folder, TOP1, 'step')


def _curve(folder: Path, key: str, epoch_in_logs: str) -> dict[int, float]:
    """Return the values of a run by epoch. Of an epoch that was run twice, the later counts.

    Epochs of an older version, which wrote no such file, are in mmengine's logs, of which a run
    that was resumed has one for each start.

    Args:
        folder: the run's folder.
        key: name of the value.
        epoch_in_logs: name of the epoch in mmengine's logs.
    """
    own = folder / CURVE_FILE
    values = _by_epoch([own] if own.is_file() else [], key, 'epoch')
    first = min(values, default=math.inf)
    if first > 1:
        logged = _by_epoch(sorted(folder.glob(SCALARS)), key, epoch_in_logs)
        values = {epoch: value for epoch, value in logged.items() if epoch < first} | values
    return values


def _by_epoch(paths: Sequence[Path], key: str, epoch: str) -> dict[int, float]:
    return {entry[epoch]: entry[key] for entry in _entries(paths, key) if epoch in entry}


def _entries(paths: Sequence[Path], key: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of logs that have a finite number under a key."""
    for path in paths:
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
    return Curve(epochs, [fmean(v) for v in values], [min(v) for v in values], [*map(max, values)])


def read_entry(line: str) -> dict[str, Any]:
    """Read a line of a log; return an empty dict for one that is cut off."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
