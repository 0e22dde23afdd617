"""Options that several tools share, read without torch and mmengine."""

import argparse
import re
from collections.abc import Sequence
from typing import Any

from memba_vision.errors import UserError

#: The setting of the number of epochs.
EPOCHS = 'train_cfg.max_epochs'
MOST = 1e9  # of what positive_number reads
HELP = (
    'settings that replace those of the config, such as optim_wrapper.optimizer.lr=5e-4; '
    'KEY+=VALUE adds what the config does not have, or an entry to a list'
)


#: Help of an option or argument that asks for a run.
RUN = (
    'a run: its folder, a checkpoint in it, or an adapter file of tools/export.py (with the '
    'config of its training)'
)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share."""
    parser.add_argument('--work-dir', help='where logs, checkpoints and results go')
    add_options_argument(parser)
    parser.add_argument(
        '--backbone',
        metavar='NAME',
        help="a model of configs/_base_/models, or a file like those, in place of the config's own",
    )
    parser.add_argument(
        '--peft',
        metavar='METHOD',
        help="a method of configs/_base_/peft, or a file like those, in place of the config's own",
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes of a distributed run are started',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_trial_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run that tries settings."""
    parser.add_argument(
        '--try',
        dest='tried',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help='settings as of --cfg-options that the name of the result has; '
        'scale=VALUE: that of every adapter that has one',
    )
    parser.add_argument(
        '--validate',
        action='store_true',
        help='train on train800, and measure on val200 in place of the test',
    )


class Typed(str):
    """Value as it was typed; its type depends on the setting that it replaces."""


class OptionsAction(argparse.Action):
    """Collects ``KEY=VALUE`` in a dict of :class:`Typed` values."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Add what one occurrence of the option has."""
        given = parse_options(values, self.option_strings[0])
        setattr(namespace, self.dest, {**getattr(namespace, self.dest), **given})


def add_options_argument(parser: Any, help: str = HELP) -> None:
    """Add ``--cfg-options`` to a parser or a group of it."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        default={},
        metavar='KEY=VALUE',
        help=help,
    )


class EpochsAction(argparse.Action):
    """Collects the number of epochs among the settings of ``--cfg-options``."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        """Add the setting, in the form that the tool keeps settings in."""
        before = namespace.cfg_options
        setting = f'{EPOCHS}={values}'
        added = {**before, **parse_options([setting])} if isinstance(before, dict) else None
        namespace.cfg_options = [*before, setting] if added is None else added


def add_epochs_argument(parser: Any) -> None:
    """Add ``--epochs`` to a parser that has ``--cfg-options``, or to a group of it."""
    parser.add_argument(
        '--epochs',
        type=positive,
        action=EpochsAction,
        dest='cfg_options',
        default=argparse.SUPPRESS,
        metavar='N',
        help='train for N epochs; the whole schedule follows, warm-up included',
    )


def positive(text: str) -> int:
    """Read a number of one or more, for argparse."""
    return _whole_number(text, 1)


def not_negative(text: str) -> int:
    """Read a number of zero or more, for argparse."""
    return _whole_number(text, 0)


def seed_number(text: str) -> int:
    """Read a seed that torch and numpy both take, for argparse."""
    return _whole_number(text, 0, 2**32 - 1)


def port_number(text: str) -> int:
    """Read the number of a port, for argparse."""
    return _whole_number(text, 1, 65535)


def positive_number(text: str) -> float:
    """Read a number above zero, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= MOST:
        raise argparse.ArgumentTypeError(f'expected more than 0, up to {MOST:g}, found {text}')
    return number


def _whole_number(text: str, least: int, most: int | None = None) -> int:
    is_number = text.isascii() and text.isdigit()
    if not is_number or int(text) < least or (most is not None and int(text) > most):
        allowed = f'{least} or more' if most is None else f'{least} to {most}'
        raise argparse.ArgumentTypeError(f'expected {allowed}, found {text}')
    return int(text)


def parse_options(options: Sequence[str], name: str = '--cfg-options') -> dict[str, Typed]:
    """Settings by key, as they were typed; a key that is to be added ends in ``+``.

    Args:
        options: as they were typed.
        name: the option that errors name.

    Raises:
        UserError: one of them is not ``KEY=VALUE``.
    """
    found = {}
    for option in options:
        key, equals, value = option.partition('=')
        if not equals or not re.fullmatch(r'[^\s=+]+\+?', key):
            raise UserError(
                f'{name}: expected KEY=VALUE, found {option!r} (no blanks around =; other '
                f'arguments go before {name})'
            )
        found[key] = Typed(value)
    return found
