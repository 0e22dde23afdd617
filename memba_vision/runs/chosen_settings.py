"""Settings that validation chose for each method on a benchmark with a backbone."""

from typing import Any

from mmengine.config import Config

from memba_vision.datasets.benchmarks import Benchmark, benchmark_of
from memba_vision.package_data import package_data_folder
from memba_vision.runs.known_settings import find_setting
from memba_vision.runs.presets import read_often
from memba_vision.runs.trial import setting_places

_BASES = package_data_folder() / 'configs' / '_base_'
#: The folder of the files that ``tools/report.py --choose`` writes.
#:
#: :meta hide-value:
SETTINGS = _BASES / 'settings'


def settings_file_name(benchmark: Benchmark, backbone: str) -> str:
    """Return the name of the file with the settings on a benchmark with a backbone."""
    return f'{benchmark.name}_{backbone}.py'


def chosen_settings(
    benchmark: Benchmark | None, backbone: str | None, method: str
) -> dict[str, Any]:
    """Return the settings that were chosen for a preset by key; none where nothing was chosen.

    Args:
        benchmark: the benchmark; None for tasks of one's own.
        backbone: the shipped model; None for another one.
        method: the preset. A file of the user's own is taken as it stands.
    """
    if benchmark is None or backbone is None:
        return {}
    path = SETTINGS / settings_file_name(benchmark, backbone)
    if not path.is_file():
        return {}
    return read_often(path).to_dict()['method_settings'].get(method, {})


def _recipe(benchmark: Benchmark) -> Config:
    """Return the recipe of a benchmark: its schedule, and its data at any size of the images."""
    data = min((_BASES / 'datasets').glob(f'{benchmark.dataset}_*.py'))
    schedule = _BASES / 'schedules' / f'{benchmark.schedule}.py'
    return Config({**read_often(data).to_dict(), **read_often(schedule).to_dict()})


def use_chosen_settings(config: Config, method: str | None, backbone: str | None) -> None:
    """Put the settings that were chosen for a method in the place of those of the method before.

    They are for the tasks of a benchmark alone. A setting of the recipe stays where the config's
    file has another value than the benchmark's recipe, or than was chosen for the file's method.
    ``chosen_settings`` of a config says what was chosen for it.

    Args:
        config: the config of a run, with method and backbone in place; changed in place.
        method: see :func:`chosen_settings`; None for a method that has no preset.
        backbone: see :func:`chosen_settings`.
    """
    benchmark = benchmark_of(config.get('task'))
    if benchmark is None:
        return
    before = config.pop('chosen_settings', {})
    now = chosen_settings(benchmark, backbone, method or '')
    recipe = _recipe(benchmark) if before or now else Config()
    for key in {**before, **now}:
        usual = find_setting(recipe, key, None)
        value = now.get(key, usual)
        for place in setting_places(config, key):
            # The adapters are those of the preset, whatever the file has.
            is_own = not place.startswith('model.') and (
                find_setting(config, place, None) != before.get(key, usual)
            )
            if value is not None and not is_own:
                config.merge_from_dict({place: value})
    if now:
        config.chosen_settings = now
