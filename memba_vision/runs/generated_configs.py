"""Text of the config of a task, a method and a backbone, of any that there are."""

from itertools import takewhile
from typing import Any

from mmengine.config import Config

from memba_vision.datasets.benchmarks import Benchmark, benchmark_of
from memba_vision.errors import UserError
from memba_vision.models.modules.patches import Size
from memba_vision.runs.backbone import shipped_name
from memba_vision.runs.base_models import BASE_MODELS, read_base_model
from memba_vision.runs.chosen_settings import chosen_settings
from memba_vision.runs.external_bases import PREFIX
from memba_vision.runs.image_size import stated_image_size
from memba_vision.runs.known_settings import find_setting
from memba_vision.runs.presets import read_config, read_preset
from memba_vision.runs.trial import setting_places

BASES = BASE_MODELS.parent


def config_file_name(task: str, method: str, backbone: str | None = None) -> str:
    """Return the name of a config's file; the backbone of the task's benchmark is left out."""
    is_usual = backbone in (None, _benchmark(task).backbone)
    return '_'.join([task, *([] if is_usual else [backbone]), method.replace('_', '-')]) + '.py'


def config_text(task: str, method: str, backbone: str | None = None) -> str:
    """Write the config that trains a method on a task, which is read from any folder.

    Args:
        task: of a benchmark.
        method: a shipped preset, as ``--peft`` takes it.
        backbone: a shipped model, as ``--backbone`` takes it; None stands for the benchmark's.

    Returns:
        Its text: differences to the shipped bases.

    Raises:
        UserError: there is no such task, method or backbone, or no data of the backbone's image
            size.
    """
    benchmark = _benchmark(task)
    name = backbone or benchmark.backbone
    for own in (part for part in (method, name) if part.endswith('.py')):
        raise UserError(
            f'{own}: configs are written of shipped methods and backbones; a file of your own goes '
            'to --methods or --backbones of the sweep that runs them'
        )
    base, method = read_base_model(name), method.replace('-', '_')
    model = f'models/{name}_{method.replace("_", "-")}.py'
    adapted = {}
    if not (BASES / model).is_file():
        model, adapted = f'models/{name}.py', _adapted(method, base)
    dataset = _dataset(benchmark, stated_image_size(base, f'--backbone {name}'))
    schedule = f'schedules/{benchmark.schedule}.py'
    settings: dict[str, Any] = {
        'model': {**adapted, 'head': {'num_classes': _Code('num_classes(task)')}},
        'train_dataloader': {'dataset': {'task': _Code('task')}},
        'test_dataloader': {'dataset': {'task': _Code('task')}},
    }
    for key, value in base.get('recipe', {}).items():
        settings[key] = {**value, **settings.get(key, {})} if isinstance(value, dict) else value
    files = [model, dataset, schedule]
    chosen = chosen_settings(benchmark, shipped_name(base), method)
    if chosen:
        _add_chosen(settings, chosen, _config_of(files, adapted))
    bases = [f'{PREFIX}_base_/{file}' for file in files]
    lines = [f'{key} = {_spell(value)}' for key, value in settings.items()]
    return _formatted(
        f'_base_ = {bases}\nfrom memba_vision.datasets.tasks import num_classes\n\n'
        f'task = {task!r}\n' + '\n'.join(lines)
    )


def _config_of(files: list[str], adapted: dict[str, Any]) -> Config:
    """Return what the bases of a config make up, with the adapters that it states itself."""
    config = Config()
    for content in [*(read_config(BASES / file).to_dict() for file in files), {'model': adapted}]:
        config.merge_from_dict(content)
    return config


def _add_chosen(settings: dict[str, Any], chosen: dict[str, Any], config: Config) -> None:
    """Add chosen settings to those that a config states itself; lists are stated as a whole."""
    for key, value in chosen.items():
        for place in setting_places(config, key):
            config.merge_from_dict({place: value})
            *parents, end = takewhile(lambda part: not part.isdigit(), place.split('.'))
            part = settings
            for parent in parents:
                part = part.setdefault(parent, {})
            part[end] = find_setting(config, '.'.join([*parents, end]))
    settings['chosen_settings'] = chosen


class _Code(str):
    """An expression of a config, as it stands there."""


def _benchmark(task: str) -> Benchmark:
    benchmark = benchmark_of(task)
    if benchmark is None:
        raise UserError(f'{task} is no task of a benchmark: copy a file of configs/custom for it')
    return benchmark


def _adapted(method: str, base: Config) -> dict[str, Any]:
    preset = read_preset(method, base.get('adapter_settings', {})).to_dict()
    module = {'module': preset['module']} if 'module' in preset else {}
    return {'backbone': {'type': 'PEFTModel', 'adapters': preset['adapters'], **module}}


def _dataset(benchmark: Benchmark, img_size: int | Size) -> str:
    file = f'datasets/{benchmark.dataset}_{img_size}.py'
    if not (BASES / file).is_file():
        raise UserError(
            f'{benchmark.title} has no data config for images of {img_size} pixels '
            f'(configs/_base_/{file}): use --backbone with a config of another size, which follows'
        )
    return file


def _spell(value: Any) -> str:
    if isinstance(value, dict) and not all(map(str.isidentifier, value)):
        return f'{{{", ".join(f"{key!r}: {_spell(part)}" for key, part in value.items())}}}'
    if isinstance(value, dict):
        return f'dict({", ".join(f"{key}={_spell(part)}" for key, part in value.items())})'
    if isinstance(value, list | tuple):
        return f'[{", ".join(map(_spell, value))}]'
    return value if isinstance(value, _Code) else repr(value)


def _formatted(text: str) -> str:
    from yapf.yapflib.yapf_api import FormatCode  # of mmengine

    return FormatCode(text, style_config='{based_on_style: pep8, column_limit: 100}')[0]
