"""Trained models of every family in use: graphs, adapter files, banks, merged weights."""

import pytest
import torch
from small_families import MODELS

import memba_vision
from memba_vision.errors import UserError
from memba_vision.models.backbones.initialization import initialize_backbone
from memba_vision.registry import MODELS as REGISTRY
from memba_vision.serving.bank import AdapterBank
from memba_vision.serving.deploy import deploy
from memba_vision.serving.export import export_backbone, export_hf, export_merged
from memba_vision.zoo.adapter_files import write_adapter
from memba_vision.zoo.models import model_config

# Four directions take their time, and so do the two of Vim.
SLOW = {'mamba_reg_small', 'mamba_vision_tiny', 'vim_small', 'vmamba_tiny_s1l8', 'vmamba_v0_tiny'}
GRAPHS = [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in MODELS]
#: Graphs that cannot be made, and why.
NO_GRAPH = {'swin_tiny': 'its code fixes the number of images in a batch'}


def make_images(number=2):
    return torch.randn(number, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def trained(tmp_path):
    """A model with LoRA as a training leaves it, its config, its checkpoint and its base."""

    def make(name, **changed):
        torch.manual_seed(0)
        plain = memba_vision.get_model(name, num_classes=4, **MODELS[name] | changed)
        base = tmp_path / 'base.pth'
        torch.save(plain.backbone.state_dict(), base)
        settings = dict(MODELS[name] | changed, num_classes=4, pretrained=base)
        model = memba_vision.get_model(f'{name}_lora', **settings)
        with torch.no_grad():
            for parameter in model.backbone.adapter_parameters().values():
                parameter.normal_(std=0.1)
        checkpoint = tmp_path / 'epoch_1.pth'
        torch.save({'state_dict': model.state_dict(), 'meta': {}}, checkpoint)
        return model, model._config, checkpoint, base

    return make


@pytest.mark.parametrize('name', MODELS)
def test_merged_weights_load_by_name(name, trained, tmp_path):
    model, config, checkpoint, _ = trained(name)
    out = tmp_path / 'merged.safetensors'
    assert 'not in it' not in export_merged(config, str(checkpoint), str(out))
    merged = memba_vision.get_model(name, pretrained=out, **MODELS[name])
    torch.testing.assert_close(merged(make_images()), model(make_images()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', MODELS)
def test_a_backbone_trained_in_full_is_exported(name, tmp_path):
    model = memba_vision.get_model(name, num_classes=4, **MODELS[name])
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'epoch_1.pth')
    out = tmp_path / 'backbone.safetensors'
    export_backbone(str(tmp_path / 'epoch_1.pth'), str(out))
    found = memba_vision.get_model(name, pretrained=out, **MODELS[name])
    for key, tensor in found.backbone.state_dict().items():
        assert torch.equal(tensor, model.backbone.state_dict()[key])


@pytest.mark.parametrize('name', MODELS)
def test_adapters_of_peft(name, trained, tmp_path):
    pytest.importorskip('peft')
    _, config, checkpoint, _ = trained(name)
    assert 'adapter_config.json' in export_hf(config, str(checkpoint), str(tmp_path / 'hf'))


@pytest.mark.parametrize('name', MODELS)
def test_a_bank_answers_as_the_model_alone(name, trained, tmp_path):
    model, _, checkpoint, base = trained(name)
    write_adapter(str(checkpoint), tmp_path / 'adapter.safetensors')
    settings = model_config(name).model.backbone | MODELS[name]
    init_cfg = dict(type='Pretrained', checkpoint=str(base))
    backbone = REGISTRY.build({**settings, 'init_cfg': init_cfg})
    initialize_backbone(backbone)
    bank = AdapterBank(backbone.requires_grad_(False))
    backbone.eval()
    bank.add('lora', tmp_path / 'adapter.safetensors')
    torch.testing.assert_close(bank('lora', make_images()), model(make_images()))


@pytest.mark.parametrize('name', GRAPHS)
def test_graphs(name, trained, tmp_path):
    if name in NO_GRAPH:
        model, *_ = trained(name)
        with pytest.raises(UserError, match=NO_GRAPH[name]) as error:
            deploy(model, tmp_path / 'model.onnx', 'onnx')
        assert '\n' not in str(error.value)
    else:
        model, *_ = trained(name, img_size=16)
        assert 'logits differ by' in deploy(model, tmp_path / 'model.onnx', 'onnx')
