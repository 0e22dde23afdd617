"""Writing of a report on a folder of runs in four formats, and of the list of its runs."""

from pathlib import Path

from memba_vision.files import encode_surrogates, write_atomically
from memba_vision.reports.collect import collect_runs
from memba_vision.reports.content import Content, make_content
from memba_vision.reports.html import as_html
from memba_vision.reports.latex import as_latex
from memba_vision.reports.markdown import as_markdown
from memba_vision.reports.records import as_csv
from memba_vision.reports.run_list import RUN_LIST, write_run_list
from memba_vision.reports.scores import check_baseline

WRITERS = {
    'report.html': as_html,
    'report.md': as_markdown,
    'report.csv': as_csv,
    'report.tex': as_latex,
    RUN_LIST: lambda content: write_run_list(content.results),
}


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
    """Do as :func:`read_content`, and write the files of ``WRITERS`` to the folder ``out``."""
    content = read_content(folder, baseline)
    write_content(content, out)
    return content


def write_content(content: Content, out: str | Path) -> None:
    """Write the files of ``WRITERS`` to the folder ``out``."""
    for name, writer in WRITERS.items():
        write_atomically(Path(out, name), encode_surrogates(writer(content)))
