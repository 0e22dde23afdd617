"""Part 'growth': time and memory as images and batches grow."""

import functools
import math
import time
from collections.abc import Callable, Iterator

import torch

from benchmarking.classifier import Classifier, random_images, training_step
from benchmarking.contest import Call, Contest, hold
from benchmarking.memory import available_memory
from benchmarking.methods import MEMBA
from benchmarking.setting import Setting, Sizes, Workload
from benchmarking.table import Section, measurements, megabytes, three_digits

MAX_ROUNDS = 8
#: A group has four times the tokens of the one before; a step may then take as much longer, and
#: each member of a group is called first, in three rounds, and to be weighed.
GROWTH, CALLS = 4, 5
COLUMNS = ('image', 'batch', 'tokens', 'ms', 'tokens/s', 'time per token', 'peak MB', 'repeats')
ABOUT = (
    'A training step (forward pass, cross-entropy, backward pass, AdamW) of {method}, rank '
    '{sizes.rank}, {sizes.part_depth} blocks of width {sizes.width}, {dtype}. Rows with about as '
    'many tokens are measured in turn; time per token is relative to the smallest image among '
    'them, with quartiles. Peak memory is what a step adds to weights and optimizer states.'
)

#: A size of image and a size of batch.
Load = tuple[int, int]


def load_groups(sizes: Sizes) -> list[list[Load]]:
    """All images with batches of 1, 4, 16, … up to the largest, in groups of equal patches."""
    smallest = sizes.growing_images[0]
    groups = {}
    for image in sizes.growing_images:
        batch = 1
        while batch <= sizes.largest_batch:
            groups.setdefault(batch * (image // smallest) ** 2, []).append((image, batch))
            batch *= GROWTH
    return [groups[patches] for patches in sorted(groups)]


def sections(setting: Setting) -> Iterator[Section]:
    """One table per precision; what does not fit the time or the memory is left out, and named."""
    dtypes = dict.fromkeys(workload.dtype for workload in setting.workloads)
    for dtype in dtypes:
        yield _section(setting, dtype, setting.seconds / len(dtypes))


def _section(setting: Setting, dtype: torch.dtype, seconds: float) -> Section:
    ends = time.perf_counter() + seconds
    rows, notes, figures, last = [], [], {}, None
    groups = load_groups(setting.sizes)
    # One image of the largest size is what this part is about: it is waited for.
    largest = (setting.sizes.growing_images[-1], 1)
    waited_for = next(number for number, group in enumerate(groups) if largest in group)
    for number, group in enumerate(groups):
        left = ends - time.perf_counter()
        limit = math.inf if number <= waited_for else left
        obstacle = _obstacle(last, group, limit, setting.device)
        if obstacle:
            loads = '; '.join(_label(load) for group in groups[number:] for load in group)
            notes.append(f'left out for want of {obstacle}: {loads}')
            break
        last = _measure(group, setting, dtype, left / 4)
        rows += _rows(group, last)
        notes += [f'not measured: {name}: {reason}' for name, reason in last.absent.items()]
        figures.update(measurements(last))
    about = ABOUT.format(method=MEMBA, sizes=setting.sizes, dtype=_name(dtype))
    title = f'Growth with image and batch, {_name(dtype)}'
    return Section(title, about, COLUMNS, rows, notes, figures)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')


def _obstacle(
    last: Contest | None, group: list[Load], seconds: float, device: torch.device
) -> str | None:
    """Return the reason why this group and all after it are skipped, from the one before."""
    if last is None:
        return None
    if not last.timings:
        return 'memory'
    available = available_memory(device)
    peak = max(last.memory.values(), default=0)
    if available is not None and peak * GROWTH > available:
        return 'memory'
    slowest = max(timing.median() for timing in last.timings.values())
    if slowest * GROWTH * CALLS * len(group) > seconds:
        return 'time (see --seconds)'
    return None


def _measure(group: list[Load], setting: Setting, dtype: torch.dtype, seconds: float) -> Contest:
    builders: dict[str, Callable[[], Call]] = {
        _label(load): functools.partial(_step, load, setting, dtype) for load in group
    }
    return hold(builders, setting.device, seconds, MAX_ROUNDS, weigh=True)


def _step(load: Load, setting: Setting, dtype: torch.dtype) -> Call:
    image, batch = load
    workload = Workload(setting.device, batch, dtype)
    model = Classifier(MEMBA, setting.sizes, setting.sizes.part_depth, image)
    return training_step(model.to(setting.device), random_images(workload, image), workload)


def _label(load: Load) -> str:
    return f'{load[0]} px, batch {load[1]}'


def _tokens(load: Load) -> int:
    image, batch = load
    return batch * ((image // 16) ** 2 + 1)


def _rows(group: list[Load], contest: Contest) -> list[list[str]]:
    measured = [load for load in group if _label(load) in contest.timings]
    return [_row(load, measured[0], contest) for load in measured]


def _row(load: Load, reference: Load, contest: Contest) -> list[str]:
    image, batch = load
    timing = contest.timings[_label(load)]
    return [
        f'{image} px',
        str(batch),
        f'{_tokens(load):,}',
        three_digits(timing.median() * 1e3),
        three_digits(_tokens(load) / timing.median()),
        _time_per_token(contest, load, reference),
        megabytes(contest.memory.get(_label(load))),
        str(len(timing.rounds)),
    ]


def _time_per_token(contest: Contest, load: Load, reference: Load) -> str:
    if load == reference:
        return '1'
    spread = contest.ratio(_label(load), _label(reference))
    scale = _tokens(reference) / _tokens(load)
    median, low, high = (scale * value for value in (spread.median, spread.low, spread.high))
    return f'{median:.2f} ({low:.2f} to {high:.2f})'
