"""One call from a folder of photos to an adapted model and a page on it."""

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from memba_vision.datasets.benchmarks import benchmark_of
from memba_vision.errors import UserError
from memba_vision.files import check_output_path, encode_surrogates, write_atomically
from memba_vision.photos.hf_dataset import earlier_copies_kept
from memba_vision.photos.outcome import Outcome, test_outcome
from memba_vision.photos.page import Trained, make_page
from memba_vision.photos.source import TEST, TRAIN, VAL
from memba_vision.photos.task import COPIES, PhotoTask, prepare_task, write_task
from memba_vision.photos.training import PROBE, SHIPPED, Choices, run_method
from memba_vision.runs.base_models import read_base_model
from memba_vision.runs.image_size import stated_image_size
from memba_vision.runs.presets import read_preset
from memba_vision.runs.result import RESULT_FILE, Result
from memba_vision.sweeps.devices import usable_cores

PAGE = 'page.html'
RECORD = 'adapt.json'
DATA = 'data'  # the folder of the lists
TAKEN = (PROBE, DATA)  # beside the run of the method
#: What a folder's record has hashes of, and what is said where they differ.
CHANGES = {
    'configs': 'what the file of the backbone or the method says has changed since it was begun',
    'digest': 'the photos or their classes are not those that it was begun with',
    'contents': 'there are other photos in the files than those that it was begun with',
}


@dataclass(frozen=True)
class Adapted:
    """An adapted model, and how good it is.

    Attributes:
        page: the page on it.
        result: of the method's run.
        outcome: its answers on the photos of the test.
        baseline: the answers of the linear probe; None if that was the method.
        remarks: remarks on the photos.
    """

    page: Path
    result: Result
    outcome: Outcome
    baseline: Outcome | None
    remarks: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        """Accuracy on the test in percent."""
        return self.outcome.accuracy.value

    @property
    def checkpoint(self) -> Path:
        """The checkpoint, as :func:`memba_vision.load_trained` takes it."""
        return Path(self.result.checkpoint)


def adapt(
    photos: str | Path,
    backbone: str = SHIPPED,
    method: str = 'memba',
    work_dir: str | Path | None = None,
    *,
    epochs: int | None = None,
    seed: int = 0,
    balance: bool = False,
    skip_broken: bool = False,
    options: Mapping[str, Any] | None = None,
    tell: Callable[[str], object] = lambda line: sys.stdout.write(f'{line}\n'),
) -> Adapted:
    """Adapt a model to photos by class, and write a page that shows how good it is.

    The photos stay where they are. They are split by ``seed`` unless their folders say how: 60 % to
    train, 20 % to choose the epoch by, 20 % to test; near duplicates stay together. A linear probe
    on the same photos is the baseline. The same call goes on where another one was interrupted.

    Args:
        photos: a folder with one folder per class, or with these in ``train``, ``val`` and
            ``test``; a csv with lines ``path,label``; or what ``save_to_disk`` of Hugging Face's
            ``datasets`` wrote.
        backbone: a model of ``configs/_base_/models``, or a file like those. The default comes
            with the package, and looks at 48 pixels.
        method: a preset of ``configs/_base_/peft``, or a file like those.
        work_dir: the folder for everything; None stands for ``work_dirs/adapt_<name>``.
        epochs: of the method's training; None follows the number of photos.
        seed: of the split and of the trainings.
        balance: weight the loss so that each class counts the same, however many photos it has.
        skip_broken: go on without files that cannot be used.
        options: settings by dotted key that replace those of the configs of both trainings.
        tell: called with lines for the user.

    Raises:
        UserError: there are files that cannot be used, one class alone, or too few photos; no such
            backbone or method, or a file of its own whose name the folder has another use for; the
            seed is below 0; or ``work_dir`` holds something else, or cannot be written.
    """
    _check_arguments(photos, method, seed)
    source = Path(photos)
    name = _name_of(source)
    folder = Path(work_dir or f'work_dirs/adapt_{name}')
    method = method if method.endswith('.py') else method.replace('-', '_')
    choices = Choices(backbone, method, epochs, seed, balance, options or {})
    # They raise before the photos are read.
    configs = {method: read_preset(method, {}), backbone: read_base_model(backbone)}
    stated_image_size(configs[backbone], f'--backbone {backbone}')
    check_output_path(folder / PAGE)
    if folder.resolve() == source.resolve():
        raise UserError(f'{folder} holds the photos: give another --work-dir for what is made')
    settings = {'photos': str(source.resolve()), **asdict(choices), **_hash_of_files(configs)}
    settings = json.loads(json.dumps(settings, default=str))  # as the record has them
    _check_record(folder, settings)
    jobs = usable_cores()
    place = folder / DATA / name
    with earlier_copies_kept(place / COPIES):
        task = prepare_task(source, place, seed, skip_broken, jobs, tell)
        settings.update(digest=task.digest(), contents=task.contents())
        _check_record(folder, settings)
    write_task(task)
    write_atomically(folder / RECORD, encode_surrogates(json.dumps(settings, indent=1)))
    tell(describe_task(task))
    for remark in task.remarks:
        tell(f'note: {remark}')
    trained = [_train(task, choices, part, folder, tell) for part in dict.fromkeys((PROBE, method))]
    return _finish(source, task, choices, trained[::-1], folder, tell)


def describe_task(task: PhotoTask) -> str:
    """Return a line on the numbers of photos."""
    sizes = {split: len(task.of(split)) for split in (TRAIN, VAL, TEST)}
    return (
        f'{len(task.photos):,} photos of {len(task.classes)} classes: {sizes[TRAIN]:,} to train, '
        f'{sizes[VAL]:,} to choose the epoch by, {sizes[TEST]:,} to test'
    )


def _name_of(source: Path) -> str:
    name = re.sub(r'[^\w.-]+', '_', source.resolve().stem).strip('._') or 'photos'
    return f'{name}_photos' if benchmark_of(name) else name


def _check_arguments(photos: str | Path, method: str, seed: int) -> None:
    if '://' in str(photos):
        raise UserError(f'{photos}: photos are read from this machine: download them first')
    if seed < 0:
        raise UserError(f'--seed {seed}: expected 0 or more')
    name = Path(method).stem.replace('-', '_')
    if method.endswith('.py') and name in TAKEN:
        raise UserError(
            f'--method {method}: its run is named after the file, and {name} is another part of '
            'the folder: give the file another name'
        )


def _hash_of_files(configs: dict[str, Config]) -> dict[str, str]:
    """Return an entry for the record on what files of the user's own say; none without these."""
    own = [config.to_dict() for name, config in configs.items() if name.endswith('.py')]
    text = json.dumps(own, sort_keys=True, default=str)
    return {'configs': hashlib.sha256(text.encode()).hexdigest()} if own else {}


def _check_record(folder: Path, settings: dict) -> None:
    """Raise a UserError where the folder was begun with other settings, or holds something else.

    Where no training has saved anything yet, as without its weights, nothing would be mixed up.
    """
    if not any(path for name in ('*.pth', RESULT_FILE) for path in folder.glob(f'*/{name}')):
        return
    path = folder / RECORD
    try:
        before = json.loads(path.read_text(encoding='utf-8', errors='surrogateescape'))
    except FileNotFoundError as error:  # it is written before any training
        raise UserError(
            f'{folder} holds runs of something else, for it has no {RECORD}: give another '
            '--work-dir'
        ) from error
    except ValueError:
        before = {}
    differing = [key for key, value in settings.items() if before.get(key, value) != value]
    if before and not differing:
        return
    stated = [key for key in differing if key not in CHANGES]
    pairs = (f'{key} {before.get(key)!r}, not {settings[key]!r}' for key in stated)
    if not before:
        reason = f'{path} cannot be read'
    else:
        reason = f'it was begun with {"; ".join(pairs)}' if stated else CHANGES[differing[0]]
    raise UserError(f'{folder}: {reason}: give another --work-dir, or remove this one')


def _train(
    task: PhotoTask, choices: Choices, method: str, folder: Path, tell: Callable[[str], object]
) -> Trained:
    title = 'linear probe' if method == PROBE else method
    is_bound = choices.epochs and method == choices.method
    until = '' if is_bound else ', until its validation gets no better'
    tell(f'\n{title} on {choices.backbone}{until}:')
    result = run_method(task, choices, method, folder)
    outcome = test_outcome(task, result.checkpoint)
    return Trained(title, result, outcome, folder / Path(method).stem)


def _finish(
    source: Path,
    task: PhotoTask,
    choices: Choices,
    trained: list[Trained],
    folder: Path,
    tell: Callable[[str], object],
) -> Adapted:
    """Write the page, and tell of the outcome."""
    best, *others = trained
    commands = next_commands(source, best.run, choices)
    page = folder / PAGE
    text = make_page(source.resolve().name, task, choices, trained, commands)
    write_atomically(page, encode_surrogates(text))
    tell('')
    for entry in trained:
        tell(f'{entry.title}: test accuracy {entry.outcome.accuracy.text()}')
    tell(f'everything on one page: {page}\n\nnext:')
    for command, purpose in commands:
        tell(f'  {command}  # {purpose}')
    baseline = others[0].outcome if others else None
    return Adapted(page, best.result, best.outcome, baseline, task.remarks)


def next_commands(source: Path, run: Path, choices: Choices) -> list[tuple[str, str]]:
    """Return command lines that one may want next, each with its purpose."""
    place = shlex.quote(str(run))
    commands = [
        (f'memba-vision predict NEW.jpg --run {place}', 'name what is on new photos'),
        (f'memba-vision app {place}', 'try it in a browser'),
        (f'memba-vision export {place} model.onnx --as onnx', 'for other programs'),
        (f'memba-vision push {place} OWNER/NAME --private', 'share it on the Hugging Face Hub'),
    ]
    if choices.backbone == SHIPPED:
        folder = shlex.quote(f'{run.parent}_vim-small')
        larger = f'memba-vision adapt {shlex.quote(str(source))} --backbone vim-small'
        purpose = 'more accurate, at 224 pixels: downloads weights, wants a GPU'
        commands.append((f'{larger} --work-dir {folder}', purpose))
    return commands
