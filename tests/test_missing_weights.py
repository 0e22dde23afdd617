"""Base weights that are not where a config says: the size, and the option that names a file."""

import shutil
from pathlib import Path

import pytest
from helpers import DEMO, EACH_EPOCH, as_arguments, run_tool, tiny_options
from photo_folders import make_photos

OPTION = 'model.backbone.module.init_cfg.checkpoint'


@pytest.fixture(scope='module')
def run(base, data_root, tmp_path_factory) -> Path:
    """The folder of a run whose weights have gone since."""
    root = tmp_path_factory.mktemp('missing')
    weights = str(shutil.copy(base, root / 'gone.safetensors'))
    options = tiny_options(base, data_root, **EACH_EPOCH, **{OPTION: weights})
    assert run_tool('train', DEMO, '--work-dir', root / 'run', *as_arguments(options)).status == 0
    (root / 'gone.safetensors').unlink()
    return root / 'run'


@pytest.fixture
def arguments(run, base, data_root, tmp_path) -> dict[str, list]:
    """What to give each tool, without the option."""
    photos = make_photos(tmp_path / 'photos', {'a': 6, 'b': 6})
    backbone = tmp_path / 'tiny.py'
    backbone.write_text(f"""
_base_ = 'memba_vision::_base_/models/vim-mini.py'
model = dict(
    backbone=dict(
        module=dict(
            arch=dict(embed_dims=16, num_layers=2),
            init_cfg=dict(checkpoint={str(run.with_name('gone.safetensors'))!r}),
        )
    ),
    neck=dict(input_features=16),
    head=dict(in_channels=16),
)
adapter_settings = dict(rank=2, scale=1.0)
""")
    tiny = tiny_options(base, data_root, **{OPTION: str(run.with_name('gone.safetensors'))})
    training = [DEMO, '--work-dir', tmp_path / 'made', *as_arguments(tiny)]
    made = ['--work-dir', tmp_path / 'made', '--epochs', 1, '--method', 'linear-probing']
    return {
        'train': training,
        'test': [DEMO, run / 'epoch_2.pth', '--work-dir', tmp_path / 'made', *as_arguments(tiny)],
        'adapt': [photos, '--backbone', backbone, *made],
        'predict': [photos / 'a' / '0.png', '--run', run],
    }


@pytest.mark.parametrize('tool', ['train', 'test', 'adapt', 'predict'])
def test_the_error_names_size_and_option_and_the_option_works(arguments, base, tool):
    error = run_tool(tool, *arguments[tool]).error()
    assert 'no checkpoint at ' in error
    assert f'--cfg-options {OPTION}=FILE' in error
    assert 'The file is of 0 MB or more: 1' in error
    found = run_tool(tool, *arguments[tool], '--cfg-options', f'{OPTION}={base}')
    assert found.status == 0, found
