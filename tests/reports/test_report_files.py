"""The report's four files, and its figures."""

import csv
import json
import re
import shutil
import subprocess
import sys
from itertools import combinations

import pytest
from browser import page_errors
from helpers import ENVIRONMENT, TOOLS, run_tool
from made_runs import make_result, plan, save_runs, set_status, with_group_means
from matplotlib.figure import Figure
from matplotlib.text import Text
from selenium.webdriver.common.by import By

from memba_vision.datasets.tasks import MINI_TASKS
from memba_vision.files import encode_surrogates
from memba_vision.reports.collect import collect_runs
from memba_vision.reports.content import make_content
from memba_vision.reports.figures import draw_sizes
from memba_vision.reports.html import as_html
from memba_vision.reports.latex import FITTED, as_latex, escape
from memba_vision.reports.markdown import as_markdown
from memba_vision.reports.records import as_csv
from memba_vision.reports.run_list import write_run_list
from memba_vision.reports.scores import scores_by_suite
from memba_vision.reports.svg import settings, write_figure
from memba_vision.reports.tables import NOTHING, summary_table, task_table
from memba_vision.reports.text_tables import markdown_table
from memba_vision.reports.write import FORMATS
from memba_vision.runs.backbone import Backbone


def table_of(make, folder) -> dict[str, dict]:
    """Cells by method and column."""
    (scores,) = scores_by_suite(collect_runs(folder)[0])
    table = make(scores)
    return {row[0].text: dict(zip(table.header, row, strict=True)) for row in table.rows}


@pytest.fixture
def vtab(tmp_path):
    """Two methods on VTAB-1k with two seeds; one run failed and one was never started."""
    plan(tmp_path, ['memba', 'lorap_x'], with_group_means(0, 0, 0), [0, 1])
    results = [
        make_result(
            method,
            task,
            seed,
            top1 + seed + (seed == 1) * 0.5 * (method == 'memba'),
            backbone=Backbone('vim', 'vim_small'),
        )
        for method, means in [('memba', (77, 85, 61)), ('lorap_x', (76, 83, 60))]
        for task, top1 in with_group_means(*means).items()
        for seed in (0, 1)
        if (method, task, seed) not in {('memba', 'kitti', 1), ('lorap_x', 'dtd', 0)}
    ]
    results = [r for r in results if (r.method, r.task) != ('lorap_x', 'svhn')]
    save_runs(tmp_path, results)
    set_status(tmp_path, 'kitti_memba_seed1', 'failed', 'the loss is nan <&>')
    return tmp_path


@pytest.fixture
def mini(tmp_path):
    """Three methods on mini-VTAB with two seeds each."""
    tasks = ('digits', 'sprites_location', 'sprites_orientation')
    costs = dict(training_seconds=90.0, peak_memory_mib=1500.0)
    accuracies = {'memba': 81.04, 'lora': 81.0, 'linear-probing': 52.0}  # as older versions wrote
    return save_runs(
        tmp_path,
        [
            make_result(method, task, seed, top1 + seed - len(task), **costs)
            for method, top1 in accuracies.items()
            for task in tasks
            for seed in (0, 1)
        ],
    )


def test_published_figures_stand_beside_groups_and_average(vtab):
    memba = table_of(summary_table, vtab)['memba']
    assert memba['Natural'].text == '77.75 ± 1.06'
    assert [memba[name].published for name in ('Natural', 'Specialized', 'Structured')] == [
        '77.07',
        '85.66',
        '61.70',
    ]
    assert memba['average'].published == '72.40'
    tasks = table_of(task_table, vtab)
    assert not any(cell.published for row in tasks.values() for cell in row.values())


def test_published_figures_are_for_vtab_alone(mini):
    rows = table_of(summary_table, mini)
    assert not any(cell.published for row in rows.values() for cell in row.values())


def test_means_of_fewer_runs_say_so_and_are_never_best(vtab):
    rows = table_of(summary_table, vtab)
    assert rows['memba']['Structured'].remark == '15 of 16 runs'
    assert rows['memba']['average'].remark == '37 of 38 runs'
    assert rows['lorap_x']['average'].remark == '18 of 19 tasks'
    assert not rows['memba']['average'].best
    assert not rows['lorap_x']['average'].best
    assert rows['lorap_x']['Structured'].best
    assert rows['memba']['Specialized'].best
    tasks = table_of(task_table, vtab)
    assert tasks['lorap_x']['svhn'].text == NOTHING
    assert tasks['lorap_x']['dtd'].remark == '1 of 2 seeds'


def test_ties_are_best_together(mini):
    rows = table_of(task_table, mini)
    assert rows['memba']['digits'].text == rows['lora']['digits'].text == '75.5 ± 0.7'
    assert [rows[m]['digits'].best for m in ('memba', 'lora', 'linear_probing')] == [1, 1, 0]


def test_costs(mini):
    row = table_of(summary_table, mini)['lora']
    assert row['training time (min)'].text == '1.5'
    assert row['peak memory (MiB)'].text == '1,500'


def test_costs_that_are_partly_known(mini):
    save_runs(mini / 'more', [make_result('lora', seed=5), make_result('old', seed=5)])
    rows = table_of(summary_table, mini)
    assert rows['lora']['training time (min)'].remark == 'of 6 of 7 runs'
    assert rows['old']['training time (min)'].text == 'unknown'


def test_the_tool_names_what_is_not_finished(vtab, tmp_path):
    outcome = run_tool('report', vtab, '--out', tmp_path / 'out')
    assert outcome.status == 0
    assert 'not finished: kitti_memba_seed1: failed, the loss is nan <&>' in outcome.out
    assert 'not finished: svhn_lorap_x_seed0: missing' in outcome.out
    markdown = (tmp_path / 'out' / 'report.md').read_text()
    assert '76 runs: 72 finished, 3 missing, 1 failed.' in markdown
    assert '37 of 38 runs' in markdown
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert 'the loss is nan &lt;&amp;&gt;' in page


def test_csv_has_a_line_per_number(vtab):
    run_tool('report', vtab)
    rows = list(csv.DictReader((vtab / 'report.csv').read_text().splitlines()))
    assert len(rows) == 2 * (19 + 3 + 2)
    line = next(r for r in rows if (r['method'], r['over']) == ('memba', 'average'))
    assert line['published'] == '72.4'
    assert (line['runs'], line['of_runs']) == ('37', '38')
    assert line['not_finished'] == 'kitti_memba_seed1: failed'
    assert float(line['top1']) == pytest.approx(72.7, abs=0.5)
    groups = next(r for r in rows if (r['method'], r['over']) == ('memba', 'groups'))
    assert float(groups['top1']) == pytest.approx((77.75 + 85.75 + 61.75) / 3, abs=0.1)
    assert (groups['runs'], groups['published']) == ('37', '')
    specialized = next(r for r in rows if (r['method'], r['name']) == ('memba', 'Specialized'))
    value, low, high = (float(specialized[name]) for name in ('top1', 'low', 'high'))
    # Of two seeds, 1.5 points apart.
    assert (low, high) == pytest.approx((value - 12.706 * 0.75, value + 12.706 * 0.75), abs=1e-2)
    assert (line['low'], line['high']) == ('', ''), 'a run is missing'
    missing = next(r for r in rows if (r['method'], r['name']) == ('lorap_x', 'svhn'))
    assert (missing['top1'], missing['tasks'], missing['runs']) == ('', '0', '0')


def test_csv_has_the_differences_to_the_baseline(vtab):
    text = as_csv(make_content('t', *collect_runs(vtab), 'lorap_x'))
    rows = list(csv.DictReader(text.splitlines()))
    memba = {(r['over'], r['name']): r for r in rows if r['method'] == 'memba'}
    average = memba['average', 'VTAB-1k']
    assert (average['baseline'], average['pairs'], average['of_pairs']) == ('lorap_x', '34', '38')
    assert average['no_pair'] == 'dtd with seed 0; svhn with seeds 0, 1; kitti with seed 1'
    low, value, high = (float(average[f'difference{end}']) for end in ('_low', '', '_high'))
    assert 1 < low < value < high < 2
    assert float(average['p']) == float(average['p_holm']) < 0.001
    assert float(memba['group', 'Specialized']['difference']) == pytest.approx(2.25)
    assert float(memba['task', 'kitti']['difference']) == pytest.approx(1.0)
    assert memba['task', 'kitti']['p'] == memba['task', 'svhn']['difference'] == ''
    assert {r['difference'] for r in rows if r['method'] == 'lorap_x'} == {''}


def test_both_averages_stand_beside_each_other(vtab):
    row = table_of(summary_table, vtab)['memba']
    assert float(row['average'].text.split()[0]) == pytest.approx(72.66, abs=0.1)
    assert float(row['average of groups'].text.split()[0]) == pytest.approx(75.08, abs=0.1)
    assert row['average of groups'].remark == '37 of 38 runs'
    assert row['average of groups'].published == ''


def test_differences_have_intervals_by_group_and_name_the_pairs_that_are_missing(vtab):
    content = make_content('t', *collect_runs(vtab), 'lorap_x')
    table = content.sections[0].tables[2]
    assert table.header == (
        *('method', 'Natural', 'Specialized', 'Structured', 'average', 'p', 'p of 1 (Holm)'),
    )
    (row,) = table.rows
    assert row[0].text == 'memba'
    assert row[1].text == '+1.29 [+1.18, +1.40]'
    assert row[2].text == '+2.25'  # on each of its tasks, so that nothing says how it varies
    assert [cell.remark for cell in row[1:5]] == [
        *('11 of 14 pairs', '', '15 of 16 pairs', '34 of 38 pairs'),
    ]
    missing = 'memba: no pair of dtd with seed 0; svhn with seeds 0, 1; kitti with seed 1'
    assert table.notes == (missing,)
    assert f'* {missing}.' in as_markdown(content)
    assert f'% {missing}' in as_latex(content)


def test_what_every_task_lacks_is_said_once(mini):
    save_runs(mini / 'more', [make_result('lora', task, 7) for task in MINI_TASKS])
    content = make_content('t', *collect_runs(mini), 'lora')
    missing = 'memba, linear_probing: no pair of every task with seed 7'
    assert content.sections[0].tables[2].notes == (missing,)
    assert f'<li>{missing}.</li>' in as_html(content)


def test_a_list_of_runs_is_reported_like_their_folder(mini, tmp_path):
    folder = tmp_path / 'from_folder'
    assert run_tool('report', mini, '--out', folder).status == 0
    outcome = run_tool('report', folder / 'runs.csv', '--baseline', 'lora')
    assert outcome.status == 0
    assert f'| memba          |   +0.04 |   {NOTHING} |' in outcome.out
    assert 'written to' not in outcome.out
    again = tmp_path / 'from_list'
    assert run_tool('report', folder / 'runs.csv', '--out', again).status == 0
    for name in ('runs.csv', 'report.csv', 'report.tex'):
        assert (again / name).read_text() == (folder / name).read_text()


@pytest.mark.parametrize(
    ('text', 'reason'), [('a,b\n1,2\n', 'is not a list of runs'), ('', 'lists no runs')]
)
def test_another_file_is_an_error(tmp_path, text, reason):
    (tmp_path / 'other.csv').write_text(text)
    assert reason in run_tool('report', tmp_path / 'other.csv').error()


def test_of_two_lines_of_one_run_the_later_counts(tmp_path):
    lines = write_run_list([make_result(top1=10.0)]), write_run_list([make_result(top1=20.0)])
    path = tmp_path / 'runs.csv'
    path.write_text(lines[0] + lines[1].split('\n', 1)[1])
    (run,), (remark,) = collect_runs(path)
    assert run.result.value == 20.0
    assert 'is left out' in remark


def test_a_list_may_have_names_that_are_not_utf8(tmp_path):
    path = tmp_path / 'runs.csv'
    path.write_bytes(encode_surrogates(write_run_list([make_result(task='c\udcfe')])))
    (run,), _ = collect_runs(path)
    assert run.task == 'c\udcfe'


def test_unknown_baseline_is_an_error(mini):
    error = run_tool('report', mini, '--baseline', 'dora').error()
    assert 'no such method here; there are linear_probing, lora, memba' in error


@pytest.mark.parametrize(
    ('wanted', 'chosen'), [(None, 'lora'), ('memba', 'memba'), ('linear_probing', 'linear_probing')]
)
def test_the_baseline(mini, wanted, chosen):
    content = make_content('t', *collect_runs(mini), wanted)
    assert [section.baseline for section in content.sections] == [chosen]


def test_latex_is_escaped_and_balanced(vtab):
    runs, remarks = collect_runs(vtab)
    text = as_latex(make_content('50 % of_all & {more}', runs, remarks, None))
    assert len(set(re.findall(r'\\label{(.*?)}', text))) == 3
    assert text.count(r'\begin{') == text.count(r'\end{') == 6
    plain = re.sub(r'\\[\\{}%&_#$]', '', re.sub(r'^%.*\n', '', text, flags=re.MULTILINE))
    depth = 0
    for character in plain:
        depth += (character == '{') - (character == '}')
        assert depth >= 0
    assert depth == 0
    assert plain.count('$') % 2 == 0
    for environment in re.findall(r'\\begin{tabular}{(\w+)}(.*?)\\end', text, re.DOTALL):
        columns, body = environment
        rows = [line for line in body.splitlines() if line.endswith(r'\\')]
        assert all(len(re.findall(r'(?<!\\)&', row)) == len(columns) - 1 for row in rows)
    assert r'lorap\_x' in text
    assert {'±', NOTHING}.isdisjoint(text)


DOCUMENT = r"""\documentclass[twocolumn]{article}
\usepackage{booktabs,graphicx}
\begin{document}
See \ref{tab:vtab-1k-means}.
\input{report.tex}
\sbox0{FITTED
\rule{50pt}{1pt}}}\typeout{narrow: \the\wd0}
\end{document}
"""


@pytest.mark.skipif(shutil.which('pdflatex') is None, reason='needs pdflatex')
def test_latex_compiles_and_what_fits_is_in_the_size_of_the_text(vtab):
    text = as_latex(make_content('t', *collect_runs(vtab), 'lorap_x'))
    assert text.count(FITTED) == 3
    (vtab / 'report.tex').write_text(text)
    (vtab / 'paper.tex').write_text(DOCUMENT.replace('FITTED', FITTED))
    command = ['pdflatex', '-interaction=nonstopmode', '-halt-on-error', 'paper.tex']
    for _ in range(2):
        done = subprocess.run(command, cwd=vtab, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:]
    assert 'Overfull' not in done.stdout
    assert 'narrow: 50.0pt' in done.stdout
    assert 'undefined' not in done.stdout
    assert (vtab / 'paper.pdf').stat().st_size > 10_000


def test_latex_specials():
    assert escape('a_b & 50 % {x} $1 #2 ~ ^ \\ ±') == (
        r'a\_b \& 50 \% \{x\} \$1 \#2 \textasciitilde{} \textasciicircum{} \textbackslash{} $\pm$'
    )


def test_a_suite_without_a_finished_run_is_left_out(tmp_path):
    save_runs(tmp_path, [make_result()])
    other = tmp_path / 'flowers_memba'
    other.mkdir()
    record = {'config': {'task': 'flowers'}, 'config_file': 'a/flowers_memba.py', 'seed': 0}
    (other / 'run.json').write_text(json.dumps([record]))
    outcome = run_tool('report', tmp_path)
    assert outcome.status == 0, outcome
    assert 'flowers_memba' in outcome.out + outcome.err


def test_one_seed(tmp_path):
    save_runs(tmp_path, [make_result(), make_result('lora')])
    content = make_content('t', *collect_runs(tmp_path), None)
    (section,) = content.sections
    assert 'one seed, hence no deviation' in section.tables[0].caption


def test_methods_of_one_size_are_drawn(mini):
    (scores,) = scores_by_suite(collect_runs(mini)[0])
    assert {run.result.trained_parameters for run in scores.runs} == {74_698}
    with settings():
        svg = draw_sizes(scores).svg
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1])
    places = {float(x) for x in re.findall(r'<use [^>]*\bx="([\d.]+)"[^>]*stroke: #', svg)}
    assert len(places) == 1, places
    assert 0.3 * width < places.pop() < 0.7 * width


def test_a_figure_is_drawn_once_for_each_file(mini, tmp_path, monkeypatch):
    figure = make_content('made', *collect_runs(mini), None).sections[0].figures[0].drawn
    draw, drawn = Figure.draw, []
    monkeypatch.setattr(Figure, 'draw', lambda self, to: (drawn.append(to), draw(self, to)))
    for ending in FORMATS:
        write_figure(figure, tmp_path / f'sizes.{ending}')
    assert len(drawn) == len(FORMATS)


def test_one_method_has_no_differences(tmp_path):
    save_runs(tmp_path, [make_result()])
    (section,) = make_content('t', *collect_runs(tmp_path), None).sections
    assert [figure.name for figure in section.figures] == ['sizes', 'curves']


@pytest.mark.browser
def test_the_page_opens_with_its_figures(mini, browser):
    run_tool('report', mini)
    # Nothing but the page may be asked for, wherever it comes from.
    page = (mini / 'report.html').read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    browser.get(f'file://{mini}/report.html')
    assert page_errors(browser) == []
    figures = browser.find_elements(By.CSS_SELECTOR, 'figure svg')
    assert len(figures) == 3
    for figure in figures:
        assert figure.is_displayed()
        assert figure.size['width'] > 300
        assert figure.size['height'] > 100
    loaded = browser.execute_script("return performance.getEntriesByType('resource').length")
    assert loaded == 0
    assert browser.execute_script('return document.documentElement.scrollWidth') <= 1200


@pytest.mark.browser
def test_a_click_sorts(mini, browser):
    run_tool('report', mini)
    browser.get(f'file://{mini}/report.html')

    def names() -> list[str]:
        cells = browser.find_elements(By.CSS_SELECTOR, 'table:first-of-type td:first-child')
        return [cell.text for cell in cells[:3]]

    header = browser.find_elements(By.CSS_SELECTOR, 'th')
    average = next(cell for cell in header if cell.text.startswith('average'))
    average.click()
    assert names() == ['memba', 'lora', 'linear_probing']
    average.click()
    assert names() == ['linear_probing', 'lora', 'memba']
    average.click()
    header[0].click()
    assert names() == ['linear_probing', 'lora', 'memba']
    header[0].click()
    assert names() == ['memba', 'lora', 'linear_probing']
    assert page_errors(browser) == []


def names_in(text: str) -> list[str]:
    """The methods of the first table in a text, in its order."""
    found = re.findall(r'\b(memba|lora|linear[-_]probing)\b', text.replace('\\', ''))
    return list(dict.fromkeys(found))[:3]


def test_terminal_and_files_name_the_methods_in_one_order_the_best_first(mini):
    outcome = run_tool('report', mini)
    order = ['memba', 'lora', 'linear_probing']
    tables = [outcome.out, (mini / 'report.html').read_text().partition('<tbody>')[2]]
    tables += [(mini / f'report.{end}').read_text() for end in ('md', 'csv', 'tex')]
    assert [names_in(text) for text in tables] == [order] * 5


def test_a_part_of_a_suite_that_was_chosen_is_whole(tmp_path):
    tasks = ('dtd', 'pets', 'eurosat')
    small = Backbone('vim', 'vim_small')
    results = [make_result('lora', task, backbone=small) for task in tasks]
    results += [make_result('memba', task, top1=91.0, backbone=small) for task in tasks]
    content = make_content('t', *collect_runs(save_runs(tmp_path, results)), None)
    (section,) = content.sections
    means = section.tables[0]
    assert means.name == 'VTAB-1k (3 of 19 tasks): means'
    assert means.header[3:6] == ('Natural (2 of 7 tasks)', 'Specialized (1 of 4 tasks)', 'average')
    memba = means.rows[0]
    assert (memba[5].text, memba[5].best, memba[5].remark) == ('91.00', True, '')
    assert not any(cell.published for cell in memba), 'that is of all tasks'
    assert 'Hollow' not in section.figures[0].caption
    average = next(
        r for r in csv.DictReader(as_csv(content).splitlines()) if r['over'] == 'average'
    )
    assert average['name'] == 'VTAB-1k (3 of 19 tasks)'


def test_names_in_the_figure_of_sizes_do_not_overlap(tmp_path):
    results = [
        make_result(f'method_{n:02d}', top1=90 + n % 3 / 10, trained_parameters=10_000 + n % 5)
        for n in range(40)
    ]
    (scores,) = scores_by_suite(collect_runs(save_runs(tmp_path, results))[0])
    with settings():
        figure = draw_sizes(scores).drawn
        figure.draw_without_rendering()
        (axes,) = figure.axes
        boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert len(boxes) == 40
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(axes.bbox.padded(1).containsx(x) for box in boxes for x in (box.x0, box.x1))


def test_figures_are_files_for_papers_too(mini):
    run_tool('report', mini)
    folder = mini / 'report_figures'
    names = {f'{name}.{end}' for name in ('sizes', 'differences', 'curves') for end in FORMATS}
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert files.keys() == names
    assert all(
        file.startswith(b'%PDF' if name.endswith('f') else b'<?xml') for name, file in files.items()
    )
    svg = files['sizes.svg'].decode()
    assert 'currentColor' not in svg
    assert '>memba</text>' in svg, 'text stays text'
    assert b'/Type3' not in files['sizes.pdf'], 'publishers refuse such fonts'
    run_tool('report', mini)
    assert files == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_figures_of_sections_that_are_gone_are_removed(mini):
    folder = mini / 'report_figures'
    run_tool('report', mini)
    figures = {path.name for path in folder.iterdir()}
    for name in ('sizes_2.pdf', 'differences_1.svg', 'my_own.pdf', 'sizes_of_mine.svg'):
        (folder / name).write_text('earlier')
    run_tool('report', mini)
    assert {path.name for path in folder.iterdir()} == figures | {'my_own.pdf', 'sizes_of_mine.svg'}


def test_many_missing_runs_are_counted_and_folded(mini):
    plan(mini, ['memba'], ['digits'], range(2, 102))
    set_status(mini, 'digits_memba_seed50', 'failed', 'the loss is nan')
    outcome = run_tool('report', mini)
    said = [line for line in outcome.out.splitlines() if line.startswith('not finished')]
    assert said[0] == 'not finished: digits_memba_seed50: failed, the loss is nan'
    assert said[-1] == 'not finished: 80 more, see report.md'
    assert len(said) == 21
    page = (mini / 'report.html').read_text()
    summary = '100 of 118 runs have no result: 1 failed, 99 missing'
    folded = page.index(f'<details class="open-runs"><summary>{summary}</summary>')
    assert page.index('</table>') < folded
    assert (mini / 'report.md').read_text().count('seed77: missing') == 1


def test_a_report_needs_no_torch(mini):
    """Which takes seconds to import, and half a gigabyte."""
    tool = TOOLS / 'report.py'
    command = [sys.executable, '-X', 'importtime', tool, mini]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    imported = {line.rpartition('|')[2].strip() for line in done.stderr.splitlines()}
    assert 'memba_vision.reports.write' in imported
    assert not imported & {'torch', 'mmpretrain', 'mmengine.runner', 'numba', 'scipy.stats'}


@pytest.mark.browser
def test_the_filter_shows_some_methods(mini, browser):
    run_tool('report', mini)
    browser.get(f'file://{mini}/report.html')

    field = browser.find_element(By.ID, 'filter')
    field.send_keys('MEM prob')
    rows = browser.find_elements(By.CSS_SELECTOR, 'tbody tr')
    assert {row.find_element(By.CSS_SELECTOR, 'td').text for row in rows if row.is_displayed()} == {
        'memba',
        'linear_probing',
    }
    drawn = browser.find_elements(By.CSS_SELECTOR, 'svg g[id*="::"]')
    hidden = [d for d in drawn if d.value_of_css_property('display') == 'none']
    assert {d.get_attribute('id').split('::')[1] for d in hidden} == {'lora'}
    field.clear()
    field.send_keys(' ')
    assert all(row.is_displayed() for row in rows)
    assert page_errors(browser) == []


def test_tables_of_short_names_are_tables_of_github():
    rows = [('a|b', 'p'), ('x', '1')]
    assert markdown_table(rows, numbers_from=1) == (
        '| a\\|b |   p |\n| ---- | --: |\n| x    |   1 |\n'
    )


def test_holm_counts_the_methods_that_have_a_p(tmp_path):
    accuracies = {'lora': (60, 70, 80), 'memba': (61, 73, 82), 'dora': (62, 70, 85)}
    for method, values in accuracies.items():
        for task, top1 in zip(MINI_TASKS, values, strict=False):
            save_runs(tmp_path, [make_result(method, task, top1=top1)])
    save_runs(tmp_path, [make_result('bias_tuning', 'digits')])  # of one pair, which has none
    table = make_content('t', *collect_runs(tmp_path), 'lora').sections[0].tables[2]
    assert len(table.rows) == 3
    assert table.header[-1] == 'p of 2 (Holm)'


def test_ids_of_a_page_are_unique(tmp_path):
    for base in ('a', 'b'):
        backbone = Backbone('vim', 'vim_mini', base * 64)
        methods = [make_result(method, backbone=backbone) for method in ('lora', 'memba')]
        save_runs(tmp_path / base, methods)
    page = as_html(make_content('t', *collect_runs(tmp_path), None))
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 10
