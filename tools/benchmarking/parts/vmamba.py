"""Part 'vmamba': a training step of VMamba-T against Swin-T, and against a loop over tokens."""

from collections.abc import Iterator
from functools import partial
from unittest import mock

import torch

from benchmarking.classifier import CLASSES, random_images, training_step, vmamba
from benchmarking.contest import Call, hold
from benchmarking.peers import swin
from benchmarking.published_loop import published_cross_scan
from benchmarking.setting import Setting, Sizes, Workload
from benchmarking.table import Section, contest_section
from memba_vision.models.modules import ss2d

VMAMBA = 'VMamba-T'
LOOP = 'VMamba-T, loop over tokens'
SWIN = 'Swin-T of timm, LoRA of peft'
ABOUT = (
    '{workload}, {sizes.image} px, frozen and with random weights; LoRA of rank {sizes.rank} on '
    "in_proj, Swin's on qkv, and a linear head over {classes} classes. A training step is forward "
    'pass, cross-entropy, backward pass and AdamW.'
)
ABOUT_LOOP = (
    ' The loop over tokens is what the published code runs without a GPU: it takes so long that '
    'one image is measured.'
)


def sections(setting: Setting) -> Iterator[Section]:
    """VMamba-T against Swin-T, and with one image against its own loop over tokens."""
    sizes, device = setting.sizes, setting.device
    seconds = setting.seconds / (len(setting.workloads) + 1)
    for workload in setting.workloads:
        builders = {
            VMAMBA: partial(vmamba_step, sizes, workload),
            SWIN: partial(swin_step, sizes, workload),
        }
        yield contest_section(
            f'VMamba and Swin: training step, {workload}',
            ABOUT.format(workload=workload, sizes=sizes, classes=CLASSES),
            hold(builders, device, seconds, weigh=device.type == 'cuda'),
            {f'times {SWIN}': SWIN},
            images=workload.batch,
        )
    alone = Workload(device, 1, torch.float32)
    builders = {
        VMAMBA: partial(vmamba_step, sizes, alone),
        LOOP: partial(loop_step, sizes, alone),
    }
    yield contest_section(
        f'VMamba and the loop over its tokens: training step, {alone}',
        ABOUT.format(workload=alone, sizes=sizes, classes=CLASSES) + ABOUT_LOOP,
        hold(builders, device, seconds),
        {f'times {VMAMBA}': VMAMBA},
        images=alone.batch,
    )


def vmamba_step(sizes: Sizes, workload: Workload) -> Call:
    """A training step of VMamba."""
    model = vmamba(sizes, ['in_proj']).to(workload.device)
    return training_step(model, random_images(workload, sizes.image), workload)


def loop_step(sizes: Sizes, workload: Workload) -> Call:
    """A training step of VMamba whose scans are loops over tokens."""
    step = vmamba_step(sizes, workload)

    def run() -> None:
        with mock.patch.object(ss2d, 'cross_scan', published_cross_scan):
            step()

    return run


def swin_step(sizes: Sizes, workload: Workload) -> Call:
    """A training step of Swin."""
    model = swin(sizes, CLASSES, ['qkv']).to(workload.device)
    return training_step(model, random_images(workload, sizes.image), workload)
