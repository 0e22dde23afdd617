"""Errors of faulty configs, as messages to users."""

from collections.abc import Iterator
from contextlib import contextmanager

from memba_vision.engine.checkpoint_loader import safe_loading
from memba_vision.errors import UserError

# The errors of Python, mmengine and torch for settings that are misspelt, missing or out of range.
CONFIG_ERRORS = (
    *(KeyError, TypeError, ValueError, AttributeError, AssertionError, ImportError),
    NotImplementedError,
)


@contextmanager
def reporting_config_errors(part: str) -> Iterator[None]:
    """Turn the errors of building ``part`` of a faulty config into a ``UserError``.

    Files of weights that the config names are read by the safe loader.
    """
    try:
        with safe_loading():
            yield
    except UserError:
        raise
    except CONFIG_ERRORS as error:
        raise UserError(
            f'config: cannot build {part}: {type(error).__name__}: {one_line(error)}'
        ) from error


def one_line(error: BaseException) -> str:
    """Return the text of an error without line breaks and without mmengine's long advice."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return ' '.join(text.split('More details can be found at')[0].split())
