"""Methods by backbones: the parameters that each trains there, or the reason why there are none."""

import re
from collections.abc import Sequence
from string import ascii_lowercase

from memba_vision.errors import UserError
from memba_vision.runs.base_models import read_base_model
from memba_vision.runs.presets import read_preset
from memba_vision.zoo.methods import all_methods
from memba_vision.zoo.model_size import build_without_weights, measure_size

#: The same place that several methods or backbones lack is one reason.
LACKING = re.compile(r'(needs "[^"]+" \(.+\)), which \w+ has not$')


def backbone_table(backbones: Sequence[str]) -> tuple[list[tuple[str, ...]], dict[str, str]]:
    """Count what every method trains on every backbone, the head aside.

    Args:
        backbones: names of models, as ``--backbone`` takes them.

    Returns:
        A header with a row per method, and the reasons by the letter that stands for each in the
        table.

    Raises:
        UserError: there is no such backbone.
    """
    reasons: dict[str, str] = {}
    columns = [_column(name, reasons) for name in backbones]
    presets = [method.preset for method in all_methods()]
    rows = [('preset', *backbones), *zip(presets, *columns, strict=True)]
    return rows, {letter: reason for reason, letter in reasons.items()}


def notes(reasons: dict[str, str]) -> str:
    """Return the reasons as a Markdown list."""
    return ''.join(f'* {letter}: {reason}.\n' for letter, reason in reasons.items())


def _column(name: str, reasons: dict[str, str]) -> list[str]:
    """Return the cells of a backbone; new reasons are added to ``reasons``, with a letter each."""
    config = read_base_model(name)
    backbone = build_without_weights(config)
    overrides = config.get('adapter_settings', {})
    cells = []
    for method in all_methods():
        try:
            adapters = read_preset(method.preset, overrides).adapters
            cells.append(f'{measure_size(backbone, adapters).trained:,}')
        except UserError as error:
            cells.append(reasons.setdefault(_reason(error), _letter(len(reasons))))
    return cells


def _reason(error: UserError) -> str:
    """Return the place that is lacking, or else the whole text of an error."""
    lacking = LACKING.search(str(error))
    return lacking[1] if lacking else str(error)


def _letter(number: int) -> str:
    """Return 'a' to 'z', then 'aa' and so on."""
    first, last = divmod(number, len(ascii_lowercase))
    return (ascii_lowercase[first - 1] if first else '') + ascii_lowercase[last]
