"""The line on the progress of a search."""

from datetime import datetime, timedelta

import pytest

from memba_vision.search import bookkeeping
from memba_vision.search.progress import progress_line

optuna = pytest.importorskip('optuna')


def trial(state: str, value: float | None = None, seconds: int = 60, **attributes: object):
    kind = optuna.trial.TrialState[state]
    made = optuna.trial.create_trial(state=kind, value=value, user_attrs=attributes)
    made.datetime_start = datetime(2026, 1, 1)
    made.datetime_complete = made.datetime_start + timedelta(seconds=seconds)
    if not kind.is_finished():
        made.datetime_complete = None
    return made


@pytest.mark.parametrize(
    ('trials', 'expected'),
    [
        ([], '0 of 4 trials'),
        ([trial('COMPLETE', 71.25)], '1 of 4 trials, best 71.25 %, about 3 min left'),
        (
            [trial('COMPLETE', 60.0, 30), trial('PRUNED', 99.0, 90), trial('FAIL')],
            '3 of 4 trials, best 60.00 %, about 60 s left',
        ),
        (
            [trial('COMPLETE', 1.0), trial('RUNNING'), trial('RUNNING')],
            '1 of 4 trials, best 1.00 %, about 90 s left',
        ),
        (
            [trial('FAIL', **{bookkeeping.RETRIED: True}), *[trial('COMPLETE', 5.0)] * 4],
            '4 of 4 trials, best 5.00 %',
        ),
    ],
)
def test_what_it_says(trials, expected):
    assert progress_line(trials, 4) == expected
