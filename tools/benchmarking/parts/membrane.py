"""Part 'membrane': what LIM costs beyond LoRA alone at the same ranks."""

from collections.abc import Callable, Iterator

from benchmarking.classifier import model_builders
from benchmarking.contest import Call, hold
from benchmarking.methods import LORA, MEMBA, MEMBA_GATE
from benchmarking.mixer_passes import mixer_builders
from benchmarking.passes import KINDS
from benchmarking.setting import Setting, Workload
from benchmarking.table import Section, as_percent, contest_section

METHODS = (LORA, MEMBA, MEMBA_GATE)
ABOUT = (
    '{workload}, length {sizes.length}, width {sizes.width}; all have LoRA of rank {sizes.rank} '
    'on in_proj and out_proj over a frozen base. '
)
#: Measured modules, and the meaning of their training step.
PLACES = {
    'a mixer': 'One mixer, with the state of a block before it; a training step is forward and '
    'backward.',
    'a model': '{sizes.part_depth} blocks and a linear head; a training step is forward pass, '
    'cross-entropy, backward pass and AdamW.',
}


def sections(setting: Setting) -> Iterator[Section]:
    """The share in a mixer and in a model, of a training step and of a forward pass."""
    seconds = setting.seconds / len(PLACES) / len(KINDS) / len(setting.workloads)
    for workload in setting.workloads:
        for place, explanation in PLACES.items():
            for kind in KINDS:
                yield contest_section(
                    f'The share of the membrane in {place}: {kind}, {workload}',
                    (ABOUT + explanation).format(workload=workload, sizes=setting.sizes),
                    hold(_builders(place, kind, setting, workload), setting.device, seconds),
                    {f'against {LORA}': LORA},
                    as_percent,
                )


def _builders(
    place: str, kind: str, setting: Setting, workload: Workload
) -> dict[str, Callable[[], Call]]:
    if place == 'a mixer':
        return mixer_builders(METHODS, kind, setting.sizes, workload)
    return model_builders(METHODS, kind, setting.sizes, setting.sizes.part_depth, workload)
