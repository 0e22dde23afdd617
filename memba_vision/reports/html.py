"""Report as one page without external files."""

from collections.abc import Iterable
from html import escape
from importlib import resources
from string import Template

import memba_vision
from memba_vision.reports.content import Content, Section, describe_run
from memba_vision.reports.figures import FigureOfReport
from memba_vision.reports.tables import Cell, Table

#: Shows the rows and curves of the methods whose names have one of the words.
FILTER = (
    '<p class="filter"><input type="search" id="filter" placeholder="filter methods" '
    'aria-label="show the methods whose names have one of these words"></p>'
)


def as_html(content: Content) -> str:
    """Return the whole report, with figures, style and script in a page that may load nothing."""
    return fill_page(
        title=content.title,
        facts=_facts(content),
        lead=FILTER if len({run.method for run in content.runs}) > 1 else '',
        sections='\n'.join([*map(_section, content.sections), _open_runs(content)]),
        notes_title='How to read it',
        notes=(*content.notes, *content.remarks),
        tool='tools/report.py',
    )


def fill_page(title: str, notes: Iterable[str], **parts: str) -> str:
    """Return a page of the shared frame and style.

    Args:
        title: plain text.
        notes: plain texts, the items of its last section.
        parts: HTML by the names in ``page.html``.
    """
    return Template(page_part('page.html')).substitute(
        title=escape(title),
        style=page_part('style.css'),
        script='\n'.join(map(page_part, ('sort.js', 'filter.js'))),
        notes=list_items(notes),
        version=escape(memba_vision.__version__),
        **parts,
    )


def page_part(name: str) -> str:
    """Return a file of the folder ``page``: a frame, the style or a script."""
    file = resources.files('memba_vision.reports').joinpath('page', name)
    return file.read_text(encoding='utf-8').strip()


def _facts(content: Content) -> str:
    runs, still_open = len(content.runs), len(content.open_runs)
    counts = {
        'method': len({run.method for run in content.runs}),
        'task': len({run.task for run in content.runs}),
        'seed': len({run.seed for run in content.runs}),
    }
    backbones = {run.backbone_name for run in content.runs}
    if len(backbones) > 1:
        counts = {'backbone': len(backbones), **counts}
    facts = [f'{count} {name}{"" if count == 1 else "s"}' for name, count in counts.items()]
    facts.append(f'{runs - still_open:,} of {runs:,} runs finished')
    spans = [f'<span>{fact}</span>' for fact in facts]
    if still_open:
        spans[-1] = f'<a class="open" href="#open-runs">{facts[-1]}</a>'
    return ''.join(spans)


def _open_runs(content: Content) -> str:
    if not content.open_runs:
        return ''
    listed = list_items(map(describe_run, content.open_runs))
    summary = f'<summary>{escape(content.open_summary())}</summary>'
    return f'<details class="open-runs">{summary}<ul id="open-runs">{listed}</ul></details>'


def _section(section: Section) -> str:
    name = escape(section.scores.title)
    tables = '\n'.join(map(table_html, section.tables))
    drawn = '\n'.join(figure_html(figure, wide=True) for figure in section.figures)
    return f'<section>\n<h2>{name}</h2>\n{tables}\n{drawn}\n</section>'


def table_html(table: Table) -> str:
    """Return a table with its caption."""
    heading = ''.join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    notes = f'<ul class="caption">{list_items(f"{note}." for note in table.notes)}</ul>\n'
    notes = notes if table.notes else ''
    rows = '\n'.join(f'<tr>{"".join(map(_cell, row))}</tr>' for row in table.rows)
    return (
        f'<div class="sheet">\n<p class="caption">{escape(table.caption)}.</p>\n'
        f'<div class="scroll"><table>\n<thead><tr>{heading}</tr></thead>\n'
        f'<tbody>\n{rows}\n</tbody>\n</table></div>\n{notes}</div>'
    )


def _cell(cell: Cell) -> str:
    best = ' class="best"' if cell.best else ''
    order = '' if cell.order is None else f'{cell.order:.10g}'
    text = escape(cell.text)
    if cell.published:
        text += f'<small>[{escape(cell.published)}]</small>'
    if cell.remark:
        text += f'<small class="remark">{escape(cell.remark)}</small>'
    return f'<td{best} data-order="{order}">{text}</td>'


def figure_html(figure: FigureOfReport, wide: bool = False) -> str:
    """Return a figure with its heading and caption; a phone scrolls ``wide`` ones sideways."""
    caption = f'<figcaption class="caption">{escape(figure.caption)}</figcaption>'
    title = f'<h3>{escape(figure.title)}</h3>'
    drawn = f'{caption}\n{figure.svg}'
    if figure.folded:
        drawn = f'<details><summary>{escape(figure.title)}</summary>\n{drawn}\n</details>'
    else:
        drawn = f'{title}\n{drawn}'
    kind = ' class="wide"' if wide else ''
    return f'<figure{kind}>\n{drawn}\n</figure>'


def list_items(texts: Iterable[str]) -> str:
    """Return the items of a list."""
    return '\n'.join(f'<li>{escape(text)}</li>' for text in texts)
