"""Something else than what a tool asks for: one line that says what it is, and what to give."""

import json
import shutil
from pathlib import Path

import pytest
from helpers import CONFIGS, DEMO, EACH_EPOCH, as_arguments, run_tool, tiny_options
from photo_folders import make_photo, make_photos

from memba_vision.file_kinds import kind_of

SPACE = CONFIGS / 'search' / 'memba_small.py'
#: Arguments of a tool with a gap, and the things that may stand there.
PLACES = {
    'photos': (['adapt', ...], {'photos'}),
    'image': (['predict', ..., '--run', 'run'], {'photos', 'photo.png'}),
    'run': (['predict', 'photo.png', '--run', ...], {'run', 'weights.pth'}),
    'drawn': (['visualize', 'photo.png', '--checkpoint', ...], {'run', 'weights.pth'}),
    'exported': (['export', ..., 'model.onnx', '--as', 'onnx'], {'run', 'weights.pth'}),
    'shared': (['push', ..., '--out', 'made'], {'run', 'weights.pth'}),
    'shown': (['app', ...], {'run', 'weights.pth'}),
    'config': (['train', ..., '--work-dir', 'made'], {'config.py'}),
    'resumed': (['train', DEMO, '--work-dir', 'made', '--resume', ...], {'run', 'weights.pth'}),
    'tested': (['test', DEMO, ..., '--work-dir', 'made'], {'run', 'weights.pth', 'config.py'}),
    'tested config': (['test', ..., 'weights.pth'], {'config.py'}),
    'reported': (['report', ..., '--out', 'made'], {'run'}),
    'space': (['search', ..., '--config', DEMO, '--trials', 1], set()),
    'searched config': (['search', SPACE, '--config', ..., '--trials', 1], {'config.py'}),
    'verified': (['weights', 'verify', ...], {'weights.pth'}),
}
#: Arguments of a tool with a gap for a folder that it makes, or goes on in.
FOLDERS = {
    'adapted': ['adapt', 'photos', '--work-dir', ...],
    'trained': ['train', DEMO, '--work-dir', ...],
    'tested': ['test', DEMO, 'weights.pth', '--work-dir', ...],
    'reported': ['report', 'run', '--out', ...],
    'shared': ['push', 'run', '--out', ...],
    'searched': ['search', SPACE, '--config', DEMO, '--trials', 1, '--work-dir', ...],
    'swept': ['sweep', DEMO, '--work-dir', ...],
}


@pytest.fixture(scope='module')
def world(base, data_root, tmp_path_factory, numbers) -> Path:
    """A folder with one of each kind; not to be changed."""
    root = tmp_path_factory.mktemp('world')
    options = as_arguments(tiny_options(base, data_root, **EACH_EPOCH))
    assert run_tool('train', DEMO, '--work-dir', root / 'run', *options).status == 0
    shutil.copy(root / 'run' / 'epoch_2.pth', root / 'weights.pth')
    make_photos(root / 'photos', {'a': 6, 'b': 6})
    make_photo(root / 'photo.png', 0, numbers)
    (root / 'config.py').write_text("_base_ = 'memba_vision::demo/digits_memba.py'\n")
    (root / 'page.html').write_text('<!doctype html><p>"one", two')
    (root / 'settings.json').write_text(json.dumps({'a': 1, 'peft': {}, 'backbone': {}}))
    (root / 'list.json').write_text('[{"config": {}}]')
    (root / 'notes.txt').write_text('hello\nworld\n')
    (root / 'holiday.mp4').write_bytes(bytes(200))
    (root / 'all.zip').write_bytes(b'PK\x03\x04' + bytes(200))
    (root / 'nothing.dat').touch()
    (root / 'hollow').mkdir()
    return root


@pytest.fixture(scope='module')
def numbers():
    import numpy as np

    return np.random.default_rng(0)


@pytest.fixture
def place(world, tmp_path, monkeypatch) -> Path:
    """The current folder, with all of these in it."""
    shutil.copytree(world, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fill(arguments: list, thing: object) -> list:
    return [thing if argument is ... else argument for argument in arguments]


@pytest.mark.parametrize('name', PLACES)
def test_something_else(place, name):
    arguments, welcome = PLACES[name]
    before = sorted(place.iterdir())
    for thing in before:
        if thing.name in welcome:
            continue
        error = run_tool(*fill(arguments, thing.name)).error()
        assert thing.name in error, (thing, error)
        assert 'Error' not in error, (thing, error)
        assert len(error) < 400, (thing, error)
        if thing.is_file() and kind_of(thing) not in ('', 'a text file'):
            says = ' is ' in error or 'expected' in error or 'a single config, found' in error
            assert says, (thing, error)
    assert set(place.iterdir()) >= set(before)


@pytest.mark.parametrize('name', PLACES)
def test_something_missing_or_misspelt(place, name):
    arguments, welcome = PLACES[name]
    for thing in ('absent', *sorted(welcome - {'config.py'})):
        wrong = thing[:-1] if thing in welcome else thing
        error = run_tool(*fill(arguments, wrong)).error()
        assert wrong in error
        assert 'init_cfg' not in error or name == 'verified', 'no base weights were asked for'
    assert 'an argument is empty' in run_tool(*fill(arguments, '')).error()


@pytest.mark.parametrize(
    ('arguments', 'wrong', 'meant'),
    [
        (['adapt', ...], 'photo', 'photos'),
        (['predict', ..., '--run', 'run'], 'foto.png', 'photo.png'),
        (['predict', 'photo.png', '--run', ...], 'rum', 'run'),
        (['report', ..., '--out', 'made'], 'runn', 'run'),
    ],
    ids=str,
)
def test_what_lies_beside_is_proposed(place, arguments, wrong, meant):
    error = run_tool(*fill(arguments, wrong)).error()
    assert 'did you mean' in error
    assert meant in error.partition('did you mean')[2]


@pytest.mark.parametrize('name', FOLDERS)
def test_a_file_in_the_place_of_a_folder(place, name):
    content = (place / 'notes.txt').read_bytes()
    error = run_tool(*fill(FOLDERS[name], 'notes.txt')).error()
    assert 'notes.txt is no folder' in error
    assert (place / 'notes.txt').read_bytes() == content


def test_the_folder_above_several_runs(place):
    shutil.copytree('run', 'hollow/second')
    shutil.copytree('run', 'hollow/first')
    error = run_tool('predict', 'photo.png', '--run', 'hollow').error()
    assert error.endswith('it holds the runs hollow/first, hollow/second: name one of them')


@pytest.mark.parametrize(
    'arguments', [['run'], ['run/digits_memba.py'], ['run/digits_memba.py', 'run']], ids=str
)
def test_a_run_that_was_copied_is_tested_where_it_lies(world, place, arguments):
    before = {path: path.stat().st_mtime_ns for path in (world / 'run').rglob('*')}
    result = json.loads(Path('run/result.json').read_text())
    Path('run/result.json').unlink()
    Path('run/epoch_2.pth').rename('run/epoch_1.pth')
    assert run_tool('test', *arguments).status == 0
    (found,) = Path('run').glob('result*.json')
    found = json.loads(found.read_text())
    assert (Path(found['checkpoint']).resolve(), found['value']) == (
        Path('run/epoch_1.pth').resolve(),
        result['value'],
    )
    assert {path: path.stat().st_mtime_ns for path in (world / 'run').rglob('*')} == before


def test_a_run_alone_is_tested_by_the_config_in_its_folder(place):
    by_folder, by_file = run_tool('test', 'run'), run_tool('test', 'run/epoch_2.pth')
    with_config = run_tool('test', 'run/digits_memba.py', 'run')
    assert by_folder.status == by_file.status == with_config.status == 0
    tables = {test.out[test.out.index('| ') :] for test in (by_folder, by_file, with_config)}
    assert len(tables) == 1
    assert run_tool('test', 'run', '--cfg-options', 'work_dir=hollow').status == 0
    assert list(Path('hollow').glob('result*.json')), 'what is said goes before'
    shutil.copy('run/digits_memba.py', 'run/other.py')
    assert 'run has 2 configs' in run_tool('test', 'run').error()
