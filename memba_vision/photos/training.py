"""Training of one method on a task of photos, with the epoch chosen by the validation."""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from memba_vision.datasets.benchmarks import BENCHMARKS
from memba_vision.engine.checkpoint_folders import best_checkpoint
from memba_vision.engine.metric_names import TOP1
from memba_vision.errors import UserError
from memba_vision.files import write_atomically
from memba_vision.models.modules.patches import to_pair
from memba_vision.photos.source import TEST, TRAIN, VAL
from memba_vision.photos.task import PhotoTask
from memba_vision.runs.base_models import read_base_model
from memba_vision.runs.checkpoints import checkpoints_newest_first, find_checkpoint
from memba_vision.runs.config import load_config
from memba_vision.runs.epochs import set_epochs
from memba_vision.runs.external_bases import PREFIX
from memba_vision.runs.image_size import stated_image_size
from memba_vision.runs.options import apply_options
from memba_vision.runs.presets import read_config
from memba_vision.runs.result import RESULT_FILE, Result
from memba_vision.runs.result_files import read_result
from memba_vision.runs.training import resume_from, train
from memba_vision.sweeps.devices import usable_cores

PROBE = 'linear_probing'
#: A backbone that comes with the package. Of validation images that are crops of photographs, 6
#: and 16 classes, a linear probe has 70 and 53 % right on its features, 52 and 31 % on vim-mini's.
SHIPPED = 'vim-mini-v2'
PROBE_SCHEDULE = 'mini_vtab_linear_50e'  # at the rate of the adapters it would not converge
SMALL = 48  # pixels: models of so small images take another recipe
#: Steps that a training should have, if the number of epochs stays within bounds.
STEPS = {PROBE: 1500}
USUAL_STEPS, EPOCHS = 600, (10, 100)
LEAST_PATIENCE = 10  # epochs
WORTH_WORKERS = 2e8  # pixels: decoding these takes seconds


@dataclass(frozen=True)
class Choices:
    """Choices of a user.

    Attributes:
        backbone: a model of ``configs/_base_/models``, or a file like those.
        method: a preset of ``configs/_base_/peft``, or a file like those.
        epochs: of the method's training; None follows the number of photos.
        seed: of the split and of the training.
        balance: weight the loss so that every class counts the same.
        options: settings of both configs by dotted key.
    """

    backbone: str
    method: str
    epochs: int | None = None
    seed: int = 0
    balance: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


def run_method(task: PhotoTask, choices: Choices, method: str, folder: Path) -> Result:
    """Train a method and test it, unless that was done; go on where a training was interrupted.

    Args:
        task: written already.
        choices: of the user.
        method: the user's, or the baseline.
        folder: of all runs on the photos; gets the run's folder, and its config.

    Raises:
        UserError: the run's folder has a result, but no longer its checkpoint.
    """
    work_dir = folder / Path(method).stem
    if (work_dir / RESULT_FILE).is_file():
        return _finished(work_dir)
    path = folder / f'{task.folder.name}_{Path(method).stem.replace("_", "-")}.py'
    config = make_config(task, choices, method, work_dir)
    write_atomically(path, config.pretty_text.encode())
    config = load_config(read_config(path), {}, str(work_dir))
    if checkpoints_newest_first(config):
        resume_from(config, 'auto')
    return train(config, best_checkpoint)


def _finished(work_dir: Path) -> Result:
    """Return the result in a run's folder, with its checkpoint as it lies there now."""
    result = read_result(work_dir / RESULT_FILE)
    checkpoint = find_checkpoint(work_dir)
    if not result.is_of(checkpoint):
        raise UserError(
            f'{work_dir} no longer holds the checkpoint that its {RESULT_FILE} is of: remove this '
            'folder, so that the training is made again'
        )
    return replace(result, checkpoint=str(checkpoint.absolute()))


def make_config(task: PhotoTask, choices: Choices, method: str, work_dir: Path) -> Config:
    """Return the config that trains a method on the photos.

    Raises:
        UserError: there is no such backbone or method, or an option does not fit.
    """
    config = _of_method(choices.backbone, method)
    config.work_dir = str(work_dir)
    config.task, config.data_root = task.folder.name, str(task.folder.parent)
    config.randomness.seed = choices.seed
    head = config.model.head
    head.num_classes = len(task.classes)
    if choices.balance:
        head.loss = {**head.get('loss', {}), 'class_weight': class_weights(task)}
    _use_splits(config, task)
    hook = config.default_hooks.checkpoint
    hook.update(save_best=TOP1, rule='greater', max_keep_ckpts=1)
    chosen = choices.epochs if method == choices.method else None
    set_epochs(config, chosen or _epochs(task, config, method))
    apply_options(config, choices.options)  # they may set the epochs, which the patience follows
    if not chosen:
        config.custom_hooks = [*config.get('custom_hooks', []), _early_stopping(config)]
    return config


def patience_of(epochs: int) -> int:
    """Return the number of epochs without a better validation after which a training stops."""
    return max(LEAST_PATIENCE, epochs // 4)


def _early_stopping(config: Config) -> dict:
    patience = patience_of(config.train_cfg.max_epochs)
    smallest = 1e-4  # points: any more photo that is right; the same number again is no gain
    return dict(type='EarlyStoppingHook', monitor=TOP1, min_delta=smallest, patience=patience)


def class_weights(task: PhotoTask) -> list[float]:
    """Return a weight for the photos of each class: their mean is 1, and classes weigh the same."""
    counts = task.counts()
    sizes = [counts[name, TRAIN] for name in task.classes]
    return [round(sum(sizes) / len(sizes) / size, 4) for size in sizes]


def _of_method(backbone: str, method: str) -> Config:
    """Return the config of a method and a backbone, whose recipe follows the size of its images."""
    size = stated_image_size(read_base_model(backbone), f'--backbone {backbone}')
    is_small = max(to_pair(size, 'img_size')) <= SMALL
    benchmark = BENCHMARKS['mini-vtab-1' if is_small else 'vtab1k']
    schedule = PROBE_SCHEDULE if method == PROBE else benchmark.schedule
    files = f'models/{benchmark.backbone}', f'datasets/own_{48 if is_small else 224}'
    bases = [f'{PREFIX}_base_/{file}.py' for file in (*files, f'schedules/{schedule}')]
    config = Config.fromstring(f'_base_ = {bases}', '.py')
    return load_config(config, {}, None, peft=method, backbone=backbone)


def _use_splits(config: Config, task: PhotoTask) -> None:
    config.val_dataloader = deepcopy(config.test_dataloader)
    config.val_evaluator, config.val_cfg = deepcopy(config.test_evaluator), dict()
    workers = min(4, usable_cores()) if task.pixels > WORTH_WORKERS else 0
    for split, name in ((TRAIN, 'train'), (VAL, 'val'), (TEST, 'test')):
        loader = config[f'{name}_dataloader']
        loader.update(num_workers=workers, persistent_workers=workers > 0 and name != 'test')
        loader.dataset.update(task=config.task, data_root=config.data_root, split=split)
    # Each epoch looks at them again, as it does at those of the training.
    config.val_dataloader.dataset.keep_images_mib = 100


def _epochs(task: PhotoTask, config: Config, method: str) -> int:
    steps = math.ceil(len(task.of(TRAIN)) / config.train_dataloader.batch_size)
    least, most = EPOCHS
    return min(most, max(least, math.ceil(STEPS.get(method, USUAL_STEPS) / steps)))
