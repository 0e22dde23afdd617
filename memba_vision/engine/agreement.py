"""Agreement of a run's processes on the step at which all of them end."""

from __future__ import annotations

import torch
from mmengine.dist import is_distributed
from torch import distributed


class Agreement:
    """The highest number that any process of a run has given, which all read at the same step.

    A process that left alone would block the others in their next exchange. The numbers travel
    while the next step is made: nothing waits for them. They go over gloo, since those on a GPU
    would come behind all that it has to do.
    """

    def __init__(self) -> None:
        self._group: distributed.ProcessGroup | None = None
        self._under_way: tuple[distributed.Work, torch.Tensor] | None = None

    def begin(self) -> None:
        """Connect the processes, before the steps: one that is gone would be waited for."""
        if is_distributed() and self._group is None:
            self._group = distributed.new_group(backend='gloo')

    def after_step(self, number: int, at_once: bool) -> int:
        """Give a number, 0 for none, and return the highest that was given a step before.

        Args:
            number: of this process.
            at_once: wait for the numbers of this step, as there is no further one.
        """
        if not is_distributed():
            return number
        found = self._arrived()
        if not found:
            self._send(number)
            found = self._arrived() if at_once else 0
        return found

    def _send(self, number: int) -> None:
        flag = torch.tensor([number])
        work = distributed.all_reduce(
            flag, distributed.ReduceOp.MAX, group=self._group, async_op=True
        )
        self._under_way = (work, flag)

    def _arrived(self) -> int:
        if self._under_way is None:
            return 0
        work, flag = self._under_way
        self._under_way = None
        work.wait()
        return int(flag)
