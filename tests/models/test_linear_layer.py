"""The linear layer under the tools that follow a model's operators."""

import copy
import io

import onnxruntime
import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from memba_vision.models.modules.linear import Linear

X = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))


def make_network(kind=Linear):
    torch.manual_seed(0)
    return nn.Sequential(kind(5, 7), nn.ReLU(), kind(7, 3, bias=False))


def run_trace(network):
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(network, X), file)
    file.seek(0)
    return torch.jit.load(file)(X)


def run_older_onnx_export(network):
    file = io.BytesIO()
    torch.onnx.export(network, (X,), file, dynamo=False, opset_version=17, input_names=['x'])
    session = onnxruntime.InferenceSession(file.getvalue(), providers=['CPUExecutionProvider'])
    return torch.from_numpy(session.run(None, {'x': X.numpy()})[0])


RUNS = {
    'jit_trace': run_trace,
    'older_onnx_export': run_older_onnx_export,
    'compile': lambda network: torch.compile(network, fullgraph=True, backend='aot_eager')(X),
    'export': lambda network: torch.export.export(network, (X,)).module()(X),
}


@pytest.mark.filterwarnings('ignore::FutureWarning', 'ignore::DeprecationWarning')
@pytest.mark.filterwarnings('error::torch.jit.TracerWarning')
@pytest.mark.parametrize('run', RUNS.values(), ids=RUNS)
def test_what_follows_it_gets_the_same_values(run):
    network = make_network()
    torch.testing.assert_close(run(network), network(X), rtol=1e-5, atol=1e-5)


def count_flops(network, backward):
    with FlopCounterMode(display=False) as counter:
        out = network(X)
        if backward:
            out.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize('backward', [False, True], ids=['forward', 'both'])
def test_flops_are_counted(backward):
    flops = count_flops(make_network(), backward)
    assert flops == count_flops(make_network(nn.Linear), backward)
    if not backward:
        assert flops == 2 * 8 * (5 * 7 + 7 * 3)


def test_mmengine_counts_it():
    counts = get_model_complexity_info(make_network(), inputs=(X,), show_table=False)
    assert counts['flops'] == 8 * (5 * 7 + 7 * 3)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_autocast_is_that_of_torch(dtype):
    network = make_network()
    plain = make_network(nn.Linear)
    with torch.autocast('cpu', dtype):
        outs = network(X), plain(X)
    assert outs[0].dtype == dtype
    assert torch.equal(*outs)
    for out in outs:
        out.float().square().sum().backward()
    for ours, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


def test_float64_and_copies():
    network = copy.deepcopy(make_network()).double()
    assert torch.equal(network(X.double()), make_network(nn.Linear).double()(X.double()))
