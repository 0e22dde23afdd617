"""Writing of a report on a folder of runs in four formats, and of the list of its runs."""

from pathlib import Path

from memba_vision.files import encode_surrogates, write_atomically
from memba_vision.reports.collect import collect_runs
from memba_vision.reports.content import Content, make_content
from memba_vision.reports.html import as_html
from memba_vision.reports.latex import as_latex
from memba_vision.reports.markdown import as_markdown
from memba_vision.reports.records import as_csv
from memba_vision.reports.run_list import write_run_list
from memba_vision.reports.scores import check_baseline

WRITERS = {
    'report.html': as_html,
    'report.md': as_markdown,
    'report.csv': as_csv,
    'report.tex': as_latex,
    'runs.csv': lambda content: write_run_list(content.results),
}


def write_report(folder: str | Path, out: str | Path, baseline: str | None = None) -> Content:
    """Collect the runs below ``folder``, and write the files of ``WRITERS``.

    Args:
        folder: folder of a sweep, or any folder with runs below it.
        out: folder for the files.
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
    content = make_content(f'{title}: results', runs, remarks, baseline)
    for name, writer in WRITERS.items():
        write_atomically(Path(out, name), encode_surrogates(writer(content)))
    return content
