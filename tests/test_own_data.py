"""From a folder of images by class to an adapted model, its predictions and its confusions."""

import csv
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import CONFIGS, DEMO, as_arguments, run_tool, tiny_options
from PIL import Image

import memba_vision
from memba_vision.command_line import run_tool as run_main
from memba_vision.datasets.own_data import read_classes
from memba_vision.errors import UserError
from memba_vision.files import sha256_of
from memba_vision.runs.checkpoints import find_checkpoint
from memba_vision.runs.config import load_config
from memba_vision.serving.predict import Prediction, confusion_csv, csv_pieces, json_pieces

CLASSES = ('blue tit', 'café', 'red')


@pytest.fixture(scope='module')
def world(base, tmp_path_factory) -> Path:
    """Photos, the task that was built of them, and a run on it; not to be changed."""
    root, rng = tmp_path_factory.mktemp('world'), np.random.default_rng(0)
    for channel, name in enumerate(CLASSES):
        (root / 'photos' / name).mkdir(parents=True)
        for number in range(14):
            pixels = rng.integers(0, 60, (12, 12, 3), np.uint8)
            pixels[..., 2 - channel] += 180
            Image.fromarray(pixels).save(root / 'photos' / name / f'{number}.png')
    outcome = run_tool(
        'prepare_vtab1k',
        'build',
        *('--from', root / 'photos', '--task', 'birds', '--out', root / 'own'),
        *('--train', 24, '--val', 9, '--jobs', 1),
    )
    assert outcome.status == 0, outcome
    outcome = run_tool('prepare_vtab1k', 'check', root / 'own', '--tasks', 'birds', '--jobs', 1)
    assert outcome.status == 0, outcome
    copy_of_config(root / 'birds_memba.py', root / 'own')
    outcome = run_tool(
        'train', root / 'birds_memba.py', '--work-dir', root / 'run', *arguments(base, root)
    )
    assert outcome.status == 0, outcome
    return root


def copy_of_config(path: Path, data_root: Path, name: str = 'vim-mini-v2_memba') -> None:
    text = (CONFIGS / 'custom' / f'{name}.py').read_text()
    assert "task = 'flowers'\ndata_root = 'data/own'\n" in text
    text = text.replace("'flowers'", "'birds'").replace("'data/own'", repr(str(data_root)))
    path.write_text(text.replace("'../_base_", f"'{CONFIGS}/_base_"))


def arguments(base: Path, root: Path) -> list[str]:
    options = tiny_options(base, root / 'own', **{'train_cfg.max_epochs': 6})
    return as_arguments({**options, 'optim_wrapper.optimizer.lr': 0.01})


def checkpoint(world: Path) -> Path:
    return world / 'run' / 'epoch_6.pth'


def predict(world: Path, *arguments: object):
    return run_tool('predict', *arguments, '--checkpoint', checkpoint(world))


def test_the_run_has_its_result(world):
    result = json.loads((world / 'run/result.json').read_text())
    assert (result['task'], result['method'], result['test_images']) == ('birds', 'memba', 9)
    assert result['top1'] > 60


def test_class_names_travel_with_the_checkpoint(world):
    meta = torch.load(checkpoint(world), weights_only=True)['meta']
    assert meta['dataset_meta']['classes'] == list(CLASSES)


def test_the_record_names_the_manifest_of_the_data(world):
    (start,) = json.loads((world / 'run/run.json').read_text())
    manifest = world / 'own/birds/manifest.sha256'
    for part in ('train', 'test'):
        assert start['data'][part]['manifest_sha256'] == sha256_of(manifest)


def test_predictions_as_csv(world):
    images = [world / 'photos' / name / '3.png' for name in CLASSES]
    outcome = predict(world, *images, '--top', 3, '--batch-size', 2)
    assert outcome.status == 0, outcome
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    assert [row['image'] for row in rows] == [str(path) for path in images for _ in range(3)]
    for start in (0, 3, 6):
        of_one = rows[start : start + 3]
        probabilities = [float(row['probability']) for row in of_one]
        assert sum(probabilities) == pytest.approx(1, abs=1e-4)
        assert probabilities == sorted(probabilities, reverse=True)
        assert {row['class'] for row in of_one} == set(CLASSES)
    right = sum(rows[3 * i]['class'] == name for i, name in enumerate(CLASSES))
    assert right >= 2


def test_a_run_is_its_folder_its_checkpoint_or_an_adapter_file(world, tmp_path):
    image, adapter = world / 'photos/red/1.png', tmp_path / 'adapter.safetensors'
    assert run_tool('export', world / 'run', adapter, '--as', 'adapter').status == 0
    found = [run_tool('predict', image, '--run', run) for run in (world / 'run', checkpoint(world))]
    assert found[0].out == found[1].out == predict(world, image).out
    shutil.copy(world / 'run/run.json', tmp_path)
    of_adapter = run_tool('predict', image, '--run', adapter).out
    assert of_adapter == found[0].out.replace(',red,', ',2,')  # it does not name its classes
    (tmp_path / 'empty').mkdir()
    assert 'no checkpoint in' in run_tool('predict', image, '--run', tmp_path / 'empty').error()


def test_a_folder_stands_for_its_tested_checkpoint(world, tmp_path):
    run = Path(shutil.copytree(world / 'run', tmp_path / 'moved'))
    assert find_checkpoint(run) == run / 'epoch_6.pth'
    result = json.loads((run / 'result.json').read_text())
    (run / 'result.json').write_text(json.dumps({**result, 'checkpoint_sha256': '0' * 64}))
    shutil.copy(run / 'epoch_6.pth', run / 'epoch_7.pth')
    assert find_checkpoint(run) == run / 'epoch_7.pth', 'the newest'


def test_predictions_as_json_into_a_file(world, tmp_path):
    image, out = world / 'photos/red/1.png', tmp_path / 'new/p.json'
    assert predict(world, image, '--format', 'json', '--out', out).out == ''
    (entry,) = json.loads(out.read_text())
    assert entry['image'] == str(image)
    assert len(entry['classes']) == 1
    assert 1 / 3 < entry['classes'][0]['probability'] <= 1


@pytest.fixture
def odd_folder(world, tmp_path) -> Path:
    """Two images, one by a name with a line separator that is no UTF-8, and other files."""
    folder = tmp_path / 'odd'
    folder.mkdir()
    for number, name in enumerate((b'a.png', b'caf\xe9\xe2\x80\xa8.png')):
        shutil.copy(world / f'photos/red/{number}.png', folder / os.fsdecode(name))
    (folder / '.DS_Store').touch()
    (folder / 'labels.csv').write_text('no image')
    return folder


def test_predictions_of_a_folder(world, odd_folder):
    outcome = predict(world, odd_folder, world / 'photos/red/2.png')
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    expected = [*sorted(odd_folder.glob('*.png')), world / 'photos/red/2.png']
    assert [row['image'] for row in rows] == [str(path) for path in expected]
    said = '2 image(s) taken, left out 2: .DS_Store, labels.csv'
    assert outcome.err == f'{odd_folder}: {said}\n'


def test_predictions_of_folders_in_a_folder(world, tmp_path):
    outcome = predict(world, world / 'photos')
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    assert [row['image'] for row in rows] == sorted(map(str, (world / 'photos').rglob('*.png')))
    (tmp_path / 'empty').mkdir()
    assert 'holds no image' in predict(world, tmp_path / 'empty').error()


def test_names_that_are_no_utf_8_come_out_as_they_are(world, odd_folder, tmp_path, monkeypatch):
    expected = [str(path) for path in sorted(odd_folder.glob('*.png'))]
    assert predict(world, odd_folder, '--out', tmp_path / 'p.csv').status == 0
    rows = list(csv.DictReader(io.StringIO(os.fsdecode((tmp_path / 'p.csv').read_bytes()))))
    assert [row['image'] for row in rows] == expected
    assert predict(world, odd_folder, '--format', 'json', '--out', tmp_path / 'p.json').status == 0
    entries = json.loads((tmp_path / 'p.json').read_text(encoding='utf-8'))
    assert [entry['image'] for entry in entries] == expected


def test_a_terminal_gets_names_that_are_no_utf_8(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(written, 'utf-8', write_through=True))
    run_main(lambda: None, lambda _: sys.stdout.write(os.fsdecode(b'caf\xe9\n')))
    assert written.getvalue() == b'caf\xe9\n'


@pytest.mark.parametrize('errors', ['strict', 'surrogateescape'])
def test_a_terminal_that_lacks_letters(monkeypatch, errors):
    written = io.BytesIO()
    terminal = io.TextIOWrapper(written, 'ascii', errors, write_through=True)
    monkeypatch.setattr(sys, 'stdout', terminal)
    run_main(lambda: None, lambda _: sys.stdout.write('caf\u00e9, \udce9\n'), registers=False)
    assert written.getvalue() == b'caf\\xe9, \xe9\n'


@pytest.mark.parametrize('batch_size', [1, 2, 32])
def test_what_can_be_answered_is_and_the_rest_is_listed(world, tmp_path, batch_size):
    good, broken = [world / f'photos/red/{n}.png' for n in (1, 2, 3)], tmp_path / 'broken.png'
    broken.write_bytes(b'no image')
    (tmp_path / 'empty').mkdir()
    images = [broken, *good[:2], tmp_path / 'nowhere.png', tmp_path / 'empty', good[2]]
    outcome = predict(world, *images, '--batch-size', batch_size)
    assert '3 are not answered, as listed above; answered: 3' in outcome.error()
    for text in (f'{broken} (no image', 'nowhere.png: No such file', 'empty holds no image'):
        assert text in outcome.err
    assert outcome.out == predict(world, *good).out
    out = tmp_path / 'p.csv'
    one = predict(world, good[0], broken, '--out', out)
    assert f'cannot read image {broken} (no image' in one.error()
    assert out.read_text() == predict(world, good[0]).out


def test_a_list_with_an_image_that_cannot_be_read(world, tmp_path):
    good, broken = world / 'photos/red/1.png', tmp_path / 'broken.png'
    (tmp_path / 'list.txt').write_text(f'{broken} 0\n{good} 2\n')
    arguments = ('--list', tmp_path / 'list.txt', '--confusion', tmp_path / 'matrix.csv')
    outcome = predict(world, *arguments)
    assert 'broken.png: No such file' in outcome.error()
    assert re.search('^[01] of 1 right', outcome.err, re.MULTILINE)
    rows = list(csv.reader((tmp_path / 'matrix.csv').read_text().splitlines()))
    assert [sum(map(int, row[1:])) for row in rows[1:]] == [0, 0, 1]


@pytest.mark.parametrize('format_', ['csv', 'json'])
def test_the_text_of_predictions(format_):
    found = [
        Prediction('a.png', 1, (('x', 0.75), ('y', 0.25))),
        Prediction('b.png', 0, (('z', 1),)),
    ]
    if format_ == 'csv':
        expected = 'image,class,probability\na.png,x,0.750000\na.png,y,0.250000\nb.png,z,1.000000\n'
        assert ''.join(csv_pieces(found)) == expected
        return
    entries = [
        {'image': p.image, 'classes': [{'class': n, 'probability': v} for n, v in p.classes]}
        for p in found
    ]
    for count in range(3):
        assert ''.join(json_pieces(found[:count])) == json.dumps(entries[:count], indent=1) + '\n'


def test_a_list_gives_the_accuracy_of_the_run_and_the_confusions(world, tmp_path):
    path = tmp_path / 'matrix.csv'
    outcome = predict(world, '--list', world / 'own/birds/test.txt', '--confusion', path)
    assert outcome.status == 0, outcome
    top1 = json.loads((world / 'run/result.json').read_text())['top1']
    assert f'of 9 right ({top1:.2f}%)' in outcome.err
    rows = list(csv.reader(path.open(encoding='utf-8')))
    assert rows[0] == ['true class', *CLASSES]
    assert [row[0] for row in rows[1:]] == list(CLASSES)
    counts = np.array([row[1:] for row in rows[1:]], int)
    assert counts.sum(axis=1).tolist() == [3, 3, 3]
    assert counts.trace() == round(top1 * 9 / 100)


def test_one_file_for_predictions_and_confusions(world, tmp_path):
    files = '--out', tmp_path / 'a.csv', '--confusion', tmp_path / 'x' / '..' / 'a.csv'
    error = predict(world, '--list', world / 'own/birds/test.txt', *files).error()
    assert '--out and --confusion are both' in error


def test_a_confusion_matrix_by_hand():
    predictions = [Prediction('', label, ()) for label in (0, 1, 1, 1)]
    assert confusion_csv(predictions, [0, 0, 1, 1], ['a', 'b']) == 'true class,a,b\na,1,1\nb,0,2\n'


def test_a_table_of_results_holds_own_tasks(world, base):
    outcome = run_tool(
        'test', world / 'birds_memba.py', '--work-dir', world / 'run', *arguments(base, world)
    )
    assert outcome.status == 0, outcome
    assert '| memba  | birds | Own data |' in outcome.out


def test_the_config_may_be_given(world, base, tmp_path):
    moved = Path(shutil.copy(checkpoint(world), tmp_path))
    image = world / 'photos/red/1.png'
    error = run_tool('predict', image, '--checkpoint', moved).error()
    assert f'there is no {tmp_path}/run.json: give the config with --config' in error
    config = tmp_path / 'dumped.py'
    config.write_text((world / 'run/birds_memba.py').read_text())
    assert run_tool('predict', image, '--checkpoint', moved, '--config', config).status == 0


def test_a_config_whose_test_data_is_wrapped(world, tmp_path):
    image, config = world / 'photos/red/1.png', tmp_path / 'wrapped.py'
    text = (world / 'run/birds_memba.py').read_text()
    wrapped = "dict(type='ConcatDataset', datasets=[test_dataloader['dataset']])"
    config.write_text(f"{text}\ntest_dataloader['dataset'] = {wrapped}\n")
    assert predict(world, image, '--config', config).out == predict(world, image).out


@pytest.mark.parametrize('option', ['--out', '--confusion'])
def test_places_where_no_file_can_be_are_told_before_the_first_image(world, tmp_path, option):
    of_list = ['--list', world / 'own/birds/test.txt']
    (tmp_path / 'file').touch()
    outcome = predict(world, *of_list, option, tmp_path)
    assert f'{tmp_path} is a folder: name a file' in outcome.error()
    outcome = predict(world, *of_list, option, tmp_path / 'file/x.csv')
    assert f'{tmp_path}/file is no folder' in outcome.error()
    assert outcome.out == ''


@pytest.mark.parametrize('tool', ['predict', 'visualize', 'app'])
def test_a_device_that_is_not_there(world, tool):
    arguments = {
        'predict': [world / 'photos/red/1.png', '--checkpoint', checkpoint(world)],
        'visualize': [world / 'photos/red/1.png'],
        'app': [world / 'run'],
    }[tool]
    error = run_tool(tool, *arguments, '--device', 'nonsense').error()
    assert "device 'nonsense' cannot be used" in error


@pytest.mark.parametrize('buffering', [1, -1], ids=['lines', 'all'])
def test_nobody_reads_on(monkeypatch, buffering):
    """As in ``tools/predict.py … | head``."""
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(sys, 'stdout', os.fdopen(writing, 'w', buffering))
    with pytest.raises(SystemExit, match='141'):
        run_main(lambda: None, lambda _: sys.stdout.write('x\n'))
    sys.stdout.close()


def test_a_pipe_that_breaks_elsewhere_is_a_fault_of_ours(monkeypatch):
    def main(_) -> None:
        raise BrokenPipeError

    with open(os.devnull, 'w') as out, pytest.raises(BrokenPipeError):
        monkeypatch.setattr(sys, 'stdout', out)
        run_main(lambda: None, main)


def test_a_checkpoint_of_another_model(world, tmp_path):
    moved = Path(shutil.copy(checkpoint(world), tmp_path))
    config = ['--config', DEMO]
    error = run_tool('predict', world / 'photos/red/1.png', '--checkpoint', moved, *config).error()
    assert 'is of other adapters' in error or 'another base' in error


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ([], 'one of the two'),
        (['IMAGE', '--list', 'x'], 'one of the two'),
        (['IMAGE', '--confusion', 'x'], '--confusion needs the true classes'),
        (['IMAGE', '--renamed-classes'], '--renamed-classes compares the classes of a list'),
        (['--list', 'nowhere.txt'], 'no list file at nowhere.txt'),
        (['nowhere.png'], r'cannot read image nowhere.png'),
        (['TEXT'], r'cannot read image .*run\.json'),
    ],
)
def test_mistakes(world, arguments, expected):
    image, text = (str(world / p) for p in ('photos/red/1.png', 'run/run.json'))
    arguments = [{'IMAGE': image, 'TEXT': text}.get(word, word) for word in arguments]
    assert re.search(expected, predict(world, *arguments).error())


def test_damage_and_malice(world, tmp_path):
    class Canary:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'canary'),)

    image, path = world / 'photos/red/1.png', tmp_path / 'epoch_1.pth'
    torch.save({'state_dict': {}, 'meta': Canary()}, path)
    assert 'holds pickled' in run_tool('predict', image, '--checkpoint', path).error()
    assert not (tmp_path / 'canary').exists()
    torch.save({'state_dict': [], 'meta': {}}, path)
    assert 'was not written by' in run_tool('predict', image, '--checkpoint', path).error()
    content = torch.load(checkpoint(world), weights_only=True)
    content['meta']['dataset_meta'] = {'classes': ['only one']}
    torch.save(content, path)
    shutil.copy(world / 'run/run.json', tmp_path)
    assert 'names 1 classes' in run_tool('predict', image, '--checkpoint', path).error()


def test_data_that_was_not_built_is_told_when_the_config_is_read(world, tmp_path):
    copy_of_config(tmp_path / 'birds_memba.py', tmp_path / 'nowhere')
    error = run_tool('train', tmp_path / 'birds_memba.py').error()
    assert 'there is no' in error
    assert 'prepare_vtab1k.py build' in error


@pytest.mark.parametrize('content', ['', 'one\n', 'a\na\n', 'a\n\nb\n', b'\xff\n\xfe\n'])
def test_class_names_that_cannot_be(world, tmp_path, content):
    folder = shutil.copytree(world / 'own', tmp_path / 'own') / 'birds'
    (folder / 'classes.txt').write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    copy_of_config(tmp_path / 'birds_memba.py', tmp_path / 'own')
    error = run_tool('train', tmp_path / 'birds_memba.py').error()
    assert f'{folder}/classes.txt' in error


def test_a_byte_order_mark_is_no_part_of_a_name(world, tmp_path):
    folder = shutil.copytree(world / 'own', tmp_path / 'own') / 'birds'
    content = (folder / 'classes.txt').read_bytes().replace(b'\n', b'\r\n')
    (folder / 'classes.txt').write_bytes(b'\xef\xbb\xbf' + content)
    assert read_classes(folder) == list(CLASSES)


def test_the_config_for_vim_small(world, tmp_path):
    copy_of_config(tmp_path / 'birds_memba.py', world / 'own', 'vim-small_memba')
    config = load_config(str(tmp_path / 'birds_memba.py'), {}, None)
    assert config.model.head.num_classes == 3
    for loader in (config.train_dataloader, config.test_dataloader):
        assert (loader.dataset.type, loader.dataset.task) == ('OwnData', 'birds')
        assert loader.dataset.pipeline[1]['scale'] == (224, 224)


def data_of(world: Path, folder: Path, classes: list[str]) -> Path:
    """The task with other names of its classes; the labels are those that they were."""
    shutil.copytree(world / 'own', folder / 'own')
    (folder / 'own/birds/classes.txt').write_text('\n'.join(classes) + '\n', encoding='utf-8')
    return folder / 'own'


def uses_of(world: Path, base: Path, folder: Path, data: Path) -> dict[str, list]:
    """What a checkpoint is used for with some data, as command lines."""
    options = arguments(base, world)
    roots = [f'{part}_dataloader.dataset.data_root={data}' for part in ('train', 'test')]
    config, path = world / 'birds_memba.py', checkpoint(world)
    new_run = [config, '--work-dir', folder / 'new', *options, *roots]
    return {
        'test': ['test', config, path, '--work-dir', folder / 'new', *options, *roots],
        'resume': ['train', *new_run, '--resume', path],
        'train from it': ['train', *new_run, f'load_from={path}'],
        'predict': ['predict', '--list', data / 'birds/test.txt', '--checkpoint', path],
    }


USES = ('test', 'resume', 'train from it', 'predict')


def with_option(command: list) -> list:
    """A command line with the option for classes that have other names now."""
    place = command.index('--work-dir') if '--work-dir' in command else len(command)
    return [*command[:place], '--renamed-classes', *command[place:]]


@pytest.mark.parametrize('use', USES)
def test_a_renamed_class_is_found_wherever_a_checkpoint_is_used(world, base, tmp_path, use):
    data = data_of(world, tmp_path, ['blue tit', 'café', 'rouge'])
    command = uses_of(world, base, tmp_path, data)[use]
    error = run_tool(*command).error()
    assert "label 2 was 'red' and is 'rouge'. Accuracy and names would be wrong" in error
    assert 'under other names, add --renamed-classes' in error
    outcome = run_tool(*with_option(command))
    assert outcome.status == 0, outcome


def test_a_training_that_cannot_begin_moves_nothing_aside(world, base, tmp_path):
    data = data_of(world, tmp_path, ['blue tit', 'café', 'rouge'])
    shutil.copytree(world / 'run', tmp_path / 'new')
    files = [path for path in (tmp_path / 'new').iterdir() if path.suffix in ('.pth', '.json')]
    before = [path.read_bytes() for path in files]
    run_tool(*uses_of(world, base, tmp_path, data)['train from it']).error()
    assert [path.read_bytes() for path in files] == before


@pytest.mark.parametrize('use', USES)
def test_classes_in_another_order_are_not_renamed_ones(world, base, tmp_path, use):
    data = data_of(world, tmp_path, ['azure tit', 'blue tit', 'red'])
    command = uses_of(world, base, tmp_path, data)[use]
    error = run_tool(*command).error()
    assert "label 0 was 'blue tit' and is 'azure tit'; label 1 was 'café' and is 'blue" in error
    assert '--renamed-classes' not in error
    outcome = run_tool(*with_option(command))
    if use == 'train from it':  # the head learns what its outputs mean
        assert "and is 'blue tit'; going on" in outcome.out + outcome.err
    else:
        assert "and is 'blue tit'" in outcome.error()


def test_the_data_of_training_and_test_have_the_same_classes(world, base, tmp_path):
    data = data_of(world, tmp_path, ['blue tit', 'café', 'rouge'])
    command = uses_of(world, base, tmp_path, data)['train from it'][:-2]  # from the base alone
    command = [c for c in command if not str(c).startswith('train_dataloader.dataset.data_root')]
    root = f'train_dataloader.dataset.data_root={world / "own"}'
    outcome = run_tool(*command, root, f'test_dataloader.dataset.data_root={data}')
    assert "the test data are not the same: label 2 was 'red' and is 'rouge'" in outcome.error()
    assert ' loss ' not in outcome.out


def test_a_checkpoint_without_names_goes_on_working(world, base, tmp_path):
    content = torch.load(checkpoint(world), weights_only=True)
    content['meta'].pop('dataset_meta')
    (tmp_path / 'run').mkdir()
    torch.save(content, tmp_path / 'run/epoch_6.pth')
    shutil.copy(world / 'run/run.json', tmp_path / 'run')
    config, place = world / 'birds_memba.py', ['--work-dir', tmp_path / 'run']
    assert run_tool('test', config, *place, *arguments(base, world)).status == 0
    of_list = ['--list', world / 'own/birds/test.txt', '--checkpoint', tmp_path / 'run/epoch_6.pth']
    assert run_tool('predict', *of_list).status == 0
    data = data_of(world, tmp_path, ['a', 'b', 'c', 'd'])
    of_list[1] = data / 'birds/test.txt'
    assert 'names 4 classes, but the head has 3 outputs' in run_tool('predict', *of_list).error()


def test_names_given_to_an_inferencer(world):
    def names(classes):
        return memba_vision.Inferencer(checkpoint(world), classes=classes).classes

    assert names(None) == list(CLASSES)
    assert names(['a', 'b', 'c']) == ['a', 'b', 'c']
    for classes in (['a', 'b'], list('abcde')):
        with pytest.raises(UserError, match=f'names {len(classes)} classes, but the head'):
            names(classes)
    with pytest.raises(UserError, match="label 0 was 'blue tit' and is 'red'"):
        names(list(reversed(CLASSES)))
