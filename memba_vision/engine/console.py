"""Console of a run: lines of one line each, with the time of day."""

import logging
import sys
from functools import partial

from memba_vision.files import DISK_FULL

# Messages of mmengine on its own deprecated names, and repeated ones.
NOISE = (
    '"HardDiskBackend" is the alias',
    '"FileClient" will be deprecated',
    'Distributed training is not used, all SyncBatchNorm',
    'Exp name:',
)


class ConsoleFilter(logging.Filter):
    """Filter that keeps pages of text (environment, config, order of hooks) off the console."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True for records of one line, and for errors."""
        message = record.getMessage()
        if message.startswith(NOISE):
            return False
        return record.levelno >= logging.ERROR or '\n' not in message.strip()


class ConsoleFormatter(logging.Formatter):
    """Formatter with the time of day, and with the level of what is worse than information."""

    def __init__(self) -> None:
        super().__init__('%(asctime)s %(message)s', '%H:%M:%S')

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        if record.levelno > logging.INFO:
            record.message = f'{record.levelname}: {record.message}'
        return super().formatMessage(record)


def make_readable(logger: logging.Logger) -> None:
    """Give a logger's console its filter and format, and its files names of any bytes."""
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = partial(_report_errors_except_full_disk, handler)
            handler.stream.reconfigure(errors='surrogateescape')  # names of files
        else:
            handler.addFilter(ConsoleFilter())
            handler.setFormatter(ConsoleFormatter())


def _report_errors_except_full_disk(handler: logging.Handler, record: logging.LogRecord) -> None:
    # Where the log cannot be written, soon a checkpoint cannot: that is reported once, as an error.
    error = sys.exc_info()[1]
    if not (isinstance(error, OSError) and error.errno in DISK_FULL):
        logging.Handler.handleError(handler, record)
