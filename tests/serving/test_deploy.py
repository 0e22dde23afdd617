"""Graphs for other runtimes: the same logits, at any batch size, and what their users need."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from helpers import CONFIGS, DEMO, as_arguments, run_tool, tiny_options

import memba_vision
from memba_vision.errors import UserError
from memba_vision.registry import MODELS
from memba_vision.serving import deploy as deploying
from memba_vision.serving.deploy import METADATA, LogitsOfImages, deploy, describe, trace

METHODS = {
    'memba': DEMO,
    'lora': CONFIGS / 'demo' / 'digits_lora.py',
    'linear-probing': CONFIGS / 'demo' / 'digits_linear-probing.py',
}


@pytest.fixture(scope='module')
def trained(request, base, data_root, tmp_path_factory):
    """The checkpoint of a run, and its method."""
    folder = tmp_path_factory.mktemp(request.param)
    options = tiny_options(base, data_root)
    if request.param != 'memba':
        del options['model.backbone.rank']
    if request.param == 'linear-probing':
        options['model.neck.input_features'] = 16
    arguments = [METHODS[request.param], '--work-dir', folder, *as_arguments(options)]
    outcome = run_tool('train', *arguments)
    assert outcome.status == 0, outcome
    return folder / 'epoch_2.pth', request.param


def images(number: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(number)
    return torch.randn(number, 3, 48, 48, generator=generator)


def run_onnx(path):
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return lambda x: torch.from_numpy(np.asarray(session.run(None, {'images': x.numpy()})[0]))


@torch.no_grad()
def assert_equals_the_model(run, model):
    for number in (1, 3, 8):
        torch.testing.assert_close(run(images(number)), model(images(number)), rtol=0, atol=1e-4)


def export(trained: tuple, file_format: str, path: Path) -> torch.nn.Module:
    """Write the graph of a checkpoint, and return its model."""
    checkpoint, method = trained
    outcome = run_tool('export', checkpoint, path, '--as', file_format)
    assert outcome.status == 0, outcome
    assert f'{path}: ' in outcome.out
    assert '3 of 3: comparing its answers' in outcome.err
    assert ('LIM stays as the gate' in outcome.out) == (method == 'memba')
    return memba_vision.load_trained(checkpoint)


def assert_describes(metadata: dict, read: Callable) -> None:
    assert read(metadata['classes']) == [str(digit) for digit in range(10)]
    assert read(metadata['size']) == [48, 48]
    assert read(metadata['mean']) == pytest.approx([123.675, 116.28, 103.53])
    assert read(metadata['std']) == pytest.approx([58.395, 57.12, 57.375])
    assert metadata['interpolation'] == 'bicubic'


@pytest.mark.slow
@pytest.mark.parametrize('trained', ['memba', 'linear-probing'], indirect=True)
def test_torch_export(trained, tmp_path):
    model = export(trained, 'torch-export', tmp_path / 'digits.pt2')
    files = {METADATA: ''}
    program = torch.export.load(tmp_path / 'digits.pt2', extra_files=files)
    assert_equals_the_model(program.module(), model)
    assert_describes(json.loads(files[METADATA]), read=lambda value: value)


@pytest.mark.slow
@pytest.mark.parametrize('trained', ['memba', 'lora'], indirect=True)
def test_onnx(trained, tmp_path):
    model = export(trained, 'onnx', tmp_path / 'digits.onnx')
    assert_equals_the_model(run_onnx(tmp_path / 'digits.onnx'), model)
    proto = onnx.load(tmp_path / 'digits.onnx')
    onnx.checker.check_model(proto)
    assert {opset.domain for opset in proto.opset_import} <= {'', 'pkg.onnxscript.torch_lib.common'}
    assert str(tmp_path.parent.name).encode() not in proto.SerializeToString()
    assert b'memba_vision/' not in proto.SerializeToString(), 'paths of the code that was traced'
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert_describes(metadata, json.loads)


@pytest.fixture
def model():
    arch = dict(embed_dims=8, num_layers=1)
    return memba_vision.get_model('vim_mini_lora', num_classes=2, arch=arch)


@pytest.mark.slow
def test_the_model_stays_as_it_was(model, tmp_path):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert 'stays as it is' not in deploy(model, tmp_path / 'a.pt2', 'torch-export')
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.backbone.adapter_parameters()['layers.0.mixer.in_proj.up.weight'].requires_grad


def test_names_of_files(tmp_path):
    error = run_tool('export', 'a.pth', tmp_path / 'a.pt2', '--as', 'onnx').error()
    assert 'the name must end in .onnx' in error
    error = run_tool('export', 'a.pth', tmp_path / 'a.onnx', '--as', 'torch-export').error()
    assert 'the name must end in .pt2' in error


@pytest.mark.parametrize(('name', 'file_format'), [('a.onnx', 'ONNX'), ('a.pt2', 'onnx')])
def test_formats_that_are_none(model, tmp_path, name, file_format):
    with pytest.raises(UserError, match=r'unknown format|must end in \.onnx'):
        deploy(model, tmp_path / name, file_format)
    assert not list(tmp_path.iterdir())


def test_a_nan_of_one_batch_is_a_difference(model):
    graph = LogitsOfImages(model)

    def run(images):
        return graph(images) * (float('nan') if len(images) == 3 else 1)

    assert math.isnan(deploying._largest_difference(run, graph))


def test_a_missing_package_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(UserError, match=r"needs onnxscript: pip install 'memba_vision\[deploy\]'"):
        deploy(model, tmp_path / 'a.onnx', 'onnx')


def test_a_graph_that_differs_is_not_written(model, tmp_path, monkeypatch):
    monkeypatch.setattr(deploying, 'TOLERANCE', -1.0)
    with pytest.raises(UserError, match=r'a\.pt2 was not written: its logits differ'):
        deploy(model, tmp_path / 'a.pt2', 'torch-export')
    assert not (tmp_path / 'a.pt2').exists()


def test_what_cannot_be_traced_says_so(model, tmp_path):
    class Undecided(torch.nn.Module):
        def forward(self, features):
            return features if features[0].sum() > 0 else ()

    model.backbone.module.norm_f = Undecided()
    with pytest.raises(UserError, match='this method cannot be exported '):
        deploy(model, tmp_path / 'a.pt2', 'torch-export')


def test_preprocessing_that_a_file_cannot_describe(model):
    pipeline = model._config.test_dataloader.dataset.pipeline
    pipeline.insert(2, dict(type='CenterCrop', crop_size=40))
    with pytest.raises(UserError, match='LoadImageFromFile, Resize, CenterCrop, PackInputs'):
        describe(model)
    pipeline[:] = [dict(type='LoadOther'), pipeline[1], pipeline[3]]
    with pytest.raises(UserError, match='it is LoadOther, Resize, PackInputs'):
        describe(model)
    model._config.pop('test_dataloader')
    with pytest.raises(UserError, match='no test_dataloader'):
        describe(model)


def test_a_wrapped_dataset_and_another_way_to_resize_are_described(model):
    loader = model._config.test_dataloader
    loader.dataset.pipeline[1]['backend'] = 'pillow'
    loader.dataset = dict(type='RepeatDataset', times=1, dataset=loader.dataset)
    assert (describe(model)['size'], describe(model)['backend']) == ([48, 48], 'pillow')


def test_grey_pixels_are_described(tmp_path):
    arch = dict(embed_dims=8, num_layers=1)
    model = memba_vision.get_model('vim_mini_lora', num_classes=2, arch=arch, in_channels=1)
    model.data_preprocessor = MODELS.build(dict(type='ClsDataPreprocessor'))
    found = describe(model)
    assert found['input'].startswith('images: (batch, 1, height, width) float32; ')
    assert 'of grey pixels' in found['input'] and found['mean'] == [0.0] and found['std'] == [1.0]


@pytest.mark.slow
def test_a_graph_takes_images_of_the_size_that_it_states(tmp_path):
    settings = dict(arch=dict(embed_dims=8, num_layers=1), dynamic_img_size=True)
    model = memba_vision.get_model('vim_mini_lora', num_classes=2, **settings)
    model._config.test_dataloader.dataset.pipeline[1]['scale'] = (64, 32)
    deploy(model, tmp_path / 'a.pt2', 'torch-export')
    graph, given = torch.export.load(tmp_path / 'a.pt2').module(), torch.randn(2, 3, 32, 64)
    with torch.no_grad():
        torch.testing.assert_close(graph(given), model(given), rtol=0, atol=1e-4)


def test_a_size_that_the_backbone_does_not_take(model, tmp_path):
    model._config.test_dataloader.dataset.pipeline[1]['scale'] = (64, 32)
    with pytest.raises(UserError, match=r'images of 32 x 64 pixels: .* was built for .* 48'):
        deploy(model, tmp_path / 'a.pt2', 'torch-export')


def test_a_place_that_cannot_be_written_is_known_first(model, tmp_path):
    (tmp_path / 'file').touch()
    told = []
    with pytest.raises(UserError, match='file is no folder'):
        deploy(model, tmp_path / 'file' / 'a.pt2', 'torch-export', told.append)
    assert not told


@pytest.mark.parametrize(
    ('resize', 'said'),
    [
        (dict(scale=48), [48, 48]),
        (dict(scale=(64, 48), keep_ratio=False), [64, 48]),
        (dict(scale=(64, 48), keep_ratio=True), 'Resize with keep_ratio, PackInputs'),
        (dict(scale_factor=0.5), 'Resize without scale, PackInputs'),
    ],
    ids=str,
)
def test_the_size_is_described_if_there_is_one(model, resize, said):
    model._config.test_dataloader.dataset.pipeline[1] = dict(type='Resize', **resize)
    if isinstance(said, list):
        assert describe(model)['size'] == said
    else:
        with pytest.raises(UserError, match=said):
            describe(model)


def test_pixels_are_described_as_the_model_takes_them(model):
    assert 'RGB' in describe(model)['input']
    model.data_preprocessor = MODELS.build(dict(type='ClsDataPreprocessor'))
    found = describe(model)
    assert ('BGR' in found['input'], found['mean'], found['std']) == (True, [0.0] * 3, [1.0] * 3)


@pytest.mark.slow
@pytest.mark.parametrize('preset', ['hybrid', 'memba_gate', 'memba_lstm', 'ssm_lora'])
def test_methods_of_every_kind_can_be_traced(preset):
    torch.manual_seed(0)
    settings = dict(arch=dict(embed_dims=8, num_layers=2, d_state=2), img_size=16)
    model = memba_vision.get_model(f'vim_mini_{preset}', num_classes=2, **settings)
    for parameter in model.backbone.adapter_parameters().values():
        torch.nn.init.normal_(parameter, std=0.1)
    graph = trace(LogitsOfImages(model)).module()
    small = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(graph(small), model(small), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_vim_mini_with_a_membrane(tmp_path):
    torch.manual_seed(0)
    model = memba_vision.get_model('vim_mini_memba', pretrained=True, num_classes=10)
    for name, parameter in model.backbone.adapter_parameters().items():
        if '.up.' in name:
            torch.nn.init.normal_(parameter, std=0.05)
    deploy(model, tmp_path / 'mini.onnx', 'onnx')
    assert_equals_the_model(run_onnx(tmp_path / 'mini.onnx'), model)
