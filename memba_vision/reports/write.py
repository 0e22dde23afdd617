"""Writing of a report on a folder of runs: four formats, figures, and the list of its runs."""

import re
from pathlib import Path

from memba_vision.files import encode_surrogates, write_atomically
from memba_vision.reports.collect import collect_runs
from memba_vision.reports.content import Content, make_content
from memba_vision.reports.figures import FIGURE_NAMES
from memba_vision.reports.html import as_html
from memba_vision.reports.latex import as_latex
from memba_vision.reports.markdown import as_markdown
from memba_vision.reports.records import as_csv
from memba_vision.reports.run_list import RUN_LIST, write_run_list
from memba_vision.reports.scores import check_baseline
from memba_vision.reports.svg import write_figure

WRITERS = {
    'report.html': as_html,
    'report.md': as_markdown,
    'report.csv': as_csv,
    'report.tex': as_latex,
    RUN_LIST: lambda content: write_run_list(content.results),
}
#: The folder of figures, beside the page, and their formats.
FIGURES = 'report_figures'
FORMATS = ('pdf', 'svg')
#: The names that a report gives them; other files in the folder are somebody's own.
OF_A_REPORT = re.compile(rf'({"|".join(FIGURE_NAMES)})(_[0-9]+)?[.]({"|".join(FORMATS)})')


def read_content(folder: str | Path, baseline: str | None = None) -> Content:
    """Collect the runs below ``folder``, and make their tables and figures.

    Args:
        folder: folder of a sweep, any folder with runs below it, or a list of runs.
        baseline: the method that others are compared with; None stands for a usual one.

    Returns:
        The content of the report.

    Raises:
        UserError: there is no finished run, a record cannot be read, or nothing was measured with
            the baseline.
    """
    runs, remarks = collect_runs(folder)
    check_baseline(runs, baseline)
    title = Path(folder).resolve().name
    return make_content(f'{title}: results', runs, remarks, baseline)


def write_report(folder: str | Path, out: str | Path, baseline: str | None = None) -> Content:
    """Do as :func:`read_content` and :func:`write_content`."""
    content = read_content(folder, baseline)
    write_content(content, out)
    return content


def write_content(content: Content, out: str | Path) -> None:
    """Write the files of ``WRITERS`` to the folder ``out``, and figures to ``FIGURES`` in it."""
    for name, writer in WRITERS.items():
        write_atomically(Path(out, name), encode_surrogates(writer(content)))
    written = set()
    for number, section in enumerate(content.sections, 1):
        for figure in section.figures:
            # The titles of sections are long: their number tells them apart.
            name = figure.name if len(content.sections) == 1 else f'{figure.name}_{number}'
            for ending in FORMATS:
                path = Path(out, FIGURES, f'{name}.{ending}')
                write_figure(figure.drawn, path)
                written.add(path)
    for path in Path(out, FIGURES).glob('*'):
        if OF_A_REPORT.fullmatch(path.name) and path not in written:
            path.unlink()  # of a section that is gone
