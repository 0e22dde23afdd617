"""From a folder of photos to a page, by one command."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ENVIRONMENT, TOOLS, as_arguments, forget_runs, run_tool
from photo_folders import CLASSES, make_photo, make_photos
from PIL import Image
from recording_tracker import RECORDING, RecordingVisBackend

import memba_vision
from memba_vision.datasets.own_data import OwnData
from memba_vision.errors import ExitStatus, UserError
from memba_vision.files import check_output_path
from memba_vision.photos import training
from memba_vision.photos.figures import draw_curves
from memba_vision.photos.outcome import Outcome, Share
from memba_vision.photos.outcome import test_outcome as outcome_of_test
from memba_vision.photos.source import TEST, TRAIN, VAL
from memba_vision.photos.task import prepare_task
from memba_vision.runs.presets import read_config
from memba_vision.weights import read_checkpoint

COUNTS = dict.fromkeys(CLASSES, 14)


@pytest.fixture(scope='module')
def backbone(base, tmp_path_factory) -> str:
    """A backbone file of one's own, of 14,000 parameters."""
    path = tmp_path_factory.mktemp('backbone') / 'tiny.py'
    path.write_text(f"""
_base_ = 'memba_vision::_base_/models/vim-mini.py'
model = dict(
    backbone=dict(
        module=dict(
            arch=dict(embed_dims=16, num_layers=2),
            init_cfg=dict(checkpoint={str(base)!r}),
        )
    ),
    neck=dict(input_features=16),
    head=dict(in_channels=16),
)
adapter_settings = dict(rank=2, scale=1.0)
""")
    return str(path)


@pytest.fixture(scope='module')
def short():
    """Trainings of a few epochs."""
    patch = pytest.MonkeyPatch()
    patch.setattr(training, 'EPOCHS', (4, 6))
    yield
    patch.undo()


@pytest.fixture(scope='module')
def world(backbone, short, tmp_path_factory) -> Path:
    """Photos, some of them broken, and all that the command made of them; not to be changed."""
    root = tmp_path_factory.mktemp('world')
    photos = make_photos(root / 'birds', COUNTS)
    (photos / 'red' / 'broken.jpg').write_bytes(b'no image')
    (photos / 'red' / 'notes.txt').write_text('no image either')
    shutil.copy(photos / 'café' / '0.png', photos / 'café' / 'copy.png')
    with Image.open(photos / 'café' / '1.png') as image:
        image.resize((72, 72), Image.NEAREST).save(photos / 'café' / 'large.jpg')
    outcome = command(root, backbone, '--skip-broken', '--balance')
    assert outcome.status == 0, outcome
    (root / 'out.txt').write_text(outcome.out)
    return root


def command(root: Path, backbone: str, *arguments: object, place: str = 'made'):
    fixed = ['--backbone', backbone, '--work-dir', root / place, '--epochs', 3]
    return run_tool('adapt', root / 'birds', *fixed, *arguments)


class Page(HTMLParser):
    """The parts of a page: its elements, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements, self.text = [], ''
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope='module')
def page(world) -> Page:
    return Page((world / 'made' / 'page.html').read_text(encoding='utf-8'))


def test_every_file_that_cannot_be_used_is_listed_at_once(world, backbone, tmp_path, monkeypatch):
    photos = Path(shutil.copytree(world / 'birds', tmp_path / 'birds'))
    (photos / 'café' / 'empty.png').touch()
    shutil.copy(photos / 'red' / '0.png', photos / 'blue tit' / 'twin.png')
    monkeypatch.chdir(tmp_path)
    outcome = command(Path(), backbone)
    error = outcome.error()
    assert '4 of 47 files cannot be used, all named above: ' in error
    assert '--skip-broken' in error
    lines = outcome.out.splitlines()
    for name in ('empty.png', 'broken.jpg', 'twin.png', 'red/0.png'):
        assert name not in error
        named = [line for line in lines if name in line]
        assert len(named) == 1
        assert named[0].startswith('birds/'), 'as the folder was named'
    assert 'the same photo in the classes blue tit and red' in outcome.out
    assert not (tmp_path / 'made').exists()


def test_trackers_get_both_trainings(world, backbone, tmp_path, monkeypatch):
    """With the membrane, which the linear probe has none of."""
    monkeypatch.setattr(RecordingVisBackend, 'runs', [])
    hook = {'default_hooks.membrane_report.type': 'MembraneReportHook'}
    options = ['--skip-broken', *as_arguments({**RECORDING, **hook})]
    outcome = command(world, backbone, *options, place=tmp_path / 'made')
    assert outcome.status == 0, outcome
    runs = {Path(run.work_dir).name: run for run in RecordingVisBackend.runs}
    assert list(runs) == ['linear_probing', 'memba']
    for run in runs.values():
        assert run.scalars.keys() >= {'loss', 'accuracy/top1', 'test/accuracy/top1'}
        assert run.closed == 1
        has_membrane = 'membrane_potential/layer_01' in run.scalars
        assert has_membrane == (Path(run.work_dir).name == 'memba')


def test_the_outcome_on_the_terminal(world):
    out = (world / 'out.txt').read_text()
    assert '43 photos of 3 classes: ' in out
    assert '2 photos that look like others stay with these in one split' in out
    number = r'\d+\.\d %'
    share = rf'test accuracy {number} \(\d+ of \d+ right; 95 % interval [\d.]+ to {number}\)'
    assert len(re.findall(share, out)) == 2
    assert 'linear probe: test accuracy' in out
    assert f'everything on one page: {world}/made/page.html' in out
    assert f'memba-vision predict NEW.jpg --run {world}/made/memba ' in out


def test_photos_stay_where_they_are(world):
    lists = {name: (world / f'made/data/birds/{name}.txt').read_text() for name in (TRAIN, VAL)}
    for text in lists.values():
        paths = [Path(line.rpartition(' ')[0]) for line in text.splitlines()]
        assert all(path.parent.parent == world / 'birds' for path in paths)
    kinds = {path.suffix for path in (world / 'made').rglob('*') if path.is_file()}
    assert not kinds & {'.png', '.jpg', '.jpeg'}
    dataset = OwnData('birds', world / 'made/data', 'val')
    assert list(CLASSES) == dataset.CLASSES


def test_what_is_left_out_is_listed(world):
    rows = (world / 'made/data/birds/left_out.csv').read_text().splitlines()
    assert {Path(row.partition(',')[0]).name for row in rows[1:]} == {
        *('broken.jpg', 'notes.txt', 'copy.png'),
    }


def test_near_duplicates_are_in_one_split(world):
    places = {
        path: split
        for split in (TRAIN, VAL, TEST)
        for path in (world / f'made/data/birds/{split}.txt').read_text().split('\n')
    }
    alike = [split for path, split in places.items() if re.search(r'/(1\.png|large\.jpg) 1', path)]
    assert len(alike) == 2
    assert len(set(alike)) == 1


def test_numbers_of_page_and_result_are_the_same(world, page):
    result = json.loads((world / 'made/memba/result.json').read_text())
    assert f'{result["top1"]:.1f}\N{NO-BREAK SPACE}%' in page.text
    assert f'of {result["test_images"]}' in page.text
    assert Path(result['checkpoint']).name.startswith('best_accuracy_top1_epoch_')


def test_the_page_stands_by_itself(page):
    links = [attrs for tag, attrs in page.elements if tag in ('script', 'img', 'link', 'a')]
    sources = [attrs.get('src') or attrs.get('href') or 'data:' for attrs in links]
    assert all(source.startswith('data:') for source in sources)
    assert ('meta', {'name': 'viewport', 'content': 'width=device-width, initial-scale=1'}) in (
        page.elements
    )


def test_the_page_has_all_parts(world, page):
    headings = ('Class by class', 'The worst mistakes', 'Learning', 'The photos', 'Next')
    for text in (*headings, *CLASSES, 'Confusions', 'linear probe', 'notes.txt', 'broken.jpg'):
        assert text in page.text
    assert sum(tag == 'figure' for tag, _ in page.elements) == 2, 'confusions and curves'
    right = re.search(r'(\d+) of (\d+)', page.text)
    mistakes = int(right[2]) - int(right[1])
    assert sum(tag == 'img' for tag, _ in page.elements) == min(mistakes, 12)


def test_a_training_stops_early_unless_its_epochs_are_given(world):
    hooks = {
        method: read_config(world / f'made/birds_{method}.py').get('custom_hooks', [])
        for method in ('linear-probing', 'memba')
    }
    assert hooks['memba'] == []
    (stopping,) = hooks['linear-probing']
    assert (stopping.type, stopping.monitor) == ('EarlyStoppingHook', 'accuracy/top1')
    assert [training.patience_of(epochs) for epochs in (10, 48, 100)] == [10, 12, 25]
    out = (world / 'out.txt').read_text()
    assert re.search('linear probe on .*, until its validation gets no better:', out)


def test_the_accuracy_is_what_a_phone_shows_of_a_table(world):
    text = (world / 'made' / 'page.html').read_text(encoding='utf-8')
    seconds = [re.findall('<th [^>]*>([^<]*)', head)[1] for head in re.findall('<thead.*', text)]
    assert seconds == ['accuracy (%)', 'of its photos (%)']
    assert not re.search('[0-9] %', text), 'no line ends before a sign'


def test_classes_are_balanced_on_request(world):
    config = read_config(world / 'made/birds_memba.py')
    weights, counts = config.model.head.loss.class_weight, {}
    for line in (world / 'made/data/birds/train.txt').read_text().splitlines():
        label = int(line.rpartition(' ')[2])
        counts[label] = counts.get(label, 0) + 1
    assert [weights[label] * n for label, n in sorted(counts.items())] == pytest.approx(
        [sum(counts.values()) / 3] * 3, rel=1e-3
    )


def test_the_checkpoint_serves(world):
    checkpoint = json.loads((world / 'made/memba/result.json').read_text())['checkpoint']
    photo = world / 'birds/red/3.png'
    found = [run_tool('predict', photo, '--run', run) for run in (world / 'made/memba', checkpoint)]
    assert found[0].out.count(str(photo)) == 1
    assert found[0].out == found[1].out


def test_the_config_trains_by_itself(world, tmp_path):
    config = read_config(world / 'made/birds_memba.py')
    splits = [config[f'{part}_dataloader'].dataset.split for part in ('train', 'val', 'test')]
    assert splits == [TRAIN, VAL, TEST]
    arguments = ('--work-dir', tmp_path, '--epochs', 1)
    assert run_tool('train', world / 'made/birds_memba.py', *arguments).status == 0
    assert (tmp_path / 'result.json').is_file()


def test_the_same_command_makes_nothing_twice(world, backbone):
    run = world / 'made/memba'
    before = {path: path.stat().st_mtime_ns for path in run.rglob('*')}
    outcome = command(world, backbone, '--skip-broken', '--balance')
    assert outcome.status == 0, outcome
    assert {path: path.stat().st_mtime_ns for path in run.rglob('*')} == before


@pytest.mark.slow
def test_ctrl_c_and_the_same_command_again(backbone, tmp_path):
    make_photos(tmp_path / 'birds', COUNTS)
    made = tmp_path / 'made'
    arguments = ['--backbone', backbone, '--epochs', '40']
    process = subprocess.Popen(
        [sys.executable, TOOLS / 'adapt.py', tmp_path / 'birds', '--work-dir', made, *arguments],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Shells start commands in the background deaf to it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    of_memba = (line for line in process.stdout if (made / 'memba').is_dir())
    next(line for line in of_memba if 'epoch  7/40' in line)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
    _, error = process.communicate()
    assert process.returncode == ExitStatus.INTERRUPTED
    said = re.search(r'interrupted in epoch (\d+); saved is (\S+); the same command goes on', error)
    assert Path(said[2]) == made / 'memba' / f'epoch_{int(said[1]) - 1}.pth'
    assert Path(said[2]).is_file()
    assert 'Traceback' not in error
    straight = tmp_path / 'straight'
    again, other = (
        run_tool('adapt', tmp_path / 'birds', '--work-dir', place, *arguments)
        for place in (made, straight)
    )
    assert f'resumed epoch: {int(said[1]) - 1}' in again.out
    shares = [re.findall('.*: test accuracy .*', outcome.out) for outcome in (again, other)]
    assert len(shares[0]) == 2
    assert shares[0] == shares[1]
    best = [next((place / 'memba').glob('best_*.pth')) for place in (made, straight)]
    assert best[0].name == best[1].name
    ours, theirs = (read_checkpoint(str(path))['state_dict'] for path in best)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_folder_that_was_begun_otherwise_is_refused(world, backbone):
    error = command(world, backbone, '--skip-broken', '--seed', 5).error()
    assert 'it was begun with seed 0, not 5; balance True, not False' in error
    (world / 'birds/red/new.png').write_bytes((world / 'birds/red/0.png').read_bytes()[:-1] + b'x')
    try:
        error = command(world, backbone, '--skip-broken', '--balance').error()
        assert 'the photos or their classes are not those' in error
    finally:
        (world / 'birds/red/new.png').unlink()


def replaced_photo(photos: Path, backbone: Path) -> Path:
    return make_photo(photos / 'red' / '5.png', 2, np.random.default_rng(9))


def changed_backbone(photos: Path, backbone: Path) -> Path:
    backbone.write_text(backbone.read_text().replace('rank=2', 'rank=3'))
    return backbone


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (replaced_photo, 'there are other photos in the files'),
        (changed_backbone, 'what the file of the backbone or the method says has changed'),
    ],
)
def test_files_that_changed_after_the_training(world, backbone, change, message):
    places = world / 'birds/red/5.png', Path(backbone)
    before = {path: path.read_bytes() for path in places}
    try:
        change(world / 'birds', Path(backbone))
        assert message in command(world, backbone, '--skip-broken', '--balance').error()
    finally:
        for path, content in before.items():
            path.write_bytes(content)


def test_runs_of_something_else_are_no_runs_on_these_photos(world, tmp_path):
    """As training by hand leaves them, without the record of this command."""
    made = tmp_path / 'made'
    shutil.copytree(world / 'made' / 'memba', made / 'memba')
    photos = make_photos(tmp_path / 'photos', {'a': 4, 'b': 4})
    error = run_tool('adapt', photos, '--work-dir', made).error()
    assert f'{made} holds runs of something else, for it has no adapt.json: give another' in error
    assert [path.name for path in made.iterdir()] == ['memba']
    task = prepare_task(photos, tmp_path / 'task', 0, False, 1, lambda line: None)
    with pytest.raises(UserError, match="not the same: label 0 was 'blue tit' and is 'a'"):
        outcome_of_test(task, str(made / 'memba'))


def test_a_finished_run_is_read_where_it_lies_now(world, tmp_path):
    copied = Path(shutil.copytree(world / 'made' / 'memba', tmp_path / 'memba'))
    checkpoint = Path(training._finished(copied).checkpoint)
    assert checkpoint.parent == copied
    result = json.loads((copied / 'result.json').read_text())
    (copied / 'result.json').write_text(json.dumps({**result, 'checkpoint_sha256': '0' * 64}))
    with pytest.raises(UserError, match='no longer holds the checkpoint that its result'):
        training._finished(copied)


def test_a_record_of_an_older_version_goes_on(world, backbone):
    path = world / 'made' / 'adapt.json'
    record = json.loads(path.read_text())
    older = {key: value for key, value in record.items() if key not in ('contents', 'configs')}
    path.write_text(json.dumps(older))
    outcome = command(world, backbone, '--skip-broken', '--balance')
    assert outcome.status == 0, outcome
    assert json.loads(path.read_text()) == record


def test_from_python_with_a_linear_probe_alone(backbone, short, tmp_path):
    forget_runs()
    photos, told = make_photos(tmp_path / 'photos', {'a': 6, 'b': 6}), []
    adapted = memba_vision.adapt(
        photos, backbone, 'linear-probing', tmp_path / 'made', epochs=2, tell=told.append
    )
    assert adapted.baseline is None
    assert adapted.outcome.accuracy == Share(round(adapted.accuracy / 50), 2)
    assert adapted.page.is_file()
    assert memba_vision.load_trained(adapted.checkpoint).head.num_classes == 2
    assert any('fewer than 10 photos (a, b)' in line for line in told)


@pytest.mark.parametrize(
    ('counts', 'message'),
    [
        ({'a': 9}, 'there is one class alone, a, and a task needs two or more'),
        ({'outer/a': 4, 'outer/b': 4}, 'folders a, b, … are classes, give .*outer'),
        ({'a': 1, 'b': 1}, 'leave none for val and test'),
        ({}, 'holds no image'),
    ],
    ids=str,
)
def test_folders_that_are_no_task(tmp_path, counts, message):
    (tmp_path / 'photos').mkdir()
    make_photos(tmp_path / 'photos', counts)
    assert re.search(
        message, run_tool('adapt', tmp_path / 'photos', '--work-dir', tmp_path / 'o').error()
    )


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere'], 'no folder or csv at nowhere'),
        (['.', '--method', 'memb'], 'did you mean memba'),
        (['.', '--backbone', 'vim-smal'], 'did you mean vim-small'),
        (['.', '--backbone', 'sizeless.py'], '--backbone sizeless.py: it does not say how large'),
        (['.', '--method', 'my/linear-probing.py'], 'linear_probing is another part of the folder'),
        (['.', '--method', 'my/data.py'], 'data is another part of the folder'),
    ],
    ids=str,
)
def test_arguments_that_cannot_be(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    module = "dict(type='Vim', arch='tiny')"
    Path('sizeless.py').write_text(f'model = dict(backbone=dict(module={module}))\n')
    assert message in run_tool('adapt', *arguments).error()


def test_a_seed_below_zero(tmp_path):
    with pytest.raises(UserError, match='--seed -1: expected 0 or more'):
        memba_vision.adapt(tmp_path, seed=-1)


def test_places_that_nothing_can_be_written_to(tmp_path):
    photos = make_photos(tmp_path / 'photos', {'a': 4, 'b': 4})
    places = {
        '/proc/nothing': 'cannot be made',
        photos: 'holds the photos',
        '/dev/null/x': 'is no',
    }
    for place, message in places.items():
        error = run_tool('adapt', photos, '--work-dir', place).error()
        assert message in error
    assert sorted(path.name for path in photos.iterdir()) == ['a', 'b']


def test_a_place_without_the_right_to_write():
    at_work = os.geteuid()
    with contextlib.ExitStack() as end:
        if at_work == 0:  # who may write anywhere
            end.callback(os.seteuid, at_work)
            os.seteuid(65534)
        with pytest.raises(
            UserError, match=r'no right to write in /usr, where /usr/made/page\.html'
        ):
            check_output_path('/usr/made/page.html')
        check_output_path('/tmp')  # in a folder that is not everybody's


def test_many_files_are_split_quickly(tmp_path, monkeypatch):
    source = make_photos(tmp_path / 'photos', {'a': 700, 'b': 100, 'c': 3})
    reads, read = Counter(), Path.read_bytes
    monkeypatch.setattr(Path, 'read_bytes', lambda path: reads.update([path]) or read(path))
    task = prepare_task(source, tmp_path / 'task', 0, False, 1, lambda line: None)
    assert [len(task.of(split)) for split in (TRAIN, VAL, TEST)] == [481, 161, 161]
    assert set(reads.values()) == {1}, 'each is read once'
    assert len(reads) == len(task.photos)
    remarks = ' '.join(task.remarks)
    assert 'from 3 photos of c to 700 of a' in remarks
    assert 'fewer than 10 photos (c)' in remarks


def test_a_name_that_no_list_can_have(tmp_path):
    photos = make_photos(tmp_path / 'photos', {'a': 4, 'b': 4})
    for end in '\n\r':
        make_photo(photos / 'a' / f'line{end}break.png', 0, np.random.default_rng(ord(end)))
    told = []
    with pytest.raises(UserError, match='2 of 10 files cannot be used'):
        prepare_task(photos, tmp_path / 'task', 0, False, 1, told.append)
    assert told[0].startswith(f'{photos}/a/line\\nbreak.png: its name')
    assert told[1].startswith(f'{photos}/a/line\\rbreak.png: its name')
    told.clear()
    task = prepare_task(photos, tmp_path / 'task', 0, True, 1, told.append)
    assert len(task.photos) == 8
    assert told[0].startswith('left out: 2\n  2 its name')


def test_one_class_that_can_be_used(tmp_path):
    photos = make_photos(tmp_path / 'photos', {'a': 6, 'b': 2})
    for number in range(2):
        (photos / 'b' / f'{number}.png').write_bytes(bytes(number))
    with pytest.raises(UserError, match='there is one class alone, a,'):
        prepare_task(photos, tmp_path / 'task', 0, True, 1, lambda line: None)


def test_a_photo_of_several_splits_is_tested_on(tmp_path):
    splits = {'train': 6, 'val': 4, 'test': 2}  # of the same photos
    for split, count in splits.items():
        make_photos(tmp_path / 'tree' / split, {'a': 1}, seed=len(split))
        for name, seed in {'a': 1, 'b': 2}.items():
            make_photos(tmp_path / 'tree' / split, {name: count}, seed)
    task = prepare_task(tmp_path / 'tree', tmp_path / 'task', 0, False, 1, lambda line: None)
    assert {split: len(task.of(split)) for split in splits} == {'train': 4, 'val': 4, 'test': 4}
    assert '4 photos of val are in test as well, and are used there alone' in task.remarks
    assert '4 photos of train are in val as well, and are used there alone' in task.remarks


@pytest.mark.parametrize(('epochs', 'patience'), [(200, 50), (20, 10)])
def test_the_patience_follows_the_epochs_of_the_options(tmp_path, backbone, epochs, patience):
    photos = make_photos(tmp_path / 'photos', {'a': 4, 'b': 4})
    task = prepare_task(photos, tmp_path / 'task', 0, False, 1, lambda line: None)
    choices = training.Choices(backbone, 'memba', options={'train_cfg.max_epochs': epochs})
    config = training.make_config(task, choices, 'memba', tmp_path / 'run')
    assert [hook.patience for hook in config.custom_hooks] == [patience]


def test_the_worst_mistakes_come_first():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.95, 0.05]])
    outcome = Outcome(('a', 'b'), (Path('x'),) * 4, np.array([0, 0, 0, 1]), scores)
    assert outcome.mistakes() == [3, 1, 2]
    assert outcome.matrix.tolist() == [[1, 2], [1, 0]]
    assert outcome.accuracy == Share(1, 4)
    assert outcome.of_most_frequent([1, 5]) == Share(1, 4)
    better = Outcome(('a', 'b'), outcome.paths, outcome.labels, np.eye(2)[outcome.labels])
    assert better.p_against(outcome) == 0.25


def remarks_of(folder: Path, out: Path) -> str:
    task = prepare_task(folder, out, 0, False, 1, lambda line: None)
    return ' '.join(task.remarks)


def test_folders_in_folders_may_be_the_classes(tmp_path):
    """All is taken by the first folder, and what may have been meant is said."""
    for seed, (year, name) in enumerate(product(('2023', '2024'), ('red', 'blue'))):
        make_photos(tmp_path / 'trips' / year, {name: 6}, seed)
        make_photos(tmp_path / 'sorted' / name, {year: 6}, seed)
    make_photos(tmp_path / 'sorted', {'red': 1}, seed=9)
    said = 'every class (2023, 2024) has the folders blue, red in it'
    assert said in remarks_of(tmp_path / 'trips', tmp_path / 'a')
    assert 'every class' not in remarks_of(tmp_path / 'sorted', tmp_path / 'b')


def test_an_accuracy_has_no_axis_beyond_100(tmp_path):
    class Trained:
        title, run = 'all right', tmp_path

    lines = [{'epoch': epoch, 'accuracy/top1': 100.0} for epoch in (1, 2, 3)]
    (tmp_path / 'losses.jsonl').write_text(''.join(f'{json.dumps(line)}\n' for line in lines))
    svg = draw_curves([Trained]).svg
    assert '100' in svg
    assert '102' not in svg
