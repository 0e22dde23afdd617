"""Selection by data in whole runs: its record, its cost, and what goes on from where."""

import json
import re
import shutil

import pytest
import torch
from helpers import DEMO, EACH_EPOCH, as_arguments, run_tool, tiny_options

from memba_vision import load_trained
from memba_vision.models.peft.model import parse_header
from memba_vision.weights import read_checkpoint

HEADER = 'backbone.peft_header'
OTHERS = ('gps', 'spt_lora')


@pytest.fixture(
    scope='module',
    params=['sdt', 'eva', *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)],
)
def arguments(request, base, data_root) -> list:
    options = tiny_options(base, data_root, **EACH_EPOCH)
    del options['model.backbone.rank']
    return [DEMO, '--peft', request.param, *as_arguments(options)]


@pytest.fixture(scope='module')
def run(arguments, tmp_path_factory):
    """The folder of a run, with what its log says."""
    folder = tmp_path_factory.mktemp('run')
    outcome = run_tool('train', *arguments, '--work-dir', folder)
    assert outcome.status == 0, outcome
    return folder, ''.join(path.read_text() for path in folder.glob('*/*.log'))


def header_of(path):
    return parse_header(read_checkpoint(str(path))['state_dict'][HEADER])


def choices_in(path):
    return [adapter.get('choice') for adapter in header_of(path)['adapters']]


def weights_of(path):
    return read_checkpoint(str(path))['state_dict']


def same(path, other):
    first, second = weights_of(path), weights_of(other)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_the_choice_and_its_cost_are_recorded(run):
    folder, log = run
    record, header = (
        json.loads((folder / 'selection.json').read_text()),
        header_of(folder / 'epoch_2.pth'),
    )
    assert record['choices'] == [header['adapters'][0]['choice']]
    note = {key: record[key] for key in ('images', 'seconds', 'processes')}
    assert header['selection'] == note
    assert (note['images'], note['processes']) == (32, 1)
    assert re.search(r'^.* (SDT|EVA|GPS|SPTLoRA): chosen in ', log, re.MULTILINE)
    result = json.loads((folder / 'result.json').read_text())
    assert result['training_seconds'] > note['seconds']


def test_a_resumed_run_goes_on_with_its_choice(run, arguments, tmp_path):
    folder, _ = run
    shutil.copy(folder / 'epoch_1.pth', tmp_path)
    outcome = run_tool('train', *arguments, '--work-dir', tmp_path, '--resume')
    assert outcome.status == 0, outcome
    assert not (tmp_path / 'selection.json').exists()
    assert same(tmp_path / 'epoch_2.pth', folder / 'epoch_2.pth')


def test_a_run_that_had_only_chosen_does_not_choose_again(run, arguments, tmp_path):
    folder, _ = run
    record = json.loads((folder / 'selection.json').read_text())
    (tmp_path / 'selection.json').write_text(json.dumps(record | dict(seconds=1234.5)))
    outcome = run_tool('train', *arguments, '--work-dir', tmp_path)
    assert outcome.status == 0, outcome
    taken = header_of(tmp_path / 'epoch_2.pth')['selection']['seconds'] == 1234.5
    assert taken == record['holds_all'] == ('eva' not in arguments)  # it also chose values
    first, second = weights_of(tmp_path / 'epoch_2.pth'), weights_of(folder / 'epoch_2.pth')
    assert all(torch.equal(first[k], second[k]) for k in first if k != HEADER)


def test_half_a_record_is_no_choice(run, arguments, tmp_path):
    folder, _ = run
    whole = (folder / 'selection.json').read_text()
    (tmp_path / 'selection.json').write_text(whole[: len(whole) // 2])
    outcome = run_tool('train', *arguments, '--work-dir', tmp_path)
    assert outcome.status == 0, outcome
    first, second = (json.loads((p / 'selection.json').read_text()) for p in (folder, tmp_path))
    assert first['choices'] == second['choices'] == choices_in(tmp_path / 'epoch_2.pth')


def test_the_choice_of_another_run_is_not_taken(run, arguments, tmp_path):
    folder, _ = run
    shutil.copy(folder / 'selection.json', tmp_path)
    run_tool('train', *arguments, '--work-dir', tmp_path, '--seed', '5')
    records = [json.loads((place / 'selection.json').read_text()) for place in (folder, tmp_path)]
    assert records[0]['of'] != records[1]['of']


@pytest.mark.parametrize(
    'options',
    [
        ['data_preprocessor.to_rgb=False'],
        ['model.head.loss.type=LabelSmoothLoss', 'model.head.loss.label_smooth_val=0.1'],
    ],
    ids=str,
)
def test_the_choice_of_other_settings_is_not_taken(run, arguments, tmp_path, options):
    folder, _ = run
    shutil.copy(folder / 'selection.json', tmp_path)
    outcome = run_tool('train', *arguments, *options, '--work-dir', tmp_path)
    assert outcome.status == 0, outcome
    records = [json.loads((place / 'selection.json').read_text()) for place in (folder, tmp_path)]
    assert records[0]['of'] != records[1]['of']


def test_a_new_run_in_the_folder_of_another_chooses_anew(run, arguments, tmp_path):
    folder, _ = run
    for name in ('selection.json', 'epoch_2.pth'):
        shutil.copy(folder / name, tmp_path)
    outcome = run_tool('train', *arguments, '--work-dir', tmp_path)
    assert outcome.status == 0, outcome
    (earlier,) = tmp_path.glob('earlier_*/selection.json')
    assert earlier.read_text() == (folder / 'selection.json').read_text()
    assert (tmp_path / 'selection.json').read_text() != earlier.read_text()


def test_a_test_takes_the_choice_of_the_checkpoint(run, arguments, tmp_path):
    folder, _ = run
    trained = json.loads((folder / 'result.json').read_text())
    config, *others = arguments
    outcome = run_tool('test', config, folder / 'epoch_2.pth', *others, '--work-dir', tmp_path)
    assert outcome.status == 0, outcome
    tested = json.loads(next(tmp_path.glob('result*.json')).read_text())
    assert tested['top1'] == trained['top1']
    assert tested['adapter_parameters'] == trained['adapter_parameters'] > 0
    backbone = load_trained(folder / 'epoch_2.pth').backbone
    assert not backbone.undecided
    assert backbone.header == header_of(folder / 'epoch_2.pth')


def test_a_mistake_shows_before_the_images_are_looked_at(arguments, tmp_path):
    outcome = run_tool('train', *arguments, 'model.head.num_classes=3', '--work-dir', tmp_path)
    assert 'the head has 3 outputs, but the data of train_dataloader have' in outcome.error()
    assert not (tmp_path / 'selection.json').exists()
