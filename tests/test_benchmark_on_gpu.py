"""The benchmark on a GPU: its memory, its CUDA graphs, and all of its parts at tiny sizes."""

import json
from dataclasses import replace

import pytest
import torch
from benchmarking.classifier import Classifier, forward_pass, random_images, training_step
from benchmarking.graphs import recorded
from benchmarking.memory import peak_memory
from benchmarking.methods import MEMBA
from benchmarking.parts import PARTS
from benchmarking.peers import MissingPeerError
from benchmarking.setting import QUICK, Workload
from helpers import run_tool

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU'),
]
DEVICE = torch.device('cuda')
WORKLOAD = Workload(DEVICE, 4, torch.bfloat16)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Classifier(MEMBA, QUICK, QUICK.depth, QUICK.image).to(DEVICE)


def test_peak_memory_is_that_of_the_call():
    size = 2**24
    peak = peak_memory(lambda: torch.empty(size, dtype=torch.uint8, device=DEVICE) + 1, DEVICE)
    assert 2 * size <= peak < 2.1 * size


def test_a_graph_trains(model):
    images = random_images(WORKLOAD, QUICK.image)
    step = recorded(training_step(model, images, WORKLOAD, capturable=True), DEVICE)
    before = {name: value.clone() for name, value in model.named_parameters()}
    for _ in range(3):
        step()
    changed = {name for name, value in model.named_parameters() if (value != before[name]).any()}
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert changed == trained
    assert all(value.isfinite().all() for value in model.parameters())


def test_a_graph_computes_what_its_call_does(model):
    images, seen = random_images(WORKLOAD, QUICK.image), []
    model.register_forward_hook(lambda module, inputs, output: seen.append(output))
    forward = recorded(forward_pass(model, images, replace(WORKLOAD, dtype=torch.float32)), DEVICE)
    forward()
    warm, graph = seen[0], seen[-1]
    torch.testing.assert_close(graph, warm)
    with torch.no_grad():
        images.mul_(2)
        forward()
        torch.testing.assert_close(graph, model(images))


def test_a_call_that_waits_cannot_be_recorded():
    x = torch.ones(3, device=DEVICE)
    with pytest.raises(MissingPeerError, match='cannot be recorded as a CUDA graph'):
        recorded(lambda: x.sum().item(), DEVICE)
    assert recorded(lambda: x.add_(1), DEVICE)() is not None  # the next one can


@pytest.mark.parametrize('part', PARTS)
def test_parts(part, tmp_path):
    out = tmp_path / 'report.json'
    arguments = ['--quick', '--device', 'cuda', '--parts', part, '--out', out]
    outcome = run_tool('benchmark', *arguments)
    assert outcome.status == 0, outcome
    absent = {
        name: figures['absent']
        for section in json.loads(out.read_text())['sections']
        for name, figures in section['measurements'].items()
        if 'absent' in figures
    }
    expected = ('not installed', 'cannot be imported', 'measured on a CPU alone', 'cannot run here')
    assert not [reason for reason in absent.values() if not any(e in reason for e in expected)]
