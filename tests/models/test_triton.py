"""A whole model on Triton's kernels: on a GPU, or on the CPU by Triton's interpreter."""

import pytest
import torch

from memba_vision.ops.triton_kernels import presence
from memba_vision.registry import MODELS

if presence.MISSING:
    pytest.skip(presence.MISSING, allow_module_level=True)

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
OPS = ('SELECTIVE_SCAN', 'LEAKY_INTEGRATE', 'MEMBRANE_GATE')


def features_and_grads(model, images):
    features = model(images)[-1]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [features, *torch.autograd.grad(features.square().sum(), trained)]


@pytest.mark.parametrize('site', ['lora', 'gate'])
def test_memba_equals_the_plain_loops(site, monkeypatch):
    torch.manual_seed(0)
    arch = dict(embed_dims=8, num_layers=2)
    module = dict(type='Vim', arch=arch, img_size=16, patch_size=8, drop_path_rate=0.0)
    settings = dict(type='MembaModel', module=module, rank=2, scale=1.0, drop_rate=0.0, site=site)
    model = MODELS.build(settings).to(DEVICE)
    for name, parameter in model.named_parameters():
        if name.endswith('up.weight'):
            torch.nn.init.normal_(parameter)
    images = torch.randn(2, 3, 16, 16, device=DEVICE)
    results = []
    for backend, launches in (('naive', 'torch'), ('triton', 'torch'), ('triton', 'triton')):
        monkeypatch.setenv('MEMBA_VISION_BIDIRECTIONAL_SCAN_BACKEND', launches)
        for op in OPS:
            monkeypatch.setenv(f'MEMBA_VISION_{op}_BACKEND', backend)
        results.append(features_and_grads(model, images))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-4, atol=1e-5)
