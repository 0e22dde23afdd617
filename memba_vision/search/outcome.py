"""What a search leaves: a config that trains the best found, and a short table."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config

from memba_vision.files import encoded, readable, write_atomically
from memba_vision.reports.text_tables import markdown_table
from memba_vision.search.search import Search, Trial

ROWS = 10
BEST, TABLE = 'best.py', 'search.md'


def write_outcome(task: Search, trials: Sequence[Trial]) -> str:
    """Write ``best.py`` and ``search.md`` into the folder of a search.

    Args:
        task: the search.
        trials: its finished trials, the best first.

    Returns:
        The table.
    """
    table = trial_table(trials)
    write_atomically(task.folder / TABLE, encoded(table))
    write_atomically(task.folder / BEST, encoded(_best_file(task, trials[0])))
    return table


def best_config(task: Search, best: Trial) -> Config:
    """The config with the best found in it: the splits and the epochs are the config's own."""
    config = deepcopy(task.config)
    if not best.is_default:
        best.step.apply(config, best.values)
    config.work_dir = str(task.folder / 'best')
    for key in ('peft', 'launcher'):
        config.pop(key, None)
    return config


def trial_table(trials: Sequence[Trial]) -> str:
    """The best trials in Markdown, and the config as it is wherever it stands among them."""
    shown = [t for place, t in enumerate(trials) if place < ROWS or t.is_default]
    rows = [('trial', 'settings', 'validation top-1 (%)')]
    rows += [(f'{t.step.name} {t.number}', t.describe(), f'{t.accuracy:.2f}') for t in shown]
    return markdown_table(rows, numbers_from=2)


def _best_file(task: Search, best: Trial) -> str:
    source = Path(task.config.filename)
    lines = [
        f'# The best of a search over {source.name} with {task.trial_epochs} epochs a trial:',
        f'# {best.describe()},',
        f'# {best.accuracy:.2f} % on the validation images.',
        '# It trains on these too, beside the training images.',
    ]
    return readable('\n'.join(lines)) + '\n' + best_config(task, best).pretty_text
