"""Part 'model': a whole Vim-S, adapted by Memba and by LoRA alone."""

from collections.abc import Iterator

from benchmarking.classifier import CLASSES, model_builders
from benchmarking.contest import hold
from benchmarking.methods import LORA, MEMBA
from benchmarking.passes import KINDS
from benchmarking.setting import Setting
from benchmarking.table import Section, as_percent, contest_section

ABOUT = (
    '{workload}, {sizes.image} px, {sizes.depth} blocks of width {sizes.width}, frozen; LoRA of '
    'rank {sizes.rank} on in_proj and out_proj, and a linear head over {classes} classes. A '
    'training step is forward pass, cross-entropy, backward pass and AdamW.'
)


def sections(setting: Setting) -> Iterator[Section]:
    """A training step and a forward pass, with images per second."""
    sizes = setting.sizes
    seconds = setting.seconds / len(KINDS) / len(setting.workloads)
    on_gpu = setting.device.type == 'cuda'
    for workload in setting.workloads:
        about = ABOUT.format(workload=workload, sizes=sizes, classes=CLASSES)
        for kind in KINDS:
            builders = model_builders([MEMBA, LORA], kind, sizes, sizes.depth, workload)
            yield contest_section(
                f'The whole model: {kind}, {workload}',
                about,
                hold(builders, setting.device, seconds, weigh=on_gpu),
                {f'against {LORA}': LORA},
                as_percent,
                images=workload.batch,
            )
