"""Part 'peers': Vim and VMamba beside the transformers that a user would adapt instead."""

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from benchmarking import passes
from benchmarking.classifier import (
    CLASSES,
    Classifier,
    forward_pass,
    model_pass,
    random_images,
    training_step,
    vmamba,
)
from benchmarking.contest import Call, Contest, hold
from benchmarking.graphs import recorded
from benchmarking.memory import peak_memory_of_its_own
from benchmarking.methods import LORA, MEMBA
from benchmarking.peers import MissingPeerError, swin, vit
from benchmarking.setting import Setting, Sizes, Workload
from benchmarking.table import Section, contest_section, megabytes, three_digits
from memba_vision import fold

REFERENCE = 'vit'
VIT = 'ViT-S of timm, LoRA of peft'
#: The models by their names for ``--only``: their names in the tables, and what makes them.
MODELS: dict[str, tuple[str, Callable[[Sizes], nn.Module]]] = {
    'vit': (VIT, lambda sizes: vit(sizes, CLASSES)),
    'swin': (
        'Swin-T of timm, LoRA of peft',
        lambda sizes: swin(sizes, CLASSES, ('attn.qkv', 'attn.proj')),
    ),
    'vim-lora': ('Vim-S, LoRA', lambda sizes: Classifier(LORA, sizes, sizes.depth, sizes.image)),
    'vim-memba': (
        "Vim-S, Memba, site 'lora'",
        lambda sizes: Classifier(MEMBA, sizes, sizes.depth, sizes.image),
    ),
    'vmamba': ('VMamba-T, LoRA', lambda sizes: vmamba(sizes, ('in_proj', 'out_proj'))),
}
PRECISIONS = {'float32': torch.float32, 'bfloat16': torch.bfloat16}
FOLDED = 'folded'
#: The pass of each kind.
KINDS = {'step': passes.STEP, 'forward': passes.FORWARD, FOLDED: passes.FORWARD}
#: Makers of the passes that are recorded as CUDA graphs.
GRAPHS = {'graph-step': partial(training_step, capturable=True), 'graph-forward': forward_pass}
MEMORY = 'memory'
#: Of each group, ``--only`` may name some.
GROUPS = (tuple(MODELS), tuple(PRECISIONS), (*KINDS, *GRAPHS, MEMORY))
ABOUT = (
    'batch {batch}, {sizes.image} px, frozen and with random weights; LoRA of rank {sizes.rank} '
    "with dropout on both projections of a mixer, a transformer's on qkv and proj; a head of "
    '{classes} classes. A step is forward pass, cross-entropy, backward pass and AdamW; a forward '
    'pass is that of a validation, and folded that of a test, with LoRA in the weights. bfloat16 '
    'is autocast, as `--amp` has it. In brackets: how many times that of {reference}.'
)
ABOUT_GRAPHS = ' A graph is the same pass, recorded as a CUDA graph and launched in one go.'
ABOUT_MEMORY = {
    'cpu': ' Peak memory is what a step in float32 adds to weights and optimizer states, each '
    'model in a process of its own.',
    'cuda': " Peak memory is what a step adds to weights and optimizer states, by torch's count.",
}


@dataclass(frozen=True)
class Entry:
    """A pass through one of the models in a precision.

    Attributes:
        model: its name for ``--only``, a key of ``MODELS``.
        precision: a key of ``PRECISIONS``.
        kind: a key of ``KINDS`` or of ``GRAPHS``.
    """

    model: str
    precision: str
    kind: str

    def __str__(self) -> str:
        return f'{MODELS[self.model][0]}: {self.precision} {self.kind}'


def sections(setting: Setting) -> Iterator[Section]:
    """A table of all, then one with the quartiles for each kind of pass and precision.

    A GPU gets its large batch, in bfloat16 unless ``--only`` says float32.
    """
    on_gpu = setting.device.type == 'cuda'
    models, precisions, tasks = (_chosen(group, setting.only) for group in GROUPS)
    weigh = MEMORY in tasks
    if on_gpu and 'float32' not in setting.only:
        precisions = ['bfloat16']
    if on_gpu and weigh:
        tasks.append('step')  # it is what is weighed
    load = setting.workloads[-1 if on_gpu else 0]
    all_kinds = [*KINDS, *GRAPHS] if on_gpu or setting.only & GRAPHS.keys() else KINDS
    kinds = [kind for kind in all_kinds if kind in tasks]
    columns = [(precision, kind) for precision in precisions for kind in kinds]
    entries = [Entry(model, *column) for column in columns for model in models]
    builders = {str(entry): partial(entry_pass, entry, setting.sizes, load) for entry in entries}
    contest = hold(builders, setting.device, setting.seconds, weigh=weigh and on_gpu)
    peaks = {}
    if on_gpu:
        peaks = {p: _peaks_in_contest(contest, models, p) for p in precisions}
    elif weigh:
        peaks = {'float32': _peaks_of_their_own(models, setting.sizes, load)}
    peaks = {precision: found for precision, found in peaks.items() if found}
    about = ABOUT.format(batch=load.batch, sizes=setting.sizes, classes=CLASSES, reference=VIT)
    about += ABOUT_GRAPHS if GRAPHS.keys() & set(kinds) else ''
    about += ABOUT_MEMORY[setting.device.type] if peaks else ''
    title = f'Beside transformers, batch {load.batch}'
    yield _summary(title, about, contest, entries, peaks)
    for precision, kind in columns:
        names = {str(Entry(model, precision, kind)): MODELS[model][0] for model in models}
        yield contest_section(
            f'Beside transformers: {kind}, batch {load.batch}, {precision}',
            'The same measurements, with quartiles.',
            contest.some(names),
            {f'times {VIT}': VIT},
            images=load.batch,
        )


def entry_pass(entry: Entry, sizes: Sizes, load: Workload) -> Call:
    """Build the model of an entry, and return its pass, with the batch of ``load``."""
    workload = replace(load, dtype=PRECISIONS[entry.precision])
    model = MODELS[entry.model][1](sizes).to(workload.device)
    images = random_images(workload, sizes.image)
    if entry.kind == FOLDED:
        model = fold_peer(model)
    if entry.kind not in GRAPHS:
        return model_pass(KINDS[entry.kind], model, images, workload)
    if load.device.type != 'cuda':
        raise MissingPeerError('needs a GPU')
    return recorded(GRAPHS[entry.kind](model, images, workload), load.device)


def fold_peer(model: nn.Module) -> nn.Module:
    """Fold the adapters of one of the models into its weights; peft does so in place."""
    return model.merge_and_unload() if hasattr(model, 'merge_and_unload') else fold(model)


def _chosen(group: Sequence[str], only: Collection[str]) -> list[str]:
    """Return what ``only`` names of a group, all of it where that names none."""
    return [name for name in group if name in only] or list(group)


def _peaks_in_contest(contest: Contest, models: list[str], precision: str) -> dict[str, int]:
    names = {model: str(Entry(model, precision, 'step')) for model in models}
    return {m: contest.memory[name] for m, name in names.items() if name in contest.memory}


def _peaks_of_their_own(models: list[str], sizes: Sizes, load: Workload) -> dict[str, int]:
    peaks = {}
    for model in models:
        build = partial(entry_pass, Entry(model, 'float32', 'step'), sizes, load)
        with contextlib.suppress(MissingPeerError):  # its column is empty
            peaks[model] = peak_memory_of_its_own(build)
    return {model: peak for model, peak in peaks.items() if peak is not None}


def _summary(
    title: str, about: str, contest: Contest, entries: list[Entry], peaks: dict[str, dict[str, int]]
) -> Section:
    """Everything in one table: milliseconds, and in brackets the factors."""
    columns = list(dict.fromkeys((entry.precision, entry.kind) for entry in entries))
    steps = {('float32', 'step'), ('bfloat16', 'step')} <= set(columns)
    heads = ['what', *(f'{precision} {kind}, ms' for precision, kind in columns)]
    heads += ['bfloat16 step against float32'] if steps else []
    heads += [f'{p} peak MB' for p in peaks] if len(peaks) > 1 else ['peak MB'] * len(peaks)
    rows = []
    for model in dict.fromkeys([*(e.model for e in entries), *itertools.chain(*peaks.values())]):
        row = [_time(contest, model, *column) for column in columns]
        row += [_gain(contest, model)] if steps else []
        row += [_peak(found, model) for found in peaks.values()]
        if any(row):
            rows.append([MODELS[model][0], *row])
    figures = {}
    for precision, found in peaks.items():
        key = 'peak_bytes' if len(peaks) == 1 else f'peak_bytes_{precision}'
        for model, peak in found.items():
            figures.setdefault(MODELS[model][0], {})[key] = peak
    return Section(title, about, heads, rows, measurements=figures)


def _time(contest: Contest, model: str, precision: str, kind: str) -> str:
    name, reference = (str(Entry(each, precision, kind)) for each in (model, REFERENCE))
    if name not in contest.timings:
        return ''
    text = three_digits(contest.timings[name].median() * 1e3)
    if name == reference or reference not in contest.timings:
        return text
    return f'{text} ({three_digits(contest.ratio(name, reference).median)})'


def _gain(contest: Contest, model: str) -> str:
    half, full = (str(Entry(model, precision, 'step')) for precision in ('bfloat16', 'float32'))
    if not {half, full} <= contest.timings.keys():
        return ''
    return three_digits(contest.ratio(half, full).median)


def _peak(peaks: dict[str, int], model: str) -> str:
    text = megabytes(peaks.get(model))
    if not text or model == REFERENCE or REFERENCE not in peaks:
        return text
    return f'{text} ({three_digits(peaks[model] / peaks[REFERENCE])})'
