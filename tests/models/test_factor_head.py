import pytest
import torch
import torch.nn.functional as F

from memba_vision.engine.factor_accuracy import FactorAccuracy
from memba_vision.models import FactorHead


@pytest.fixture
def head() -> FactorHead:
    torch.manual_seed(0)
    return FactorHead(6, {'kind': 5, 'hue': 3})


def test_each_factor_has_its_loss(head):
    features, labels = torch.randn(4, 6), torch.tensor([[0, 2], [4, 1], [3, 0], [1, 1]])
    losses = head.loss((features,), labels)
    weight, bias = head.fc.weight, head.fc.bias
    kind = F.cross_entropy(features @ weight[:5].T + bias[:5], labels[:, 0])
    hue = F.cross_entropy(features @ weight[5:].T + bias[5:], labels[:, 1])
    torch.testing.assert_close(losses, {'loss_kind': kind, 'loss_hue': hue})


def test_accuracy_is_the_mean_over_batches(head):
    metric = FactorAccuracy(['kind', 'hue'])
    features = torch.randn(4, 6)
    kind, hue = (logits.argmax(1) for logits in head((features,)))
    right = torch.stack([kind, hue], 1)
    wrong = torch.stack([(kind + 1) % 5, hue], 1)
    for labels in (right, wrong):
        metric.process({}, head.predict((features,), labels))
    assert metric.evaluate(2) == {'accuracy/kind': 50.0, 'accuracy/hue': 100.0}
