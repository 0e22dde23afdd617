"""Training steps as CUDA graphs on a GPU: beside steps that are launched kernel by kernel."""

import json
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from helpers import DEMO, as_arguments, run_tool, tiny_options
from mmengine.model import BaseModel
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import nn

from memba_vision.engine.recorded_steps import RecordedStep
from memba_vision.models.backbones.vim import Vim

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU'),
]


def trained(folder, base, data_root, *arguments, **options) -> float:
    """Train, and return the loss of the last epoch."""
    # 32 images: six steps of 5 and one of 2, which is recorded in the fourth epoch.
    options = {'train_cfg.max_epochs': 5, 'train_dataloader.batch_size': 5, **options}
    options = tiny_options(base, data_root, **options)
    if '--peft' in arguments:
        del options['model.backbone.rank']
    outcome = run_tool('train', DEMO, '--work-dir', folder, *arguments, *as_arguments(options))
    assert outcome.status == 0, outcome
    lines = (folder / 'losses.jsonl').read_text().splitlines()
    return json.loads(lines[-1])['loss']


@pytest.mark.parametrize('method', [None, 'lora', 'linear_probing', 'full_fine_tuning', 'gps'])
@pytest.mark.parametrize('amp', [[], ['--amp']], ids=['float32', 'bfloat16'])
def test_a_training_ends_as_one_of_single_launches(base, data_root, tmp_path, method, amp):
    arguments = ([] if method is None else ['--peft', method]) + amp
    singly = trained(tmp_path / 'singly', base, data_root, *arguments)
    recorded = trained(tmp_path / 'recorded', base, data_root, *arguments, cuda_graphs=True)
    assert recorded == pytest.approx(singly, rel=0.05 if amp else 0.005)


def test_gradients_add_up_over_steps(base, data_root, tmp_path):
    several = {'optim_wrapper.accumulative_counts': 2}
    singly = trained(tmp_path / 'singly', base, data_root, **several)
    recorded = trained(tmp_path / 'recorded', base, data_root, **several, cuda_graphs=True)
    assert recorded == pytest.approx(singly, rel=0.005)


class Dropping(BaseModel):
    """Mean of the images under dropout, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, inputs, data_samples, mode):
        return {'loss': (nn.functional.dropout(inputs) * self.weight).mean()}


def batch_of(values: torch.Tensor) -> dict:
    label = torch.zeros(1, device='cuda')
    return {'inputs': values.cuda(), 'data_samples': [DataSample(gt_label=label)]}


def test_random_numbers_are_drawn_anew_and_gradients_follow_the_loss():
    model = Dropping().cuda()
    step = RecordedStep(model, batch_of(torch.ones(64)), [model.weight], nullcontext())
    losses = []
    for number in range(5):
        loss, numbers = step.replay(batch_of(torch.full((64,), number + 1.0)))
        model.weight.grad = None
        (3 * loss).backward()
        torch.testing.assert_close(model.weight.grad, 3 * loss.detach()[None])
        assert numbers['loss'] == loss
        losses.append(float(loss) / (number + 1))
    assert len(set(losses)) > 1, 'not all masks are the same'


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_gradients_are_those_of_a_single_launch(dtype):
    torch.manual_seed(0)
    backbone = Vim(dict(embed_dims=32, num_layers=2), img_size=32, patch_size=8)
    model = ImageClassifier(
        backbone=backbone, head=dict(type='LinearClsHead', num_classes=3, in_channels=32)
    ).cuda()
    context = torch.autocast('cuda', dtype, enabled=dtype is not torch.float32)
    trained = list(model.parameters())
    batches = [
        {
            'inputs': torch.randn(3, 3, 32, 32, device='cuda'),
            'data_samples': [DataSample().set_gt_label(n).to('cuda') for n in range(3)],
        }
        for _ in range(2)
    ]
    expected = []
    for batch in [*batches, batches[0]]:  # three calls, as a recording wants
        with context:
            loss = model(**batch, mode='loss')['loss']
        expected.append([loss.detach(), *torch.autograd.grad(loss, trained)])
    step = RecordedStep(model, batches[0], trained, context)
    for batch, values in zip(batches, expected, strict=False):
        model.zero_grad()
        loss, _ = step.replay(batch)
        loss.backward()
        found = [loss.detach(), *(parameter.grad for parameter in trained)]
        torch.testing.assert_close(found, values, rtol=2e-2, atol=1e-4)


def test_a_step_that_waits_for_the_gpu_is_refused():
    # In a process of its own: one that has failed to record may not use the GPU any more.
    code = """
import torch
from contextlib import nullcontext
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from memba_vision.engine.recorded_steps import RecordedStep
from memba_vision.errors import UserError

class Waiting(BaseModel):
    def forward(self, inputs, data_samples, mode):
        return {'loss': inputs.mean() * inputs.max().item()}

samples = [DataSample(gt_label=torch.zeros(1).cuda())]
batch = {'inputs': torch.ones(4).cuda(), 'data_samples': samples}
try:
    RecordedStep(Waiting(), batch, [], nullcontext())
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'a step of this model cannot be recorded' in done.stdout, done
