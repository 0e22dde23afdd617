"""Features that are kept give the same bits as features that are computed anew."""

import json
import shutil
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from helpers import CONFIGS, VALIDATION, as_arguments, forget_runs, run_tool
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmpretrain.models import ClsDataPreprocessor, ImageClassifier, LinearClsHead
from mmpretrain.structures import DataSample, MultiTaskDataSample
from torch import nn
from torch.utils.data import DataLoader

import memba_vision.runs.training
from memba_vision.datasets.vtab1k import VTAB1k
from memba_vision.engine.hooks import KeepFeaturesHook
from memba_vision.engine.kept_features.classifier import KeptBatch, OnKeptFeatures
from memba_vision.engine.kept_features.computing import Purpose
from memba_vision.engine.kept_features.layout import Layout, same_bits
from memba_vision.engine.kept_features.loader import KeptLoader
from memba_vision.engine.kept_features.reasons import reason_of_data, reason_of_run
from memba_vision.engine.kept_features.store import digest_of, open_store
from memba_vision.engine.runner import ReadableRunner
from memba_vision.models.backbones.vim import Vim
from memba_vision.registry import DATASETS, HOOKS, MODELS
from memba_vision.runs.config import load_config
from memba_vision.weights import read_checkpoint

PROBE = CONFIGS / 'demo' / 'digits_linear-probing.py'
IMAGES = 32
KEPT = f'Features of the training images are kept: {IMAGES} images'
#: A linear probe that is validated after each epoch.
CONFIG = """
_base_ = {probe!r}
train_dataloader = dict(dataset=dict(data_root={data_root!r}))
test_dataloader = dict(dataset=dict(data_root={data_root!r}))
"""
TINY = """
model = dict(
    backbone=dict(module=dict(arch=dict(embed_dims=16, num_layers=2),
                              init_cfg=dict(checkpoint={base!r}))),
    neck=dict(input_features=16), head=dict(in_channels=16))
"""
OPTIONS = {
    'train_cfg.max_epochs': 4,
    'train_dataloader.batch_size': 8,
    'val_dataloader.batch_size': 8,
    'default_hooks.logger.interval': 1,
    'default_hooks.checkpoint.interval': 1,
    'default_hooks.checkpoint.max_keep_ckpts': 9,
    'param_scheduler.0.end': 1,
    'param_scheduler.1.begin': 1,
}
AMP = {'optim_wrapper.type': 'BFloat16OptimWrapper'}
DROPOUT = {'model.head.type': 'DropoutHead', 'default_hooks.epoch_seed.type': 'EmptyCacheHook'}


@MODELS.register_module()
class DropoutHead(LinearClsHead):
    """Draws random numbers behind the backbone."""

    def pre_logits(self, feats):
        return F.dropout(super().pre_logits(feats), 0.5, self.training)


@pytest.fixture
def write_config(base, data_root, tmp_path):
    def write(tiny: bool = True) -> Path:
        text = (CONFIG + VALIDATION).format(probe=str(PROBE), data_root=str(data_root))
        text += TINY.format(base=str(base)) if tiny else ''
        path = tmp_path / 'digits_linear-probing.py'
        path.write_text(text)
        return path

    return write


def train(config: Path, work_dir: Path, options: dict, *arguments: object) -> str:
    """Train, and return the log."""
    options = as_arguments({**OPTIONS, **options})
    outcome = run_tool('train', config, '--work-dir', work_dir, *arguments, *options)
    assert outcome.status == 0, outcome
    return outcome.out + outcome.err


def numbers_of(work_dir: Path) -> dict:
    """All that a run measured and saved: losses, gradients, metrics, weights, optimizer states."""
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    timed = ('time', 'data_time', 'memory')
    saved = read_checkpoint(str(work_dir / 'epoch_4.pth'))
    return {
        'logged': [{k: v for k, v in line.items() if k not in timed} for line in lines],
        'weights': {name: tensor.tolist() for name, tensor in saved['state_dict'].items()},
        'optimizer': str(saved['optimizer']),
        'result': json.loads((work_dir / 'result.json').read_text())['value'],
    }


def both_ways(config: Path, tmp_path: Path, options: dict, *arguments: object) -> str:
    """Train with features kept and anew; check that numbers agree, and return the first log."""
    log = train(config, tmp_path / 'kept', options, *arguments)
    anew = {**options, 'keep_features': False}
    assert 'Features' not in train(config, tmp_path / 'anew', anew, *arguments)
    kept, plain = numbers_of(tmp_path / 'kept'), numbers_of(tmp_path / 'anew')
    assert len(kept['logged']) > 7
    assert kept == plain
    assert not (tmp_path / 'kept' / 'features').exists()
    return log


@pytest.mark.parametrize(
    ('backbone', 'more'),
    [
        ('vim-mini', {}),
        pytest.param('vim-mini', AMP, marks=pytest.mark.slow),
        pytest.param('vmamba-mini', {}, marks=pytest.mark.slow),
        pytest.param('vit-mini', {}, marks=pytest.mark.slow),
    ],
    ids=['vim', 'vim-bfloat16', 'vmamba', 'vit'],
)
def test_numbers_are_those_of_features_computed_anew(write_config, tmp_path, backbone, more):
    # The last batch of an epoch is of one image, which oneDNN multiplies in another way.
    options = {'train_dataloader.batch_size': 31, **more}
    log = both_ways(write_config(tiny=False), tmp_path, options, '--backbone', backbone)
    assert KEPT in log
    assert 'Features of the validation images are kept: 20 images' in log
    assert 'computed anew each epoch' not in log


@pytest.mark.parametrize(
    'options',
    [
        DROPOUT,
        {**DROPOUT, 'train_dataloader.num_workers': 1},
        {
            **DROPOUT,
            'train_dataloader.num_workers': 1,
            'train_dataloader.persistent_workers': True,
        },
        {
            'train_dataloader.collate_fn.type': 'default_collate',
            'train_dataloader.drop_last': True,
            'train_dataloader.batch_size': 7,
        },
        {
            'train_dataloader.batch_size': 100,
            'train_dataloader.sampler.type': 'RepeatAugSampler',
        },
        {
            'data_preprocessor.to_onehot': True,
            'model.head.loss.use_soft': True,
            'optim_wrapper.accumulative_counts': 3,
        },
    ],
    ids=lambda options: ','.join(key.split('.')[-1] for key in options),
)
def test_random_numbers_and_labels_stay_as_they_are(write_config, tmp_path, options):
    assert KEPT in both_ways(write_config(), tmp_path, options)


def test_a_resumed_run_ends_with_the_same_bits(write_config, tmp_path):
    config, whole = write_config(), tmp_path / 'whole'
    train(config, whole, {})
    part = shutil.copytree(whole, tmp_path / 'part')
    for epoch in (3, 4):
        (part / f'epoch_{epoch}.pth').unlink()
    assert KEPT in train(config, part, {}, '--resume')
    resumed, expected = numbers_of(part), numbers_of(whole)
    assert resumed['weights'] == expected['weights']
    assert resumed['optimizer'] == expected['optimizer']
    assert resumed['result'] == expected['result']


def counted(monkeypatch) -> list[int]:
    """Have a list that gets the size of each batch that the backbone computes."""
    sizes: list[int] = []
    forward = Vim.forward

    def counting(self, inputs):
        sizes.append(len(inputs))
        return forward(self, inputs)

    monkeypatch.setattr(Vim, 'forward', counting)
    return sizes


def test_the_backbone_sees_each_image_once(write_config, tmp_path, monkeypatch):
    config, sizes = write_config(), counted(monkeypatch)
    train(config, tmp_path, {'train_cfg.max_epochs': 9, 'keep_features': True})
    trials = 3 * 4  # the sanity check of training, validation and test
    validated = 24 + 8 + 4  # 20 images in even batches, and a comparison of each size
    assert sum(sizes) == trials + (IMAGES + 8) + validated + 20


def test_features_that_fill_the_memory_are_mapped(write_config, tmp_path, monkeypatch):
    mapping = partial(KeepFeaturesHook, limit=0)
    monkeypatch.setattr(memba_vision.runs.training, 'KeepFeaturesHook', mapping)
    assert KEPT in both_ways(write_config(), tmp_path, {})


class Failure(KeepFeaturesHook):
    """Ends the process, as it were, in the second epoch."""

    __module__ = KeepFeaturesHook.__module__

    def before_train_epoch(self, runner):
        if runner.epoch == 1:
            raise RuntimeError('killed')


def test_a_resumed_run_takes_the_mapped_features_of_the_same_images(
    write_config, tmp_path, monkeypatch
):
    config, sizes = write_config(), counted(monkeypatch)
    for hook in (Failure, KeepFeaturesHook):
        hook = partial(hook, limit=0)
        monkeypatch.setattr(memba_vision.runs.training, 'KeepFeaturesHook', hook)
        if hook.func is Failure:
            with pytest.raises(RuntimeError, match='killed'):
                train(config, tmp_path / 'kept', {})
            assert (tmp_path / 'kept' / 'features' / 'train.bin').is_file()
            sizes.clear()
        else:
            assert KEPT in train(config, tmp_path / 'kept', {}, '--resume')
    # One batch of each is computed to see its shape, and one is compared.
    assert sum(sizes) == 3 * 4 + (8 + 8) + (8 + 8 + 4) + 20
    train(config, tmp_path / 'anew', {'keep_features': False})
    assert numbers_of(tmp_path / 'kept')['weights'] == numbers_of(tmp_path / 'anew')['weights']


def test_mapped_features_of_other_weights_are_not_taken(tmp_path):
    features = [torch.randn(4, 3).bfloat16(), torch.randn(4, 2, 2)]
    compute = Mock(return_value=features)
    for settings, calls in (('one', 1), ('one', 1), ('other', 2), ('other', 2)):
        store = open_store(tmp_path / 'new' / 'file', 8, 2, features, limit=0)
        store.add(1, range(4, 8), partial(digest_of, torch.ones(4), settings), compute)
        assert compute.call_count == calls
        assert all(map(same_bits, store.get(range(4, 8)), features))
    assert open_store(tmp_path / 'new' / 'file', 9, 3, features, limit=0).get([8])[0].eq(0).all()


def test_without_room_features_are_computed_anew(write_config, tmp_path, monkeypatch):
    mapping = partial(KeepFeaturesHook, limit=0)
    monkeypatch.setattr(memba_vision.runs.training, 'KeepFeaturesHook', mapping)
    (tmp_path / 'kept').mkdir()
    (tmp_path / 'kept' / 'features').write_text('a file where a folder should be')
    log = train(write_config(), tmp_path / 'kept', {})
    assert 'computed anew each epoch: they find no room in' in log


@MODELS.register_module()
class NoisyVim(Vim):
    """Draws random numbers where no module shows it."""

    def forward(self, inputs):
        return tuple(F.dropout(x, 0.5, self.training) for x in super().forward(inputs))


@MODELS.register_module()
class RelativeVim(Vim):
    """Its features depend on the other images of the batch."""

    def forward(self, inputs):
        return tuple(x - x.mean(0) for x in super().forward(inputs))


@pytest.mark.parametrize(
    ('backbone', 'reason'),
    [
        ('NoisyVim', 'the backbone or a transform draws random numbers'),
        ('RelativeVim', 'they depend on the place of an image in its batch'),
    ],
)
def test_a_backbone_that_varies_shows_by_what_it_does(write_config, tmp_path, backbone, reason):
    log = both_ways(write_config(), tmp_path, {'model.backbone.module.type': backbone})
    assert f'Features of the training images are computed anew each epoch: {reason}' in log


class Unfreezing(KeepFeaturesHook):
    """Changes the backbone's weights in the third epoch."""

    __module__ = KeepFeaturesHook.__module__

    def before_train_epoch(self, runner):
        if runner.epoch == 2:
            with torch.no_grad():
                next(runner.model.parameters()).mul_(1.1)


def test_a_backbone_that_is_changed_is_asked_again(write_config, tmp_path, monkeypatch):
    monkeypatch.setattr(memba_vision.runs.training, 'KeepFeaturesHook', Unfreezing)
    log = train(write_config(), tmp_path, {})
    assert KEPT in log
    assert 'computed anew each epoch: the backbone is no longer what it was' in log


@MODELS.register_module()
class NormedVim(Vim):
    """Has statistics of each batch, in evaluation too."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.bn = nn.BatchNorm1d(16, affine=False, track_running_stats=False)


@DATASETS.register_module()
class Moody(VTAB1k):
    """Reads images in a way of its own."""

    def prepare_data(self, idx):
        return super().prepare_data(idx)


@MODELS.register_module()
class Own(ClsDataPreprocessor):
    """Might add noise."""


@HOOKS.register_module()
class Custom(Hook):
    """Might do anything."""


#: Options, and the reason why features are not kept.
VARYING = [
    ({'model.backbone.module.drop_path_rate': 0.1}, 'DropPath (module.layers.1.drop_path) draws'),
    (
        {'model.train_cfg.augments': {'type': 'Mixup', 'alpha': 1.0}},
        'the data preprocessor mixes images',
    ),
    ({'model.data_preprocessor.type': 'Own'}, 'Own may draw random numbers'),
    ({'model.backbone.module.type': 'NormedVim'}, 'BatchNorm1d (module.bn) depends on the whole'),
    ({'custom_hooks': [{'type': 'EMAHook'}]}, 'EMAHook may change the backbone'),
    ({'custom_hooks': [{'type': 'Custom'}]}, 'Custom may change the backbone'),
    ({'default_hooks.visualization.enable': True}, 'VisualizationHook may change'),
    ({'compile.backend': 'aot_eager'}, 'the model is compiled'),
    ({'train_cfg.by_epoch': False, 'train_cfg.max_iters': 8}, 'does not count epochs'),
]


def build(config: Path, work_dir: Path, options: dict) -> ReadableRunner:
    forget_runs()
    config = load_config(str(config), {**OPTIONS, **options}, str(work_dir))
    if not config.train_cfg.by_epoch:
        del config.train_cfg['max_epochs']
    runner = ReadableRunner.from_cfg(config)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.model.train()
    return runner


@pytest.mark.parametrize(('options', 'reason'), VARYING, ids=lambda case: str(case)[:40])
def test_a_run_that_varies(write_config, tmp_path, options, reason):
    assert reason in reason_of_run(build(write_config(), tmp_path, options))


def test_a_report_of_membranes_where_there_are_none(write_config, tmp_path):
    runner = build(write_config(), tmp_path, {'custom_hooks': [{'type': 'MembraneReportHook'}]})
    assert reason_of_run(runner) is None


def test_several_processes(write_config, tmp_path):
    runner = build(write_config(), tmp_path, {})
    runner.model = OnKeptFeatures(runner.model)  # a wrapper, as that of a distributed run is
    assert reason_of_run(runner) == 'several processes share the images'


@pytest.mark.parametrize(
    ('options', 'reason'),
    [
        ({'type': 'Moody'}, 'Moody may draw random numbers'),
        ({'pipeline': [{'type': 'RandomFlip', 'prob': 0.5}]}, 'RandomFlip may draw'),
        ({'pipeline': [{'type': 'ColorJitter'}]}, 'ColorJitter may draw'),
        ({'pipeline.0.ignore_empty': True}, 'takes another image at random'),
    ],
    ids=lambda case: str(case)[:40],
)
def test_data_that_vary(write_config, tmp_path, options, reason):
    place = 'train_dataloader.dataset.'
    runner = build(write_config(), tmp_path, {place + key: v for key, v in options.items()})
    assert reason_of_run(runner) is None
    assert reason in reason_of_data(runner.train_dataloader)


@MODELS.register_module()
class MeanColour(nn.Module):
    """Takes images of any size."""

    def forward(self, inputs):
        return (inputs.mean((2, 3)),)


@pytest.mark.parametrize(
    ('widths', 'labels', 'reason'),
    [
        # The data preprocessor fills them up to the largest of their batch.
        ([4, 5], 1, 'the images have different sizes'),
        ([4, 4], 2, 'the images have no labels, or several'),
    ],
)
def test_images_that_do_not_suit(tmp_path, widths, labels, reason):
    kind = DataSample if labels == 1 else MultiTaskDataSample
    images = [{'inputs': torch.ones(3, 4, w), 'data_samples': kind()} for w in widths]
    head = {'type': 'LinearClsHead', 'num_classes': 2, 'in_channels': 3}
    model = ImageClassifier(backbone={'type': 'MeanColour'}, head=head)
    told: list[str] = []
    purpose = Purpose('images', tmp_path / 'x', True, nullcontext, lambda: False, told.append)
    for size in (1, 2):
        loader = KeptLoader(DataLoader(images, size, collate_fn=pseudo_collate), model, purpose)
        assert not any(isinstance(batch, KeptBatch) for batch in loader)
    assert told == 2 * [f'Features of the images are computed anew each epoch: {reason}']


@pytest.mark.parametrize(('device', 'kept'), [('cpu', [2, 1, 2, 1]), ('cuda', [2, 2])])
def test_a_gpu_computes_smaller_batches_anew(tmp_path, monkeypatch, device, kept):
    images = [{'inputs': torch.ones(3, 4, 4) * i, 'data_samples': DataSample()} for i in range(3)]
    model = ImageClassifier(backbone={'type': 'MeanColour'})
    told: list[str] = []
    purpose = Purpose('images', tmp_path / 'x', True, nullcontext, lambda: False, told.append)
    loader = KeptLoader(DataLoader(images, 2, collate_fn=pseudo_collate), model, purpose)
    assert isinstance(next(iter(loader)), KeptBatch)
    seen = Mock(data_preprocessor=Mock(wraps=model.data_preprocessor), backbone=model.backbone)
    seen.data_preprocessor.device = torch.device(device)
    monkeypatch.setattr(loader, 'model', seen)
    batches = [batch for _ in range(2) for batch in loader]
    assert [len(b['data_samples']) for b in batches if isinstance(b, KeptBatch)] == kept
    assert any('batches of 1: a GPU may round' in line for line in told) is (device == 'cuda')


def test_a_run_that_is_to_end_does_not_wait_for_features(tmp_path):
    images = [{'inputs': torch.ones(3, 4, 4), 'data_samples': DataSample()}]
    model = ImageClassifier(backbone={'type': 'MeanColour'})
    told: list[str] = []
    purpose = Purpose('images', tmp_path / 'x', True, nullcontext, lambda: True, told.append)
    list(KeptLoader(DataLoader(images, collate_fn=pseudo_collate), model, purpose))
    assert told == ['Features of the images are computed anew each epoch: the run is about to end']


def test_adapters_that_train_are_no_news(write_config, tmp_path):
    log = train(write_config(), tmp_path, {}, '--peft', 'lora')
    assert 'Features' not in log


def test_the_switch_is_true_or_false(write_config, tmp_path):
    options = as_arguments({**OPTIONS, 'keep_features': 'maybe'})
    outcome = run_tool('train', write_config(), '--work-dir', tmp_path, *options)
    assert "keep_features is True or False, got 'maybe'" in outcome.error()


@pytest.mark.parametrize('backbone', ['vim-mini', 'vmamba-mini', 'vit-mini'])
@pytest.mark.parametrize('amp', [False, True], ids=['float32', 'bfloat16'])
def test_features_do_not_depend_on_the_rest_of_a_batch(write_config, tmp_path, backbone, amp):
    """It is what kept features stand on: batches of one size give the same bits in any order.

    One of another size may round in another way, as VMamba does with one image in float32.
    """
    config = load_config(str(write_config(tiny=False)), {}, str(tmp_path), backbone=backbone)
    model = MODELS.build(config.model)
    images = torch.randn(16, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=amp):
        for size in (1, 2, 8):
            straight = torch.cat([model.backbone(x)[0] for x in images.split(size)])
            shuffled = torch.cat([model.backbone(x)[0] for x in images[order].split(size)])
            assert same_bits(straight[order], shuffled)


@pytest.mark.parametrize(
    'tensor',
    [
        torch.randn(4, 5, 6)[:, 2],
        torch.randn(4, 6, 5).permute(0, 2, 1),
        torch.randn(5, 4, 3).transpose(0, 1),
        torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last),
        torch.randn(4, 3).bfloat16(),
        torch.randn(1, 3),
    ],
    ids=['token', 'map', 'batch second', 'channels last', 'bfloat16', 'one image'],
)
def test_a_batch_lies_in_memory_as_the_backbone_left_it(tensor):
    filled = Layout.of(tensor).filled(tensor.clone().contiguous())
    assert same_bits(filled, tensor)
    assert Layout.of(filled) == Layout.of(tensor)


def test_bits_are_compared():
    zero = torch.zeros(2)
    assert same_bits(zero, zero.clone())
    assert not same_bits(zero, -zero)
    assert not same_bits(zero, zero.double())
    assert not same_bits(zero, torch.zeros(2, 1))
    assert same_bits(torch.tensor([float('nan')]), torch.tensor([float('nan')]))
