"""Progress of a run, read from the numbers that it logs."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memba_vision.engine.checkpoint_folders import checkpoint_folders
from memba_vision.engine.metric_names import TOP1
from memba_vision.files import CURVE_FILE
from memba_vision.reports.curves import SCALARS, read_entry
from memba_vision.sweeps.jobs import Job

END = 1 << 14  # bytes that are read at the end of a log


@dataclass(frozen=True)
class Progress:
    """Last numbers that a run logged.

    Attributes:
        done: finished epochs or iterations.
        loss: training loss.
        accuracy: top-1 in percent, if the run validates or has been tested.
        seconds_left: seconds from now until the end of the training.
    """

    done: int = 0
    loss: float | None = None
    accuracy: float | None = None
    seconds_left: float | None = None


def read_progress(folder: Path, length: tuple[str, int]) -> Progress:
    """Read the newest of mmengine's logs that holds a training step.

    A run with another logger has its own file of losses, which tells no time.

    Args:
        folder: the run's folder.
        length: unit and length of the training; see :meth:`memba_vision.sweeps.jobs.Job.length`.
    """
    for path in sorted(folder.glob(SCALARS), reverse=True):
        records = [read_entry(line) for line in last_lines(path)]
        steps = [record for record in records if 'loss' in record]
        if steps:
            scores = [r[TOP1] for r in records if TOP1 in r]
            return _progress(steps[-1], scores, length, time.time() - path.stat().st_mtime)
    return _from_curve(folder / CURVE_FILE)


def _from_curve(path: Path) -> Progress:
    if not path.is_file():
        return Progress()
    records = [read_entry(line) for line in last_lines(path)]
    steps = [record for record in records if {'loss', 'epoch'} <= record.keys()]
    scores = [record[TOP1] for record in records if TOP1 in record]
    last = steps[-1] if steps else {'epoch': 0, 'loss': None}
    return Progress(last['epoch'], last['loss'], scores[-1] if scores else None)


def saved_step(job: Job) -> int:
    """Return the epoch or step of the newest checkpoint that a run has saved; 0 without one."""
    places = checkpoint_folders(job.resolved, job.folder)
    return max((step for place in places for step, _ in place.checkpoints()), default=0)


def last_lines(path: Path) -> list[str]:
    """Return the lines at the end of a log, the first of which may be cut off."""
    with path.open('rb') as file:
        file.seek(max(0, path.stat().st_size - END))
        return file.read().decode(errors='replace').splitlines()


def _progress(
    step: dict[str, Any], scores: list[float], length: tuple[str, int], age: float
) -> Progress:
    counted, total = length
    iteration, epoch = step.get('iter', 0), step.get('epoch', 0)
    done, left = iteration, total - iteration
    if counted == 'epochs':
        done, left = epoch, (total - epoch) * iteration / max(epoch, 1)
    seconds = max(0.0, left * step['time'] - age) if 'time' in step else None
    return Progress(done, step['loss'], scores[-1] if scores else None, seconds)
