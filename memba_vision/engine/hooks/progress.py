"""Progress of a training on the console: a bar on a terminal, and a line an epoch anywhere."""

import logging
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median_low
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from memba_vision.engine.durations import duration
from memba_vision.engine.metric_names import TOP1

#: Beginnings of mmengine's lines of which the log's file has all, and the console need not.
DETAILS = (
    *('Epoch(train)', 'Epoch(val)', 'Saving checkpoint at', 'Checkpoints will be saved to'),
    *('The best checkpoint with', 'The previous best checkpoint'),
)
RECENT = 5  # epochs, whose median time says how long the others will take
LOSS = 'train/loss'


class ProgressHook(Hook):
    """Show how far a training that counts epochs is.

    Args:
        console: the console; None takes stdout.
    """

    priority = 'VERY_LOW'

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stdout, width=None if _is_terminal() else 100)
        self._bar: Progress | None = None
        self._line, self._times = '', deque(maxlen=RECENT)
        self._restore: list[tuple[logging.StreamHandler, Any]] = []

    def begin(self, runner: Runner) -> None:
        """Take the place of mmengine's lines on the console, before any hook has written one."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop) or not is_main_process():
            return
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            columns = TextColumn('epoch {task.description}'), BarColumn(), TaskProgressColumn()
            self._bar = Progress(
                *columns, TextColumn('{task.fields[facts]}'), console=self.console, transient=True
            )
            self._bar.start()
            self._bar.add_task('', facts='')
        for handler in console_handlers(runner.logger):
            self._restore.append((handler, handler.stream))
            handler.addFilter(_is_no_detail)
            if self._bar is not None:
                handler.setStream(sys.stdout)  # the bar's, which keeps lines above it

    def before_train_epoch(self, runner: Runner) -> None:
        """Begin an epoch."""
        if not self._restore:
            return
        self._tell()
        self._began = time.monotonic()
        if self._bar is not None:
            described = f'{runner.epoch + 1}/{runner.max_epochs}'
            total = len(runner.train_dataloader)
            self._bar.reset(self._bar.task_ids[0], total=total, description=described)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Move the bar."""
        if self._bar is None:
            return
        seconds = time.monotonic() - self._began
        images = (batch_idx + 1) * (runner.train_dataloader.batch_size or 0)
        facts = [
            f'{images / max(seconds, 1e-9):.0f} images/s',
            _loss(runner, 1),
            self._left(runner),
        ]
        shown = '  '.join(fact for fact in facts if fact)
        self._bar.update(self._bar.task_ids[0], completed=batch_idx + 1, facts=shown)

    def after_train_epoch(self, runner: Runner) -> None:
        """Note the loss."""
        if not self._restore:
            return
        width = len(str(runner.max_epochs))
        self._line = (
            f'epoch {runner.epoch + 1:{width}}/{runner.max_epochs}  '
            f'{_loss(runner, len(runner.train_dataloader))}'
        )
        self._runner = runner

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Note the accuracy of a validation."""
        if self._line and metrics and TOP1 in metrics:
            self._line += f'  validation {metrics[TOP1]:.2f} %'

    def after_train(self, runner: Runner) -> None:
        """Give the console back."""
        self.close()

    def close(self) -> None:
        """Give the console back, whatever happened."""
        self._tell()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        for handler, stream in self._restore:
            handler.removeFilter(_is_no_detail)
            handler.setStream(stream)
        self._restore = []

    def _tell(self) -> None:
        """Write the line of the last epoch, when it is known how long that took in all."""
        if not self._line:
            return
        self._times.append(time.monotonic() - self._began)
        line, self._line = self._line, ''  # an interruption may come while it is written
        parts = [line, f'{self._times[-1]:.1f} s', self._left(self._runner, ended=True)]
        line = '  '.join(part for part in parts if part)
        moment = time.strftime('%H:%M:%S')
        self.console.print(f'{moment} {line}', markup=False, highlight=False, soft_wrap=True)

    def _left(self, runner: Runner, ended: bool = False) -> str:
        epochs = runner.max_epochs - runner.epoch
        if not self._times or epochs <= 0:
            return ''
        usual = median_low(self._times)  # the first may compile, or compute features that are kept
        gone = 0 if ended else time.monotonic() - self._began
        return f'{duration(max(0.0, epochs * usual - gone))} left'


@contextmanager
def showing_progress(runner: Runner) -> Iterator[None]:
    """Show the progress of the training of a runner; the console is given back at an error too."""
    hook = ProgressHook()
    runner.register_hook(hook)
    try:
        hook.begin(runner)
        yield
    finally:
        hook.close()


def console_handlers(logger: logging.Logger) -> list[logging.StreamHandler]:
    """Return the handlers of a logger that write to a console."""
    return [
        handler
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler)
        and not isinstance(handler, logging.FileHandler)
    ]


def _is_no_detail(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(DETAILS)


def _loss(runner: Runner, steps: int) -> str:
    history = runner.message_hub.log_scalars.get(LOSS)
    return '' if history is None else f'loss {history.mean(steps):.4g}'


def _is_terminal() -> bool:
    return sys.stdout.isatty()
