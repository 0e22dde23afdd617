"""Transformers as plain weights and as graphs."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from safetensors.torch import load_file

from memba_vision.errors import UserError
from memba_vision.registry import MODELS
from memba_vision.serving.deploy import LogitsOfImages, trace
from memba_vision.serving.export import export_merged

VIT = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
SWIN = dict(embed_dims=8, depths=[1, 2], num_heads=[1, 2])
BACKBONES = {
    'vit': dict(type='VisionTransformer', arch=VIT, img_size=32, patch_size=8),
    'timm': dict(type='TimmModel', model_name='test_vit', img_size=32),
    'swin': dict(type='SwinTransformer', arch=SWIN, img_size=32, window_size=4, out_indices=(1,)),
}


def make_config(name):
    lora = dict(type='LoRA', targets=['attn.q', 'attn.v'], rank=2, scale=1.0)
    model = dict(
        type='ImageClassifier',
        backbone=dict(type='PEFTModel', module=BACKBONES[name], adapters=[lora]),
        neck=dict(type='GlobalAveragePooling') if name == 'swin' else None,
        head=dict(type='LinearClsHead', num_classes=3, in_channels=64 if name == 'timm' else 16),
    )
    return Config(dict(model=model))


def make_model(name):
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = MODELS.build(make_config(name).model)
    for parameter in model.backbone.adapter_parameters().values():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.mark.parametrize('name', ['vit', 'timm'])
def test_a_graph_takes_any_number_of_images(name):
    model = make_model(name)
    graph = trace(LogitsOfImages(model)).module()
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(graph(images), model(images), rtol=1e-4, atol=1e-5)


def test_a_swin_of_mmpretrain_is_no_graph():
    with pytest.raises(UserError, match=r"^SwinTransformer cannot .*type='TimmModel'$"):
        trace(LogitsOfImages(make_model('swin')))


@pytest.mark.parametrize('name', BACKBONES)
def test_adapters_fold_into_plain_weights(tmp_path, name):
    model = make_model(name)
    torch.manual_seed(0)  # the same base
    torch.save({'meta': {}, 'state_dict': model.state_dict()}, tmp_path / 'trained.pth')
    export_merged(
        make_config(name), str(tmp_path / 'trained.pth'), str(tmp_path / 'out.safetensors')
    )
    weights = load_file(tmp_path / 'out.safetensors')
    assert {'head.weight', 'head.bias'} < weights.keys()
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'out.safetensors'))
    backbone = MODELS.build(
        dict(type='PEFTModel', module=BACKBONES[name] | dict(init_cfg=init_cfg))
    )
    images = torch.randn(2, 3, 32, 32)
    features = backbone.eval()(images)[0]
    torch.testing.assert_close(features, model.backbone(images)[0], rtol=1e-4, atol=1e-5)
