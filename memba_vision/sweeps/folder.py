"""The folder of a sweep: its list of runs, and the settings that all of them share."""

import json
from collections.abc import Sequence
from pathlib import Path

from memba_vision.errors import UserError
from memba_vision.files import alone, write_atomically
from memba_vision.runs.compared_settings import differences, flat_settings
from memba_vision.runs.record import RECORD_FILE
from memba_vision.sweeps.jobs import SWEEP_FILE, Job, Options
from memba_vision.sweeps.supervise import STATUS_FILE

SHOWN = 8  # differences that an error lists


def enter(folder: Path, jobs: Sequence[Job], options: Options) -> None:
    """Enter runs into a sweep's folder; those that are there already stay as they are.

    Args:
        folder: the sweep's folder, made when missing.
        jobs: the runs.
        options: what holds for all of them.

    Raises:
        UserError: the sweep, or one of the runs, was begun with other settings, which are named.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SWEEP_FILE
    with alone(path):
        known = _read(path)
        _check_options(path, known.get('options'), options)
        for job in jobs:
            _check_job(job)
        runs = {run['name']: run for run in known.get('runs', [])}
        runs |= {job.name: job.record() for job in jobs}
        content = {'runs': list(runs.values()), 'options': _as_json(options)}
        write_atomically(path, (json.dumps(content, indent=1) + '\n').encode())
        for job in jobs:
            if not (job.folder / STATUS_FILE).exists():
                status = {'state': 'waiting', 'message': '', 'tries': 0}
                write_atomically(job.folder / STATUS_FILE, json.dumps(status, indent=1).encode())


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
    return {'amp': options.amp, 'cfg_options': pairs}


def _check_options(path: Path, before: dict | None, options: Options) -> None:
    now = flat_settings(_as_json(options))
    lines = [] if before is None else differences(flat_settings(before), now)
    if lines:
        _refuse(f'the sweep in {path.parent}', lines)


def _check_job(job: Job) -> None:
    """Compare with the config of the run's first start, as it recorded it."""
    try:
        starts = json.loads((job.folder / RECORD_FILE).read_text(encoding='utf-8'))
        before = flat_settings(starts[0]['config'])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return  # never started: there is nothing that could be mixed up
    lines = differences(before, flat_settings(job.resolved.to_dict()))
    if lines:
        _refuse(f'the run {job.name}', lines)


def _refuse(what: str, lines: list[str]) -> None:
    shown = '; '.join(lines[:SHOWN])
    more = f'; and {len(lines) - SHOWN} more' if len(lines) > SHOWN else ''
    raise UserError(
        f'{what} was begun with other settings: {shown}{more}. Give the same settings to go on, '
        'or another --work-dir'
    )
