"""Training steps as CUDA graphs: refusals, and the batches that one graph takes."""

import pytest
import torch
from helpers import DEMO, as_arguments, run_tool, tiny_options
from mmpretrain.structures import DataSample

from memba_vision.engine.recorded_steps import kind_of, labels_of


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'cuda_graphs': 'maybe'}, "config: cuda_graphs is True or False, got 'maybe'"),
        ({'cuda_graphs': True}, 'cuda_graphs=True needs a GPU, and torch sees none: leave it out'),
    ],
    ids=['neither', 'no_gpu'],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_refusals(base, data_root, tmp_path, options, message):
    options = as_arguments(tiny_options(base, data_root, **options))
    assert message in run_tool('train', DEMO, '--work-dir', tmp_path, *options).error()


def batch_of(images: int, size: int = 8, mixed: bool = False) -> dict:
    samples = [DataSample().set_gt_label(number) for number in range(images)]
    for sample in samples if mixed else ():
        sample.set_gt_score(torch.full((images,), 1 / images))
    return {'inputs': torch.zeros(images, 3, size, size), 'data_samples': samples}


def test_labels_are_one_tensor_for_each_field():
    labels = labels_of(batch_of(3, mixed=True)['data_samples'])
    assert labels['gt_label'].tolist() == [[0], [1], [2]]
    assert labels['gt_score'].shape == (3, 3)


def test_a_graph_takes_batches_of_one_shape():
    assert kind_of(batch_of(3)) == kind_of(batch_of(3))
    kinds = [batch_of(3), batch_of(2), batch_of(3, size=9), batch_of(3, mixed=True)]
    assert len({kind_of(batch) for batch in kinds}) == 4
