"""Reasons why the features of a training cannot be kept: what may differ from epoch to epoch."""

from collections.abc import Callable, Iterator

from mmengine.dataset import BaseDataset, Compose
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from memba_vision.datasets.wrapped_data import inner_datasets
from memba_vision.visualization.trace import find_membranes

#: Transforms of mmcv, mmpretrain and this package that give the same output each time.
TRANSFORMS = (
    *('LoadImageFromFile', 'LoadRGB', 'Resize', 'ResizeEdge', 'CenterCrop', 'Pad', 'Normalize'),
    *('ToNumpy', 'NumpyToPIL', 'PILToNumpy', 'ImageToTensor', 'Transpose', 'Collect', 'PackInputs'),
)
#: Hooks of mmengine and mmpretrain that neither change the backbone nor look at images.
HOOKS = (
    *('RuntimeInfoHook', 'IterTimerHook', 'DistSamplerSeedHook', 'LoggerHook', 'CheckpointHook'),
    *('ParamSchedulerHook', 'SyncBuffersHook', 'EarlyStoppingHook', 'EmptyCacheHook'),
    *('ClassNumCheckHook', 'ProfilerHook'),
)
#: Steps of a classifier from its data to its head.
STEPS = ('train_step', 'val_step', 'forward', 'loss', 'predict', 'extract_feat')
LIBRARIES = ('mmengine', 'mmcv', 'mmpretrain', 'memba_vision', 'torch')


def trains(module: nn.Module) -> bool:
    """Return True if a parameter of ``module`` requires a gradient."""
    return any(parameter.requires_grad for parameter in module.parameters())


def reason_of_run(runner: Runner) -> str | None:
    """Return the reason why no features of a run can be kept; None if there is none.

    Args:
        runner: at the start of the training, its model a classifier in training mode.
    """
    return next(_reasons_of_run(runner), None)


def reason_of_data(loader: DataLoader) -> str | None:
    """Return the reason why the images of ``loader`` may differ from epoch to epoch, or None."""
    return next(_reasons_of_data(loader), None)


def _reasons_of_run(runner: Runner) -> Iterator[str]:
    if get_world_size() > 1 or is_model_wrapper(runner.model):
        yield 'several processes share the images'
    if type(runner.train_loop) is not EpochBasedTrainLoop:
        yield 'the training does not count epochs'
    if runner.cfg.get('compile'):
        yield 'the model is compiled'
    if runner.cfg.get('cuda_graphs'):
        yield 'steps are CUDA graphs'
    if not isinstance(runner.optim_wrapper, OptimWrapper):
        yield 'there are several optimizers'
    yield from _reasons_of_model(runner.model)
    for hook in runner.hooks:
        if not _is_harmless(hook, runner.model):
            yield f'{type(hook).__name__} may change the backbone, or look at the images'


def _reasons_of_model(model: nn.Module) -> Iterator[str]:
    from mmpretrain.models import ClsDataPreprocessor, ImageClassifier  # it takes seconds

    cls = type(model)
    if not isinstance(model, ImageClassifier) or any(
        getattr(cls, step) is not getattr(ImageClassifier, step) for step in STEPS
    ):
        yield f'{cls.__name__} takes steps of its own'
        return
    preprocessor = model.data_preprocessor
    if type(preprocessor) is not ClsDataPreprocessor:
        yield f'{type(preprocessor).__name__} may draw random numbers'
    elif preprocessor.batch_augments is not None:
        yield 'the data preprocessor mixes images'
    yield from reasons_of_backbone(model.backbone)


def reasons_of_backbone(backbone: nn.Module) -> Iterator[str]:
    """Yield the parts of a backbone, in its present mode, that make its features vary."""
    if trains(backbone):
        yield 'the backbone trains'
    for name, module in backbone.named_modules():
        kind = type(module).__name__
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and _takes_batch(module):
            yield f'{kind} ({name}) depends on the whole batch'
        if module.training and _drop_rate(module) > 0:
            yield f'{kind} ({name}) draws random numbers'
        if module._forward_hooks or module._forward_pre_hooks:
            yield f'{kind} ({name}) is watched'


def _takes_batch(norm: nn.modules.batchnorm._BatchNorm) -> bool:
    return norm.training or norm.running_mean is None


def _drop_rate(module: nn.Module) -> float:
    is_dropout = isinstance(module, nn.modules.dropout._DropoutNd)
    rate = module.p if is_dropout else getattr(module, 'drop_prob', 0)
    return rate if isinstance(rate, int | float) else 0  # any other shows by its draws


def _is_harmless(hook: Hook, model: nn.Module) -> bool:
    name = type(hook).__name__
    if name == 'VisualizationHook':
        return not getattr(hook, 'enable', True)
    if name == 'MembraneReportHook':
        return not find_membranes(model)
    library = _library(type(hook))
    return library == 'memba_vision' or (library in LIBRARIES and name in HOOKS)


def _reasons_of_data(loader: DataLoader) -> Iterator[str]:
    if loader.batch_size is None:
        yield 'its batches may have any size'
    inner = inner_datasets(loader.dataset)
    for dataset in (loader.dataset, *inner):
        if not _is_of_libraries(type(dataset), '__getitem__', 'prepare_data', 'get_data_info'):
            yield f'{type(dataset).__name__} may draw random numbers'
    for dataset in inner:
        pipeline = getattr(dataset, 'pipeline', None)
        if isinstance(dataset, BaseDataset) and isinstance(pipeline, Compose):
            yield from _reasons_of_pipeline(pipeline)
        else:
            yield f'{type(dataset).__name__} is not a dataset of single images'


def _reasons_of_pipeline(pipeline: Compose) -> Iterator[str]:
    for transform in pipeline.transforms:
        name = type(transform).__name__
        if isinstance(transform, Compose):
            yield from _reasons_of_pipeline(transform)
        elif name not in TRANSFORMS or _library(type(transform)) not in LIBRARIES:
            yield f'{name} may draw random numbers'
        elif getattr(transform, 'ignore_empty', False):
            yield f'{name}(ignore_empty=True) takes another image at random for one that is empty'


def _is_of_libraries(kind: type, *methods: str) -> bool:
    """Return True if none of a dataset's methods, as far as it has them, is somebody's own."""
    present = (getattr(kind, method, None) for method in methods)
    return all(_library(method) in LIBRARIES for method in present if method is not None)


def _library(thing: type | Callable) -> str:
    return (getattr(thing, '__module__', None) or '').split('.')[0]
