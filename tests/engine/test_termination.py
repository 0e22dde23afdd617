"""SIGTERM: the same one by several ways, and one that is meant."""

import os
import signal
import subprocess
import sys

import pytest

from memba_vision.engine import termination
from memba_vision.engine.termination import Termination


def test_one_signal_by_several_ways_ends_a_run_once():
    noted, before = Termination(), signal.getsignal(signal.SIGTERM)  # Ray leaves one of its own
    with noted.watched():
        for _ in range(3):  # of the sweep, its supervisor, and a machine that goes down
            os.kill(os.getpid(), signal.SIGTERM)
        assert noted.requested
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize('later', [False, True])
def test_who_does_not_end_is_killed_by_a_later_one(later):
    echo = 0.0 if later else termination.ECHO
    code = (
        'import os, signal, time\n'
        'from memba_vision.engine import termination\n'
        f'termination.ECHO = {echo}\n'
        'with termination.Termination().watched():\n'
        '    os.kill(os.getpid(), signal.SIGTERM)\n'
        '    time.sleep(0.01)\n'
        '    os.kill(os.getpid(), signal.SIGTERM)\n'
    )
    ended = subprocess.run([sys.executable, '-c', code]).returncode
    assert ended == (-signal.SIGTERM if later else 0)
