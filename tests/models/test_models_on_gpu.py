"""Adapted models of every family on a GPU: against the same model on the CPU."""

import copy

import pytest
import torch
from mmpretrain.registry import MODELS

import memba_vision

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU'),
]
DEVICE = 'cuda'
LORA = dict(type='LoRA', targets=['mix.in', 'mix.out'], rank=3, scale=0.5)
VIM = dict(arch=dict(embed_dims=32, num_layers=2, d_state=4), img_size=32, patch_size=8)
VISION = dict(
    arch=dict(
        embed_dims=8, stem_dims=3, depths=(1, 1, 3, 2), num_heads=(2, 4), window_sizes=(2, 2)
    ),
    img_size=64,
)
CASES = {
    'memba': (dict(type='Vim', **VIM), [LORA, dict(type='LIM')]),
    'memba_gate': (dict(type='Vim', **VIM), [LORA, dict(type='LIM', site='gate')]),
    'lora': (dict(type='Vim', **VIM), [LORA]),
    'vmamba': (
        dict(type='VMamba', arch=dict(embed_dims=16, depths=(1, 2), ssm_ratio=1), img_size=32),
        [LORA],
    ),
    'mamba_reg': (
        dict(
            type='MambaReg',
            arch=dict(embed_dims=32, num_layers=2, d_state=4, num_registers=3, reduction=2),
            img_size=32,
        ),
        [LORA],
    ),
    'mamba_vision': (dict(type='MambaVision', **VISION), [LORA]),
}


def build(case):
    """A model with random adapters, in evaluation mode, and images for it."""
    torch.manual_seed(0)
    module, adapters = CASES[case]
    model = MODELS.build(dict(type='PEFTModel', module=module, adapters=adapters))
    with torch.no_grad():
        for parameter in model.adapter_parameters().values():
            parameter.normal_(std=0.1)
    size = module['img_size']
    return model.eval(), torch.randn(3, 3, size, size)


def features_and_grads(model, images):
    features = model(images)[-1]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # Of their squares' sum, which a norm keeps the same, the gradients would be next to nothing.
    weights = torch.linspace(-1, 2, features.numel(), device=features.device).sin()
    loss = (features.float() * weights.view(features.shape)).sum()
    return [features, *torch.autograd.grad(loss, trained)]


def both(case, precision):
    """The model's results on the GPU, and on the CPU in float32."""
    model, images = build(case)
    expected = features_and_grads(model, images)
    with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == 'bfloat16'):
        actual = features_and_grads(copy.deepcopy(model).to(DEVICE), images.to(DEVICE))
    return [tensor.detach().cpu().float() for tensor in actual], expected


@pytest.mark.parametrize('case', CASES)
def test_float32(case):
    for value, reference in zip(*both(case, 'float32'), strict=True):
        scale = reference.abs().max().item()
        torch.testing.assert_close(value, reference, rtol=1e-3, atol=1e-3 * scale)


@pytest.mark.parametrize('case', CASES)
def test_bfloat16(case):
    for value, reference in zip(*both(case, 'bfloat16'), strict=True):
        assert value.isfinite().all()
        cosine = torch.cosine_similarity(value.flatten(), reference.flatten(), dim=0)
        assert cosine > 0.98
        assert 0.9 < value.norm() / reference.norm() < 1.1


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
@pytest.mark.parametrize('case', CASES)
@torch.no_grad()
def test_folded(case, precision):
    model, images = build(case)
    model, images = model.to(DEVICE), images.to(DEVICE)
    folded = memba_vision.fold(model)
    assert {tensor.device.type for tensor in folded.parameters()} == {DEVICE}
    with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == 'bfloat16'):
        actual, expected = folded(images)[-1].float(), model(images)[-1].float()
    bound = 1e-4 if precision == 'float32' else 0.05
    torch.testing.assert_close(actual, expected, rtol=bound, atol=bound * expected.abs().max())


@pytest.mark.parametrize('case', ['memba', 'vmamba'])
def test_compiled_by_torch(case):
    """Traced by torch.compile; nothing is generated, which would take minutes."""
    model, images = build(case)
    model, images = model.to(DEVICE), images.to(DEVICE)
    expected = features_and_grads(model, images)
    compiled = torch.compile(model, backend='aot_eager')
    for value, reference in zip(features_and_grads(compiled, images), expected, strict=True):
        scale = reference.abs().max().item()
        torch.testing.assert_close(value, reference, rtol=1e-4, atol=1e-4 * scale)
