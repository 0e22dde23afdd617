"""Write the tables that the code has into the pages that show them.

python docs/tables.py

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from memba_vision.datasets.tasks import MINI2_TASKS, VTAB1K_TASKS
from memba_vision.models.parameter_counts import count_parameters
from memba_vision.package_data import package_data_folder
from memba_vision.reports.accuracy_table import accuracy_table, short_table
from memba_vision.reports.backbone_table import backbone_table, notes
from memba_vision.reports.collect import collect_runs
from memba_vision.reports.comparisons import compare
from memba_vision.reports.difference_table import difference_table
from memba_vision.reports.markdown import table_text
from memba_vision.reports.method_table import vit_figure
from memba_vision.reports.rank_table import rank_tables
from memba_vision.reports.run_list import read_run_list
from memba_vision.reports.scores import scores_by_suite
from memba_vision.reports.text_tables import markdown_table
from memba_vision.runs.base_models import read_base_model
from memba_vision.runs.result import Result
from memba_vision.weights import licence_of
from memba_vision.zoo.methods import VIT, all_methods
from memba_vision.zoo.model_size import build_without_weights
from memba_vision.zoo.official import OFFICIAL

DOCS = Path(__file__).parent
PAGES = (
    *(DOCS / f'{name}.md' for name in ('vtab1k', 'methods', 'backbones', 'reports', 'mini_vtab')),
    DOCS / 'model_zoo.md',
)
#: The backbones whose weights come with the package, and what the config's name says of them.
SHIPPED = {
    **{name: f'{name}_scenes' for name in ('vim-mini-v2', 'vmamba-mini-v2', 'vit-mini-v2')},
    **{name: f'{name}_shapes' for name in ('vim-mini', 'vmamba-mini', 'vit-mini')},
}
#: Methods of the table of adapters.
ADAPTED = ('linear_probing', 'lora', 'memba')
#: Columns of the table of methods by backbones.
BACKBONES = (
    *('vim-small', 'mamba-reg-small', 'vmamba-v0-small', 'vmamba-small-s2l15'),
    *('mamba-vision-tiny', 'vit-base', 'swin-tiny'),
)
CONFIGS = package_data_folder() / 'configs'
ARCH = 'vim_small'  # whose sizes and published results the pages show
TABLE = re.compile(r'(?<=<!-- table: )(\w+) -->\n.*?(?=<!-- end of table -->)', re.DOTALL)


def tasks() -> str:
    """The tasks of VTAB-1k."""
    rows = [('task', 'folder', 'group', 'classes', 'test images')]
    rows += [
        (f'`{task.name}`', task.folder, task.group, str(task.num_classes), f'{task.num_test:,}')
        for task in VTAB1K_TASKS.values()
    ]
    return markdown_table(rows, numbers_from=3)


def mini_vtab_tasks() -> str:
    """The tasks of the second mini-VTAB."""
    rows = [('task', 'group', 'the label is', 'classes', 'chance (%)', 'test images')]
    rows += [
        (
            *(f'`{task.name}`', task.group, task.meaning, str(task.num_classes)),
            *(f'{100 / task.num_classes:.1f}', f'{task.num_test:,}'),
        )
        for task in MINI2_TASKS.values()
    ]
    return markdown_table(rows, numbers_from=3)


def published() -> str:
    """What has been published for the architecture of the pages, in the order of the average."""
    rows = [('method', '`--peft`', 'K', 'Natural', 'Specialized', 'Structured', 'average')]
    known = [(m, m.published[ARCH]) for m in all_methods() if ARCH in m.published]
    for method, figures in sorted(known, key=lambda pair: pair[1].average):
        means = (figures.natural, figures.specialized, figures.structured, figures.average)
        size = f'{figures.thousands:,}'
        rows.append((method.name, f'`{method.preset}`', size, *(f'{mean:.2f}' for mean in means)))
    return markdown_table(rows, numbers_from=2)


def methods() -> str:
    """The formula, size and source of every method, and what is published for a transformer."""
    rows = [('preset', 'formula', 'source', 'parameters', VIT)]
    rows += [
        (
            f'`{m.preset}`',
            m.formula,
            m.source,
            f'{m.parameters[ARCH]:,}' if ARCH in m.parameters else '',
            vit_figure(m),
        )
        for m in all_methods()
    ]
    return markdown_table(rows, numbers_from=3)


def weights() -> str:
    """The published checkpoints of all families."""
    rows = [('name', 'file', 'licence', 'top-1')]
    rows += [
        (f'`{name}`', f'[{o.file}]({o.url})', licence_of(o.url), f'{o.top1:.1f}')
        for name, o in OFFICIAL.items()
    ]
    return markdown_table(rows, numbers_from=3)


def mini_vtab() -> str:
    """What every method reaches on mini-VTAB."""
    return _accuracies('mini_vtab', short_table)


def mini_vtab_2() -> str:
    """What methods reach on each task of mini-VTAB 2."""
    return _accuracies('mini_vtab_2', accuracy_table)


def mini_vtab_2_differences() -> str:
    """What methods gain there over LoRA."""
    others = ('rslora', 'memba', 'lora_in_proj', 'lorap_x', 'full_fine_tuning', 'linear_probing')
    return _differences('mini_vtab_2', 'lora', others)


def mini_vtab_2_parts() -> str:
    """What Memba loses there without a part of its membrane."""
    return _differences('mini_vtab_2', 'memba', ('memba_no_reset', 'memba_no_transfer'))


def mini_vtab_2_ranks() -> str:
    """The order of methods on mini-VTAB 2 beside the published one."""
    return _ranks('mini_vtab_2')


def mini_vtab_2_one_rate() -> str:
    """The correlations where all methods have one rate."""
    return _ranks('mini_vtab_2_one_rate').partition('\n\n')[0] + '\n'


def mini_vtab_2_combination() -> str:
    """What LoRA and Adapter+ together gain there over either of LoRA and Memba."""
    pairs = (('lora', ['lora_adapter_plus', 'memba']), ('memba', ['lora_adapter_plus']))
    return '\n'.join(_differences('mini_vtab_2_combination', *pair) for pair in pairs)


def mini_vtab_2_backbones() -> str:
    """What some methods reach on mini-VTAB 2 with the small ViT and the small VMamba."""
    return _accuracies('mini_vtab_2_backbones', accuracy_table)


def mini_vtab_2_backbones_differences() -> str:
    """What the membrane gains there over LoRA, by backbone."""
    membranes = ('memba_hidden', 'memba_hidden_no_transfer')
    return _differences('mini_vtab_2_backbones', 'lora', membranes)


def mini_vtab_backbones() -> str:
    """What some methods reach there on the small VMamba and the small ViT."""
    return _accuracies('mini_vtab_backbones', short_table)


def mini_vtab_ranks() -> str:
    """The order of methods on mini-VTAB beside the published one."""
    return _ranks('mini_vtab')


def mini_vtab_differences() -> str:
    """What some methods gain there over LoRA."""
    others = ('memba', 'memba_no_reset', 'memba_no_transfer', 'sll_lora', 'full_fine_tuning')
    return _differences('mini_vtab', 'lora', others)


def zoo_backbones() -> str:
    """The backbones whose weights come with the package, and what their configs say of them."""
    rows, remarks = [('name', 'weights', 'pre-trained by', 'parameters')], []
    for name, config in SHIPPED.items():
        size = count_parameters(build_without_weights(read_base_model(name)))[1]
        file, made_by = f'{name}.safetensors', f'{config}.py'
        weights = f'[{file}](../memba_vision/pretrained/{file})'
        by = f'[{made_by}](../configs/pretrain/{made_by})'
        rows.append((f'`{name}`', weights, by, f'{size:,}'))
        remarks.append(f'- **{name}.** {_opening(CONFIGS / "pretrain" / made_by)}\n')
    return f'{markdown_table(rows, numbers_from=3)}\n{"".join(remarks)}'


def _opening(config: Path) -> str:
    """What the first comment of a config for pre-training says of its outcome."""
    lines = []
    for line in config.read_text(encoding='utf-8').splitlines():
        if not line.startswith('#'):
            break
        # Commands are indented; what stands before them says what they make.
        lines = [] if line.startswith('#  ') else [*lines, line.removeprefix('# ')]
    return re.sub(r'^Makes .*?\. ', '', ' '.join(lines))


def zoo_adapters() -> str:
    """What adapters of the zoo reach on each task of mini-VTAB 2, with the config of each."""
    runs = read_run_list(_results('mini_vtab_2').read_text(encoding='utf-8'))
    found = {(run.task, run.method): run.value for run in runs if run.seed == 0}
    rows = [('task and config', *ADAPTED)]
    for task in MINI2_TASKS:
        values = [f'{found[task, method]:.1f}' for method in ADAPTED]
        rows.append((f'[{task}](../configs/demo/{task}_memba.py)', *values))
    return markdown_table(rows, numbers_from=1)


def _accuracies(name: str, table: Callable[[Sequence[Result]], str]) -> str:
    """The ``table`` of a file of ``results``."""
    return table(read_run_list(_results(name).read_text(encoding='utf-8')))


def _ranks(name: str) -> str:
    runs, _ = collect_runs(_results(name))
    return rank_tables(scores_by_suite(runs), ARCH)


def _differences(name: str, baseline: str, others: Sequence[str]) -> str:
    """Differences of some methods of a file of ``results`` to another of them."""
    runs, _ = collect_runs(_results(name))
    several = scores_by_suite([run for run in runs if run.method in (baseline, *others)])
    tables = [table_text(difference_table(s, baseline, compare(s, baseline))) for s in several]
    titles = [f'{scores.title}. ' if len(several) > 1 else '' for scores in several]
    return '\n'.join(title + table for title, table in zip(titles, tables, strict=True))


def _results(name: str) -> Path:
    return DOCS / 'results' / f'{name}.csv'


def backbones() -> str:
    """Methods by backbones, with the reasons for empty cells."""
    rows, reasons = backbone_table(BACKBONES)
    return f'{markdown_table(rows, numbers_from=1)}\n{notes(reasons)}'


TABLES = {
    'backbones': backbones,
    'tasks': tasks,
    'mini_vtab_tasks': mini_vtab_tasks,
    'methods': methods,
    'published': published,
    'weights': weights,
    'zoo_backbones': zoo_backbones,
    'zoo_adapters': zoo_adapters,
    'mini_vtab': mini_vtab,
    'mini_vtab_2': mini_vtab_2,
    'mini_vtab_2_differences': mini_vtab_2_differences,
    'mini_vtab_2_parts': mini_vtab_2_parts,
    'mini_vtab_2_ranks': mini_vtab_2_ranks,
    'mini_vtab_2_one_rate': mini_vtab_2_one_rate,
    'mini_vtab_2_combination': mini_vtab_2_combination,
    'mini_vtab_2_backbones': mini_vtab_2_backbones,
    'mini_vtab_2_backbones_differences': mini_vtab_2_backbones_differences,
    'mini_vtab_backbones': mini_vtab_backbones,
    'mini_vtab_ranks': mini_vtab_ranks,
    'mini_vtab_differences': mini_vtab_differences,
}


def with_tables(text: str) -> str:
    """A page's text with its tables as the code has them now."""
    return TABLE.sub(lambda match: f'{match[1]} -->\n\n{TABLES[match[1]]()}\n', text)


if __name__ == '__main__':
    for page in PAGES:
        page.write_text(with_tables(page.read_text(encoding='utf-8')), encoding='utf-8')
