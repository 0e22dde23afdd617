"""Order of methods beside the published one."""

import numpy as np
import pytest
from helpers import REPOSITORY, run_tool
from made_runs import make_result, save_runs, with_group_means
from scipy import stats

from memba_vision.reports.collect import collect_runs
from memba_vision.reports.rank_table import rank_tables
from memba_vision.reports.ranks import rank_correlation, spearman
from memba_vision.reports.run_list import write_run_list
from memba_vision.reports.scores import scores_by_suite
from memba_vision.zoo.methods import all_methods

MINI_VTAB = REPOSITORY / 'docs' / 'results' / 'mini_vtab.csv'


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith('| ')]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]


def test_correlation_is_spearmans_with_ties_too():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 9, size=(2, 5, 20)).astype(float)
    expected = [stats.spearmanr(*pair).statistic for pair in values.swapaxes(0, 1)]
    assert spearman(*values) == pytest.approx(expected)


def test_interval_surrounds_the_correlation_and_is_repeatable():
    rng = np.random.default_rng(0)
    first = rng.normal(size=28)
    second = first + rng.normal(size=28)
    found = rank_correlation(first, second)
    assert -1 < found.low < found.rho < found.high < 1
    assert found.count == 28
    assert rank_correlation(first, second) == found


@pytest.mark.parametrize('second', [[1.0, 2.0], [3.0, 3.0, 3.0]])
def test_nothing_to_correlate(second):
    assert rank_correlation(range(len(second)), second) is None


def test_the_committed_runs_beside_the_published_table():
    outcome = run_tool('report', MINI_VTAB, '--ranks', 'vim_small')
    assert outcome.status == 0
    _, ranks, apart = outcome.out.strip().split('\n\n')
    everything, adapted = rows(ranks)[2:]
    assert everything[:4] == ['all tasks', 'all', '28', '0.52']
    assert adapted[:4] == ['all tasks', 'without scratch, full_fine_tuning', '26', '0.90']
    worst = [row[0] for row in rows(apart)[2:]]
    assert set(worst[:2]) == {'full_fine_tuning', 'scratch'}


def published_runs() -> list:
    """Runs that agree with what was published in every group."""
    found = []
    for method in all_methods():
        figures = method.published.get('vim_small')
        if figures:
            means = with_group_means(figures.natural, figures.specialized, figures.structured)
            found += [make_result(method.preset, task, top1=top1) for task, top1 in means.items()]
    return found


def test_groups_are_compared_too_and_methods_without_a_task_do_not_count(tmp_path):
    runs = [run for run in published_runs() if (run.method, run.task) != ('lora_embed', 'dtd')]
    runs.append(make_result())
    (tmp_path / 'runs.csv').write_text(write_run_list(runs))
    scores = scores_by_suite(collect_runs(tmp_path / 'runs.csv')[0])
    title, ranks, _, reason = rank_tables(scores, 'vim_small').split('\n\n')
    assert title == 'VTAB-1k'
    assert reason.startswith('mini-VTAB 1 (1 of 3 tasks): 0 of the 28 methods')
    table = rows(ranks)[2:]
    found = {tuple(row[:2]): row[2:4] for row in table}
    assert found['all tasks', 'all'][0] == found['Natural', 'all'][0] == '27'
    assert found['Structured', 'all'] == found['Specialized', 'all'] == ['28', '1.00']


def test_too_few_methods_or_an_unpublished_architecture_are_errors(tmp_path):
    save_runs(tmp_path, [make_result('lora_embed'), make_result('memba')])
    error = run_tool('report', tmp_path, '--ranks', 'vim_small').error()
    assert '0 of the 28 methods that are published for Vim-S were measured on all 3 tasks' in error
    error = run_tool('report', tmp_path, '--ranks', 'vit_base').error()
    assert '--ranks vit_base: nothing is published for it; there is' in error
