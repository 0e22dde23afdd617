"""Part 'mixer': one bidirectional mixer of Vim-S among its peers, and what bounds it."""

from collections.abc import Callable, Iterator

from torch import nn

from benchmarking import peers
from benchmarking.contest import Call, hold
from benchmarking.methods import LORA, MEMBA, freeze_and_adapt
from benchmarking.mixer_passes import mixer_pass, peer_pass, projections_pass
from benchmarking.passes import FORWARD, STEP
from benchmarking.setting import Setting, Sizes, Workload
from benchmarking.table import Section, contest_section
from benchmarking.traffic import copy_of, forward_values, mixer_traffic, step_values

OURS = f'mixer, {MEMBA}'
PROJECTIONS = 'in_proj + out_proj alone'
ABOUT = (
    '{workload}, length {sizes.length}, width {sizes.width}, state {sizes.state}. The base is '
    'frozen, with LoRA of rank {sizes.rank} on in_proj and out_proj. {kind} A peer scans in one '
    'direction, so there are two of it, each with its own LoRA, on the sequence and on its flip; '
    'mamba-ssm reads the weights of its projections by itself, so there LoRA has no place and all '
    'weights train. The copy reads and writes as many bytes as the activations that the ops of '
    'the mixer read and write.'
)
KINDS = {
    FORWARD: 'No gradients; the projections alone are without LoRA.',
    STEP: "Forward and backward, for the gradients of the input and of LoRA's weights; no "
    'optimizer. The projections alone are frozen and have LoRA too.',
}


def sections(setting: Setting) -> Iterator[Section]:
    """The mixer's forward pass, and its forward and backward pass."""
    seconds = setting.seconds / len(KINDS) / len(setting.workloads)
    on_gpu = setting.device.type == 'cuda'
    for workload in setting.workloads:
        for kind, explanation in KINDS.items():
            builders = _contestants(kind, setting.sizes, workload)
            yield contest_section(
                f'A bidirectional mixer: {kind}, {workload}',
                ABOUT.format(workload=workload, sizes=setting.sizes, kind=explanation),
                hold(builders, setting.device, seconds, weigh=on_gpu),
                {'times the mixer': OURS, 'times the projections': PROJECTIONS},
            )


def _contestants(kind: str, sizes: Sizes, workload: Workload) -> dict[str, Callable[[], Call]]:
    """Return the builders of the contestants, by name."""
    device = workload.device
    values = forward_values if kind == FORWARD else step_values

    def adapted(peer: nn.Module) -> Call:
        return peer_pass(kind, freeze_and_adapt(peer, LORA, sizes), sizes, workload)

    return {
        OURS: lambda: mixer_pass(kind, MEMBA, sizes, workload),
        f'mixer, {LORA}': lambda: mixer_pass(kind, LORA, sizes, workload),
        'mixer, no adapters': lambda: mixer_pass(kind, None, sizes, workload),
        'two mambapy blocks': lambda: adapted(peers.mambapy_blocks(sizes)),
        'two Hugging Face mixers': lambda: adapted(peers.hugging_face_mixers(sizes, device)),
        'two mamba-ssm mixers': lambda: peer_pass(
            kind, peers.mamba_ssm_mixers(sizes, device), sizes, workload
        ),
        PROJECTIONS: lambda: projections_pass(kind, sizes, workload),
        'copy of as many bytes': lambda: copy_of(values(mixer_traffic(sizes)), sizes, workload),
    }
