"""Two processes choose the same, which is the choice of one process with the whole batch."""

import pytest
import torch
from processes import CONTEXT
from selection_data import METHODS, build, make_loader
from torch import distributed

from memba_vision.engine.selection import decide


def make_batches():
    """Three batches of eight images, the last of four."""
    images = torch.randn(20, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    return make_loader(images, size=8)


def shares(rank):
    """The batches of one of two processes, as the sampler of a distributed run shares them."""
    return [{key: values[rank::2] for key, values in batch.items()} for batch in make_batches()]


def choose(method, rank, folder):
    """Choose in one of two processes, and write the model and the record to a file."""
    torch.set_num_threads(1)
    place = f'file://{folder}/{method}'
    distributed.init_process_group('gloo', init_method=place, rank=rank, world_size=2)
    model = build(METHODS[method])
    record = decide(model, shares(rank))
    facts = record.choices, record.images, record.processes
    torch.save((*facts, dict(model.backbone.module.named_parameters())), folder / f'{rank}.pt')


@pytest.mark.parametrize('method', METHODS)
def test_two_processes_choose_the_same(method, tmp_path):
    processes = [CONTEXT.Process(target=choose, args=(method, rank, tmp_path)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    first, second = (torch.load(tmp_path / f'{rank}.pt', weights_only=True) for rank in (0, 1))
    assert first[:3] == second[:3]
    assert first[1:3] == (20, 2)
    starts = first[3]
    assert starts.keys() == second[3].keys()
    alone = build(METHODS[method])
    record = decide(alone, make_batches())
    if method != 'GPS':  # its loss compares the images of a batch with each other
        assert first[0] == record.choices
    for name, start in alone.backbone.module.named_parameters():
        if name.endswith('down.weight') and method == 'EVA':
            assert torch.equal(starts[name], second[3][name])
            torch.testing.assert_close(starts[name], start, rtol=1e-4, atol=1e-5)
