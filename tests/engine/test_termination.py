"""Signals that ask a run to end: the same one by several ways, and one that is meant."""

import os
import signal
import subprocess
import sys

import pytest

from memba_vision.engine.termination import Termination
from memba_vision.errors import END_SIGNALS


@pytest.mark.parametrize('number', END_SIGNALS)
def test_one_signal_by_several_ways_ends_a_run_once(number):
    noted, before = Termination(), signal.getsignal(number)  # Ray leaves one of its own
    with noted.watched():
        for _ in range(3):  # of the sweep, its supervisor, and a machine that goes down
            os.kill(os.getpid(), number)
        assert noted.requested
    assert noted.reason() == END_SIGNALS[number]
    assert signal.getsignal(number) is before


TWICE = """
import os, signal, time
from memba_vision.engine import termination

for echo in (0.0, termination.ECHO):
    for number in termination.END_SIGNALS:
        child = os.fork()
        if not child:
            termination.ECHO = echo
            with termination.Termination().watched():
                os.kill(os.getpid(), number)
                time.sleep(0.01)
                os.kill(os.getpid(), number)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(int(number), ended if echo else ended == -number)
"""


def test_who_does_not_end_is_killed_by_a_later_one():
    done = subprocess.run([sys.executable, '-c', TWICE], capture_output=True, text=True)
    killed = [f'{int(number)} True' for number in END_SIGNALS]
    ended = [f'{int(number)} 0' for number in END_SIGNALS]
    assert done.stdout.splitlines() == killed + ended, done.stderr
