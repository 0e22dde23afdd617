"""mmengine's runner with a console that can be read."""

import logging

from mmengine.logging import MMLogger
from mmengine.runner import Runner

# mmengine warns of a deprecated name that it uses itself.
NOISE = ('"HardDiskBackend" is the alias', 'Distributed training is not used, all SyncBatchNorm')


class ConsoleFilter(logging.Filter):
    """Keeps pages of text (environment, config, order of hooks) off the console."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the console shows ``record``: one line, or more than information."""
        message = record.getMessage()
        if message.startswith(NOISE):
            return False
        return record.levelno >= logging.ERROR or '\n' not in message.strip()


class ReadableRunner(Runner):
    """A runner whose console shows one-line messages; the log file holds everything."""

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """As mmengine's, with a :class:`ConsoleFilter` on what goes to the terminal."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(ConsoleFilter())
        return logger
