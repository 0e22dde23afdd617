"""Signals that ask a run to end: the same one by several ways, and one that is meant."""

import os
import signal
import subprocess
import sys

import pytest

from memba_vision.engine import termination
from memba_vision.engine.termination import Termination
from memba_vision.errors import END_SIGNALS

both = pytest.mark.parametrize('number', END_SIGNALS)


@both
def test_one_signal_by_several_ways_ends_a_run_once(number):
    noted, before = Termination(), signal.getsignal(number)  # Ray leaves one of its own
    with noted.watched():
        for _ in range(3):  # of the sweep, its supervisor, and a machine that goes down
            os.kill(os.getpid(), number)
        assert noted.requested
    assert noted.reason() == END_SIGNALS[number]
    assert signal.getsignal(number) is before


@both
@pytest.mark.parametrize('later', [False, True])
def test_who_does_not_end_is_killed_by_a_later_one(later, number):
    echo = 0.0 if later else termination.ECHO
    code = (
        'import os, signal, time\n'
        'from memba_vision.engine import termination\n'
        f'termination.ECHO = {echo}\n'
        'with termination.Termination().watched():\n'
        f'    os.kill(os.getpid(), {int(number)})\n'
        '    time.sleep(0.01)\n'
        f'    os.kill(os.getpid(), {int(number)})\n'
    )
    ended = subprocess.run([sys.executable, '-c', code]).returncode
    assert ended == (-number if later else 0)
