"""Progress of a search, in a line."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from memba_vision.engine.durations import duration
from memba_vision.search import bookkeeping


def progress_line(trials: Sequence[Any], wanted: int) -> str:
    """Return the number of trials that are done, the best accuracy, and the time that is left.

    Args:
        trials: of a study, as Optuna gives them. One that was queued again counts once.
        wanted: number of trials that the search asks for.
    """
    counted = [trial for trial in trials if bookkeeping.RETRIED not in trial.user_attrs]
    done = [trial for trial in counted if trial.state.is_finished()]
    parts = [f'{len(done):,} of {max(wanted, len(counted)):,} trials']
    values = [trial.value for trial in done if trial.state.name == 'COMPLETE']
    parts += [f'best {max(values):.2f} %'] if values else []
    times = [trial.duration.total_seconds() for trial in done if trial.duration]
    left = max(wanted, len(counted)) - len(done)
    if left and times:
        at_once = max(1, sum(trial.state.name == 'RUNNING' for trial in counted))
        parts.append(f'about {duration(mean(times) * left / at_once)} left')
    return ', '.join(parts)
