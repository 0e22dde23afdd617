"""Folder of a sweep: its list of runs, and the settings that all of them share."""

import json
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from memba_vision.errors import UserError
from memba_vision.files import check_output_path, exclusive_lock, write_atomically
from memba_vision.runs.compared_settings import (
    PASSING,
    describe_differences,
    flat_settings,
    plain_settings,
)
from memba_vision.runs.record import RECORD_FILE, begun
from memba_vision.sweeps.jobs import SWEEP_FILE, Job, Options
from memba_vision.sweeps.supervise import STATUS_FILE, read_status

WAITING = json.dumps({'state': 'waiting', 'message': '', 'tries': 0}, indent=1).encode()


def enter(folder: Path, jobs: Sequence[Job], options: Options) -> None:
    """Enter runs into a sweep's folder. Earlier runs stay in it.

    Args:
        folder: the sweep's folder, created if it is missing.
        jobs: the runs.
        options: settings of all runs.

    Raises:
        UserError: the sweep or one of the runs was begun with other settings, which the message
            names; or a file is in the folder's place.
    """
    path = folder / SWEEP_FILE
    check_output_path(path)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(path):
        known = _read(path)
        _check_options(path, known.get('options'), options)
        _check_jobs(jobs)
        runs = {run['name']: run for run in known.get('runs', [])}
        runs |= {job.name: job.record() for job in jobs}
        content = {'runs': list(runs.values()), 'options': _as_json(options)}
        write_atomically(path, (json.dumps(content, indent=1) + '\n').encode())


def has_finished(folder: Path) -> bool:
    """Return True if a folder lists runs of a sweep, and all of them have finished."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        runs = json.loads((folder / SWEEP_FILE).read_text(encoding='utf-8'))['runs']
        states = (read_status(str(folder / run['name'])).get('state') for run in runs)
        return bool(runs) and all(state == 'finished' for state in states)
    return False


def mark_waiting(jobs: Iterable[Job]) -> None:
    """Make the folders of runs that have none, with the state of a run that waits.

    On a shared disk that takes a while for thousands of them, and no run needs it in order to
    begin. So it may be done beside the sweep, and says nothing of a disk that takes no more.
    """
    for job in jobs:
        with suppress(OSError):
            os.makedirs(job.folder, exist_ok=True)
            # Never in the place of the file of a run that has begun.
            with open(job.folder / STATUS_FILE, 'xb') as file:
                file.write(WAITING)


def _read(path: Path) -> dict:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        if not all(isinstance(run['name'], str) for run in content['runs']):
            raise TypeError('names are texts')
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f'{path} cannot be read: remove it and give all configs, methods and seeds of the '
            'sweep again; its runs are not lost'
        ) from error
    return content


def _as_json(options: Options) -> dict:
    pairs = dict(option.split('=', 1) for option in options.cfg_options)
    # A sweep of an older version says nothing of it.
    validate = {'validate': True} if options.validate else {}
    return {'amp': options.amp, 'cfg_options': pairs, **validate}


def _check_options(path: Path, before: dict | None, options: Options) -> None:
    if before is not None:
        now = flat_settings(_as_json(options))
        _refuse_differences(f'the sweep in {path.parent}', flat_settings(before), now)


def _check_jobs(jobs: Sequence[Job]) -> None:
    """Compare runs with the configs that the starts recorded with which they began."""
    shared: dict[tuple, dict] = {}  # settings that the runs of all seeds share, as JSON has them
    for job in jobs:
        try:
            starts = json.loads((job.folder / RECORD_FILE).read_text(encoding='utf-8'))
            before = dict(begun(starts)['config'])
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue  # it was never started
        variant = job.config, job.method, job.backbone, repr(job.settings)
        if variant not in shared:
            shared[variant] = plain_settings(job.resolved.to_dict())
        now = {**shared[variant], 'randomness': dict(job.resolved.randomness)}
        recorded = {key: value for key, value in before.items() if key not in PASSING}
        if recorded != now:  # nearly all are the same, and flat ones take time
            _refuse_differences(f'the run {job.name}', flat_settings(before), flat_settings(now))


def _refuse_differences(name: str, before: dict, now: dict) -> None:
    if found := describe_differences(before, now):
        raise UserError(
            f'{name} was begun with other settings: {found}. Give the same settings to go on, or '
            'another --work-dir'
        )
