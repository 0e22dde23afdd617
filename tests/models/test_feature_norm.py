"""The neck: features of unit variance, also for a batch of one image."""

import pytest
import torch
from torch import nn

from memba_vision.models import FeatureNorm


@pytest.fixture
def neck():
    neck = FeatureNorm(4)
    for seed in range(3):
        neck((3 * torch.randn(16, 4, generator=torch.Generator().manual_seed(seed)) + 1,))
    return neck


def test_unit_variance_over_the_batch(neck):
    (features,) = neck((5 * torch.randn(64, 4) - 2,))
    torch.testing.assert_close(features.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.var(0, unbiased=False), torch.ones(4), atol=1e-4, rtol=0)


def test_a_batch_of_one_is_normalised_as_in_evaluation(neck):
    before = {name: tensor.clone() for name, tensor in neck.state_dict().items()}
    image = torch.randn(1, 4)
    (training,) = neck((image,))
    (evaluation,) = neck.eval()((image,))
    torch.testing.assert_close(training, evaluation)
    assert all(torch.equal(neck.state_dict()[name], tensor) for name, tensor in before.items())


def test_folded_into_a_linear_layer(neck):
    layer, images = nn.Linear(4, 3), torch.randn(5, 4)
    expected = layer(neck.eval()((images,))[0])
    layer.load_state_dict(neck.folded_into(layer))
    torch.testing.assert_close(layer(images), expected)
