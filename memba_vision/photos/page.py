"""Self-contained page on a model that was adapted to photos."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from memba_vision.datasets.pixels import read_rgb
from memba_vision.datasets.vtab1k_tools.skipped_entries import SkippedEntry, as_text, shown
from memba_vision.engine.durations import duration
from memba_vision.files import escape_surrogates
from memba_vision.photos.figures import draw_confusions, draw_curves
from memba_vision.photos.outcome import Outcome, Share
from memba_vision.photos.source import TEST, TRAIN, VAL
from memba_vision.photos.task import PhotoTask
from memba_vision.photos.training import Choices
from memba_vision.reports.html import figure_html, fill_page, table_html
from memba_vision.reports.tables import NOTHING, Cell, Table
from memba_vision.runs.result import Result

MISTAKES = 12
THUMBNAIL = 240  # pixels
PERCENT = '\N{NO-BREAK SPACE}%'  # no line ends before the sign
FIT = 8  # classes of a matrix that fits on a phone
SURE = 0.05  # p below which a difference is called one


@dataclass(frozen=True)
class Trained:
    """A method that was trained on the photos.

    Attributes:
        title: its name for readers.
        result: of its run.
        outcome: its answers on the photos of the test.
        run: the folder of its run.
    """

    title: str
    result: Result
    outcome: Outcome
    run: Path


def make_page(
    name: str,
    task: PhotoTask,
    choices: Choices,
    trained: Sequence[Trained],
    commands: Sequence[tuple[str, str]],
) -> str:
    """Return the page's HTML.

    Args:
        name: of the photos.
        task: the photos.
        choices: of the user.
        trained: the method, and its baseline if there is one.
        commands: command lines that one may want next, and their purposes.
    """
    first = trained[0]
    sections = [
        _section('Beside simpler ways', table_html(_methods(task, trained))),
        _section('Class by class', table_html(_classes(task, first.outcome)), _confusions(first)),
        _section('The worst mistakes', _gallery(first.outcome)),
        _section('Learning', figure_html(draw_curves(trained), wide=True)),
        _section('The photos', _photos(task.remarks, task.skipped)),
        _section('Next', _commands(commands)),
    ]
    return fill_page(
        title=f'{escape_surrogates(name)}: how good is the model?',
        facts=_facts(task, choices, first),
        lead=_verdict(trained),
        sections='\n'.join(sections),
        notes_title='How to read it',
        notes=HOW_TO_READ,
        tool='memba-vision adapt',
    )


HOW_TO_READ = (
    'Everything here was measured on the photos of the test, which no model saw in its training. '
    'The photos to choose by decided after which epoch a training is taken.',
    'An interval is that of Wilson: in 95 of 100 such tests it holds the accuracy on many more '
    'photos like these. It says nothing of photos from elsewhere.',
    'Where --epochs does not say how long, a training ends when a quarter of its epochs, and 10 or '
    'more, has brought no better accuracy on the photos to choose by.',
    'The linear probe trains the last layer alone, on the same photos. A difference to it is '
    'called clear where a sign test on the photos that one of both has right gives p below '
    f'{SURE}.',
)


def _facts(task: PhotoTask, choices: Choices, first: Trained) -> str:
    facts = [
        f'{len(task.photos):,} photos',
        f'{len(task.classes):,} classes',
        f'{first.title} on {choices.backbone}',
        f'seed {choices.seed}',
        *(['classes balanced'] if choices.balance else []),
    ]
    return ''.join(f'<span>{escape(fact)}</span>' for fact in facts)


def _verdict(trained: Sequence[Trained]) -> str:
    share = trained[0].outcome.accuracy
    low, high = share.interval
    lines = [
        f'of the photos of the test are named right: {share.right:,} of {share.total:,}. On many '
        f'more photos like these it would be {low:.0f} to {high:.0f}{PERCENT}.'
    ]
    lines += [_against(trained[0], other) for other in trained[1:]]
    text = ''.join(f'<p>{escape(line)}</p>' for line in lines)
    return f'<section class="verdict"><b>{share.value:.1f}{PERCENT}</b>{text}</section>'


def _against(first: Trained, other: Trained) -> str:
    share = other.outcome.accuracy
    gain = first.outcome.accuracy.value - share.value
    p = first.outcome.p_against(other.outcome)
    is_clear = 'a clear difference' if p < SURE else 'no clear difference on so few photos'
    return (
        f'The {other.title} has {share.value:.1f}{PERCENT}: {gain:+.1f} points for '
        f'{first.title}, {is_clear} (p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{p:.2g}).'
    )


def _section(title: str, *parts: str) -> str:
    return f'<section>\n<h2>{escape(title)}</h2>\n' + '\n'.join(parts) + '\n</section>'


def _share_cells(share: Share | None, best: bool = False) -> tuple[Cell, Cell]:
    if share is None:
        return Cell(NOTHING), Cell(NOTHING)
    low, high = share.interval
    percent = Cell(f'{share.value:.1f}', share.value, best, published=f'{low:.0f} to {high:.0f}')
    return percent, Cell(f'{share.right:,} of {share.total:,}', share.right)


def _methods(task: PhotoTask, trained: Sequence[Trained]) -> Table:
    """Make a row per method, and one for the answer that is always the same."""
    counts = task.counts()
    sizes = [counts[name, TRAIN] for name in task.classes]
    simplest = trained[0].outcome.of_most_frequent(sizes)
    top = max(entry.outcome.accuracy.right for entry in trained)
    rows = [
        (
            Cell(entry.title),
            *_share_cells(entry.outcome.accuracy, entry.outcome.accuracy.right == top),
            Cell(f'{entry.result.trained_parameters:,}', entry.result.trained_parameters),
            _time(entry.result.training_seconds),
        )
        for entry in trained
    ]
    always = f'always \N{LEFT DOUBLE QUOTATION MARK}{shown(task.classes[int(np.argmax(sizes))])}'
    name = Cell(f'{always}\N{RIGHT DOUBLE QUOTATION MARK}')
    rows.append((name, *_share_cells(simplest), Cell('0', 0), Cell(NOTHING)))
    header = ('method', 'accuracy (%)', 'right', 'trained parameters', 'training time')
    caption = 'On the same photos of the test. The time is that until the epoch that was taken'
    return Table('methods', caption, header, tuple(rows))


def _time(seconds: float | None) -> Cell:
    return Cell(NOTHING) if seconds is None else Cell(duration(seconds), seconds)


def _classes(task: PhotoTask, outcome: Outcome) -> Table:
    """Make a row per class: its photos, and how many of them are found and named right."""
    counts, matrix = task.counts(), outcome.matrix
    rows = []
    for number, name in enumerate(task.classes):
        row, column = matrix[number], matrix[:, number]
        found = Share(int(row[number]), int(row.sum())) if row.sum() else None
        named = 100 * row[number] / column.sum() if column.sum() else None
        wrong = row.copy()
        wrong[number] = 0
        taken = f'{shown(task.classes[int(wrong.argmax())])} ({wrong.max()})' if wrong.any() else ''
        sizes = (counts[name, split] for split in (TRAIN, VAL, TEST))
        rows.append(
            (
                Cell(shown(name)),
                *_share_cells(found),
                Cell(NOTHING if named is None else f'{named:.0f}', named),
                Cell(taken or NOTHING, wrong.max() if wrong.any() else None),
                *(Cell(f'{size:,}', size) for size in sizes),
            )
        )
    header = (
        *('class', 'of its photos (%)', 'right', 'of those named so (%)', 'most often taken for'),
        *('to train', 'to choose', 'to test'),
    )
    caption = (
        'Of its photos: the share that is found, with its interval. Of those named so: the share '
        'of the answers that is right'
    )
    return Table('classes', caption, header, tuple(rows))


def _confusions(first: Trained) -> str:
    is_wide = len(first.outcome.classes) > FIT
    return figure_html(draw_confusions(first.outcome), is_wide)


def _gallery(outcome: Outcome) -> str:
    mistakes = outcome.mistakes()
    if not mistakes:
        return '<p>There is none: every photo of the test is named right.</p>'
    rest = f' The first {MISTAKES} of {len(mistakes):,}.' if len(mistakes) > MISTAKES else ''
    items = '\n'.join(_mistake(outcome, place) for place in mistakes[:MISTAKES])
    caption = f'The model was most sure of these. A wrong label would be among them.{rest}'
    return f'<p class="caption">{caption}</p>\n<ul class="gallery">\n{items}\n</ul>'


def _mistake(outcome: Outcome, place: int) -> str:
    scores, true = outcome.scores[place], outcome.labels[place]
    answer = int(scores.argmax())
    answered, right = (escape(shown(outcome.classes[label])) for label in (answer, true))
    path = outcome.paths[place]
    name = escape(shown(Path(path.parent.name, path.name)))
    return (
        f'<li><img src="{_thumbnail(path)}" alt="{right}" loading="lazy">'
        f'<p><b>{right}</b>, taken for <b>{answered}</b> '
        f'({100 * scores[answer]:.0f}{PERCENT} against {100 * scores[true]:.0f}{PERCENT})<br>'
        f'<small>{name}</small></p></li>'
    )


def _thumbnail(path: Path) -> str:
    image = Image.fromarray(read_rgb(path))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    content = BytesIO()
    image.save(content, 'JPEG', quality=80)
    return f'data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}'


def _photos(remarks: Sequence[str], skipped: Sequence[SkippedEntry]) -> str:
    items = ''.join(f'<li>{escape(escape_surrogates(remark))}</li>' for remark in remarks)
    text = as_text(skipped)
    left_out = f'<pre class="commands">{escape(text)}</pre>' if text else ''
    return f'<ul>{items}</ul>\n{left_out}'


def _commands(commands: Sequence[tuple[str, str]]) -> str:
    lines = [
        f'<i># {escape(purpose)}</i>\n{escape(escape_surrogates(command))}'
        for command, purpose in commands
    ]
    return '<pre class="commands">' + '\n'.join(lines) + '</pre>'
