"""A whole Vim under torch's transforms, and its derivatives."""

import io

import onnxruntime
import pytest
import torch
from torch.autograd import forward_ad
from torch.func import functional_call

from memba_vision.models import PEFTModel, Vim
from memba_vision.ops.backends import TABLES

LORA = dict(type='LoRA', targets=['in_proj'], rank=3)
ADAPTERS = {
    'plain': None,
    'memba': [LORA, dict(type='LIM')],
}


@pytest.fixture(params=ADAPTERS)
def model(request):
    torch.manual_seed(0)
    vim = Vim(arch=dict(embed_dims=16, num_layers=2, d_state=4), img_size=32, patch_size=8)
    adapters = ADAPTERS[request.param]
    return (vim if adapters is None else PEFTModel(vim, adapters)).eval()


def make_images(count=2, seed=1):
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.filterwarnings('ignore:`torch.jit.script` is deprecated')  # torch's own forward mode
def test_forward_derivatives(model):
    images, direction = make_images(), make_images(seed=2)
    step = 1e-2 * direction
    with torch.no_grad():
        expected = (model(images + step)[0] - model(images - step)[0]) / 2e-2
        _, tangent = torch.func.jvp(lambda x: model(x)[0], (images,), (direction,))
        with forward_ad.dual_level():
            dual = forward_ad.unpack_dual(model(forward_ad.make_dual(images, direction))[0]).tangent
    assert expected.abs().max() > 0.1
    for actual in (tangent, dual):
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-3)


def test_gradients_per_image(model):
    def loss(parameters, image):
        return functional_call(model, parameters, (image[None],))[0].square().sum()

    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    images = make_images()
    grads = torch.vmap(torch.func.grad(loss), (None, 0))(parameters, images)
    model(images)[0].square().sum().backward()
    for name, parameter in parameters.items():
        torch.testing.assert_close(grads[name].sum(0), parameter.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings('ignore::FutureWarning')
@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
def test_a_traced_model_runs_from_its_file(model):
    images = make_images()
    file = io.BytesIO()
    traced = torch.jit.trace(model, images, check_trace=False)
    assert 'memba_vision::' not in str(traced.inlined_graph)
    torch.jit.save(traced, file)
    file.seek(0)
    loaded = torch.jit.load(file)
    torch.testing.assert_close(loaded(images)[0], model(images)[0], rtol=1e-4, atol=1e-5)
    images = make_images(3)
    torch.testing.assert_close(loaded(images)[0], model(images)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings('ignore::FutureWarning', 'ignore::DeprecationWarning')
@pytest.mark.filterwarnings('ignore::UserWarning', 'ignore::torch.jit.TracerWarning')
def test_the_older_onnx_export(model):
    images, file = make_images(), io.BytesIO()
    torch.onnx.export(model, (images,), file, dynamo=False, input_names=['images'])
    session = onnxruntime.InferenceSession(file.getvalue(), providers=['CPUExecutionProvider'])
    (out,) = session.run(None, {'images': images.numpy()})
    torch.testing.assert_close(torch.from_numpy(out), model(images)[0], rtol=1e-4, atol=1e-5)


def test_second_derivatives(model):
    def derivatives(model, images):
        parameters = [p for p in model.parameters() if p.requires_grad]
        loss = model(images)[0].square().mean()
        grads = torch.autograd.grad(loss, parameters, create_graph=True)
        penalty = sum(grad.square().sum() for grad in grads)
        return penalty, torch.autograd.grad(penalty, parameters)

    images = make_images()
    penalty, grads = derivatives(model, images)
    model.double()
    with pytest.MonkeyPatch.context() as patch:
        for op, table in TABLES.items():
            portable = next(b for b in table._backends.values() if b.portable)
            patch.setenv(f'MEMBA_VISION_{op.upper()}_BACKEND', portable.name)
        expected, expected_grads = derivatives(model, images.double())
    torch.testing.assert_close(penalty.double(), expected, rtol=1e-4, atol=0)
    for actual, reference in zip(grads, expected_grads, strict=True):
        scale = reference.abs().max().item()
        torch.testing.assert_close(actual.double(), reference, rtol=1e-3, atol=1e-3 * scale)
