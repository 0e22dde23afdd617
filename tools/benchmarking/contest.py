"""A contest: contestants are built, timed against each other, and weighed."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from benchmarking.memory import peak_memory
from benchmarking.peers import MissingPeerError
from benchmarking.timing import MAX_ROUNDS, Spread, Timing, measure, ratio, seconds_of
from memba_vision.errors import UserError

Call = Callable[[], object]


@dataclass(frozen=True)
class Contest:
    """Outcome of a contest, by the names of the contestants.

    Attributes:
        timings: of those that ran, in the order they were listed.
        absent: reasons why the others did not.
        memory: peak memory of a call in bytes, where it was asked for and can be told.
    """

    timings: dict[str, Timing]
    absent: dict[str, str]
    memory: dict[str, int]

    def ratio(self, name: str, reference: str) -> Spread:
        """Time of ``name`` over that of ``reference``, round by round."""
        return ratio(self.timings[name], self.timings[reference])

    def some(self, names: Mapping[str, str]) -> 'Contest':
        """Some of the contestants, each under another name."""
        parts = (
            {new: part[old] for old, new in names.items() if old in part}
            for part in (self.timings, self.absent, self.memory)
        )
        return Contest(*parts)


def hold(
    builders: Mapping[str, Callable[[], Call]],
    device: torch.device,
    seconds: float,
    max_rounds: int = MAX_ROUNDS,
    weigh: bool = False,
) -> Contest:
    """Build the contestants, and time them against each other.

    Args:
        builders: make what is timed, by name. One that raises a :class:`MissingPeerError` or a
            :class:`UserError`, or runs out of memory, is absent, for the reason that it gives.
        device: the device.
        seconds: time limit of the rounds.
        max_rounds: the most rounds there can be.
        weigh: take the peak memory too, in one more call of each.
    """
    clock = _clock(device)
    calls, first_calls, absent = {}, {}, {}
    for name, build in builders.items():
        try:
            call = build()
            first_calls[name] = seconds_of(call, clock=clock)
            calls[name] = call
        except (MissingPeerError, UserError) as reason:
            absent[name] = str(reason)
        except torch.OutOfMemoryError:
            absent[name] = 'out of memory'
    rounds = measure(calls, seconds, max_rounds, clock)
    timings = {name: Timing(first_calls[name], rounds[name]) for name in calls}
    peaks = {name: peak_memory(call, device) for name, call in calls.items()} if weigh else {}
    memory = {name: peak for name, peak in peaks.items() if peak is not None}
    return Contest(timings, absent, memory)


def _clock(device: torch.device) -> Callable[[], float]:
    """Seconds as they pass; a GPU finishes first what it was given."""
    if device.type != 'cuda':
        return time.perf_counter

    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock
