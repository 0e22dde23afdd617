"""Checkpoints are found by the settings of the hook that saves them."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from memba_vision.engine.checkpoint_folders import BEST, checkpoint_folders
from memba_vision.runs.checkpoints import archive_later, checkpoints_newest_first


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


def test_the_highest_number_is_the_newest_whatever_the_times_of_the_files(tmp_path):
    make_files(tmp_path, 'epoch_30.pth', 'epoch_4.pth', 'best_a_epoch_9.pth', 'best_a_epoch_8.pth')
    config = config_of(tmp_path, {})
    found = [path.name for path in checkpoints_newest_first(config)]
    assert found == ['epoch_30.pth', 'epoch_4.pth']
    assert checkpoints_newest_first(config, BEST)[0].name == 'best_a_epoch_9.pth'


def test_of_epochs_and_steps_the_newest_has_made_most_steps(tmp_path):
    for name, steps in {'iter_50': 50, 'epoch_3': 60, 'iter_70': 70, 'epoch_2': 40}.items():
        torch.save({'state_dict': {}, 'meta': {'iter': steps}}, tmp_path / f'{name}.pth')
    (tmp_path / 'iter_90.pth').write_bytes(b'damaged')
    found = [path.stem for path in checkpoints_newest_first(config_of(tmp_path, {}))]
    assert found == ['iter_70', 'epoch_3', 'iter_50', 'epoch_2', 'iter_90']


def test_what_a_run_goes_on_before_is_set_aside(tmp_path):
    make_files(tmp_path, *(f'epoch_{epoch}.pth' for epoch in (1, 2, 3, 10)))
    config = config_of(tmp_path, {})
    archive_later(config, str(tmp_path / 'epoch_2.pth'))
    assert [path.name for path in checkpoints_newest_first(config)] == [
        'epoch_2.pth',
        'epoch_1.pth',
    ]
    assert {path.name for path in tmp_path.glob('earlier_*/*')} == {'epoch_3.pth', 'epoch_10.pth'}
    archive_later(config, 'elsewhere/epoch_1.pth')
    assert len(checkpoints_newest_first(config)) == 2, 'another run is no reason'


def test_another_hook_of_the_config_counts_and_another_store_does_not(tmp_path):
    second = [dict(type='CheckpointHook', out_dir=str(tmp_path / 'b')), dict(type='EMAHook')]
    config = config_of(tmp_path / 'run', dict(out_dir='s3://bucket'), second)
    folders = {place.folder for place in checkpoint_folders(config)}
    assert folders == {tmp_path / 'b/run', tmp_path / 'run'}
