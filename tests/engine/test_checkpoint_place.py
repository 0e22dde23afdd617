"""Checkpoints are found by the settings of the hook that saves them."""

import os
from pathlib import Path

import pytest
from mmengine.config import Config

from memba_vision.engine.checkpoint_place import BEST, places
from memba_vision.runs.checkpoints import checkpoints_newest_first


def config_of(work_dir: Path, hook: dict, custom: list | None = None) -> Config:
    hook = dict(type='LateRemovalHook', **hook)
    return Config(
        dict(work_dir=str(work_dir), default_hooks=dict(checkpoint=hook), custom_hooks=custom)
    )


def make_files(folder: Path, *names: str) -> None:
    """Files with these names, each newer than the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    for age, name in enumerate(names):
        (folder / name).touch()
        os.utime(folder / name, (1000 + age, 1000 + age))


@pytest.mark.parametrize(
    ('template', 'name'),
    [
        (None, 'epoch_12.pth'),
        ('model-{:04d}.pth', 'model-0012.pth'),
        ('{}.weights', '12.weights'),
        ('latest.pth', 'latest.pth'),
        ('a+b({})', 'a+b(12)'),
    ],
)
@pytest.mark.parametrize('out_dir', [None, 'elsewhere'])
def test_names_and_folders(tmp_path, monkeypatch, template, name, out_dir):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'elsewhere/run' if out_dir else tmp_path / 'runs/run'
    make_files(folder, name, f'best_acc_{name}', f'{name}.tmp', 'epoch_3-0a1b2c3d.pth')
    config = config_of(Path('runs/run'), dict(out_dir=out_dir, filename_tmpl=template))
    assert checkpoints_newest_first(config) == [folder / name]
    assert checkpoints_newest_first(config, BEST) == [folder / f'best_acc_{name}']


def test_the_newest_comes_first_and_of_one_time_the_highest(tmp_path):
    make_files(tmp_path, 'epoch_30.pth', 'epoch_4.pth', 'iter_7.pth')
    config = config_of(tmp_path, {})
    found = [path.name for path in checkpoints_newest_first(config)]
    assert found == ['iter_7.pth', 'epoch_4.pth', 'epoch_30.pth']
    for path in tmp_path.iterdir():
        os.utime(path, (1000, 1000))  # as a copy of the folder may have it
    assert checkpoints_newest_first(config)[0].name == 'epoch_30.pth'


def test_another_hook_of_the_config_counts_and_another_store_does_not(tmp_path):
    second = [dict(type='CheckpointHook', out_dir=str(tmp_path / 'b')), dict(type='EMAHook')]
    config = config_of(tmp_path / 'run', dict(out_dir='s3://bucket'), second)
    folders = {place.folder for place in places(config)}
    assert folders == {tmp_path / 'b/run', tmp_path / 'run'}
