"""A result is that of the file it names, and checkpoints are found where the hook puts them."""

import json
import os
from pathlib import Path

import pytest
from helpers import DEMO, TESTS, VALIDATION, as_arguments, run_tool, tiny_options

from memba_vision.datasets.vtab1k import read_list_file
from memba_vision.runs.checkpoints import newest_readable
from memba_vision.serving.predict import Predictor
from memba_vision.zoo.adapter_files import write_adapter


class World:
    """Runs of the tools on a tiny config with some text added to it."""

    def __init__(self, folder: Path, base: Path, data_root: Path, text: str) -> None:
        self.work_dir, self.config = folder / 'runs' / 'one', folder / 'digits_memba.py'
        self.list_file = data_root / 'digits' / 'test.txt'
        options = tiny_options(base, data_root, **{'train_cfg.max_epochs': 3})
        self.options = as_arguments({**options, 'optim_wrapper.optimizer.lr': 0.02})
        imports = "custom_imports = dict(imports=['memba_vision', 'run_hooks'])"
        text = text.format(folder=folder, data_root=str(data_root))
        self.config.write_text(f'_base_ = {str(DEMO)!r}\n{imports}\n{text}\n')

    def run(self, tool: str, *arguments: object, work_dir: Path | None = None) -> str:
        place = ['--work-dir', work_dir or self.work_dir]
        outcome = run_tool(tool, self.config, *arguments, *place, *self.options)
        assert outcome.status == 0, outcome
        return outcome.out + outcome.err

    def result(self) -> dict:
        return json.loads((self.work_dir / 'result.json').read_text())

    def accuracy_of(self, checkpoint: str) -> float:
        """The accuracy of a file, by the predictions of its weights and without any hook."""
        paths, labels = zip(*read_list_file(self.list_file, 10), strict=True)
        predictions = list(Predictor(checkpoint)(paths))
        right = sum(p.label == label for p, label in zip(predictions, labels, strict=True))
        return 100 * right / len(labels)


@pytest.fixture
def make_world(base, data_root, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(TESTS))
    return lambda text: World(tmp_path, base, data_root, text)


@pytest.mark.parametrize(
    ('text', 'name'),
    [
        ("custom_hooks = [dict(type='EMAHook', momentum=1e-6)]", 'epoch_3.pth'),
        ("custom_hooks = [dict(type='SpoilHook')]", 'epoch_3.pth'),
        ('default_hooks = dict(checkpoint=dict(interval=2, save_last=False))', 'epoch_2.pth'),
        (
            "custom_hooks = [dict(type='StopHook')]\n"
            'default_hooks = dict(checkpoint=dict(interval=9))',
            'epoch_2.pth',
        ),
        (
            f'{VALIDATION}default_hooks = dict(checkpoint=dict(interval=-1, save_last=False, '
            "save_best='accuracy/top1', rule='less'))",
            'best_accuracy_top1_epoch_*.pth',
        ),
    ],
    ids=['ema', 'other weights in memory', 'last epoch not saved', 'stopped early', 'best alone'],
)
def test_a_result_is_that_of_its_file(make_world, tmp_path, text, name):
    world = make_world(text)
    world.run('train')
    result = world.result()
    path = Path(result['checkpoint'])
    assert path.match(name)
    assert result['top1'] == pytest.approx(world.accuracy_of(str(path)), abs=1e-4)
    exported = write_adapter(str(path), tmp_path / 'adapter.safetensors')
    assert exported.accuracy == result['top1']
    world.run('test')
    assert world.result() == result


def test_an_adapter_file_is_measured_as_its_checkpoint_was(make_world, tmp_path):
    world = make_world('')
    world.run('train')
    adapter, elsewhere = tmp_path / 'adapter.safetensors', world.work_dir.with_name('two')
    write_adapter(world.result()['checkpoint'], adapter)
    world.run('test', adapter, work_dir=elsewhere)
    found = json.loads((elsewhere / 'result.json').read_text())
    assert (found['top1'], found['checkpoint']) == (world.result()['top1'], str(adapter))
    assert (world.result()['seed'], found['seed']) == (0, None), 'the file does not say it'
    resumed = run_tool('train', world.config, '--resume', adapter, *world.options)
    assert "holds no 'epoch', so training cannot go on from it" in resumed.error()


def test_a_resumed_run_that_had_finished_tests_its_file(make_world):
    world = make_world("custom_hooks = [dict(type='EMAHook', momentum=1e-6)]")
    world.run('train')
    result = world.result()
    console = world.run('train', '--resume')
    assert ' loss ' not in console
    assert world.result() == result
    elsewhere = world.work_dir.with_name('two')
    world.run('train', '--resume', result['checkpoint'], work_dir=elsewhere)
    found = json.loads((elsewhere / 'result.json').read_text())
    assert found == result, 'the file that it went on from, for it has saved none'


def test_without_any_checkpoint_the_weights_in_memory_are_tested(make_world):
    world = make_world(
        "custom_hooks = [dict(type='EMAHook', momentum=1e-6)]\n"
        'default_hooks = dict(checkpoint=dict(interval=-1, save_last=False))'
    )
    assert 'No checkpoint to read back' in world.run('train')
    found = world.result()
    assert (found['checkpoint'], found['checkpoint_sha256']) == ('', None)
    saving = make_world("custom_hooks = [dict(type='EMAHook', momentum=1e-6)]")
    saving.run('train')
    assert found['top1'] == saving.result()['top1'], 'the averaged weights, as a file has them'


def test_a_figure_is_not_taken_for_another_file_of_the_same_name(make_world, tmp_path):
    world = make_world('')
    world.run('train')
    path, other = Path(world.result()['checkpoint']), world.work_dir.with_name('two')
    world.run('train', '--seed', '1', work_dir=other)
    world.run('test', other / path.name)
    assert write_adapter(str(path), tmp_path / 'a.safetensors').accuracy == world.result()['top1']
    (world.work_dir / f'result_{path.stem}.json').rename(world.work_dir / 'result.json')
    assert write_adapter(str(path), tmp_path / 'a.safetensors').accuracy is None
    moved = world.work_dir.rename(tmp_path / 'moved')
    (moved / path.name).write_bytes((other / path.name).read_bytes())
    found = write_adapter(str(moved / path.name), tmp_path / 'a.safetensors')
    assert found.accuracy == json.loads((moved / 'result.json').read_text())['top1']


@pytest.mark.parametrize(
    ('hook', 'first', 'last'),
    [
        ("interval=1, out_dir='{folder}/files'", 'files/one/epoch_1.pth', 'files/one/epoch_3.pth'),
        pytest.param(
            "interval=1, filename_tmpl='model-{{:03d}}.pth'",
            'runs/one/model-001.pth',
            'runs/one/model-003.pth',
            marks=pytest.mark.slow,
        ),
        ('by_epoch=False, interval=4', 'runs/one/iter_4.pth', 'runs/one/iter_12.pth'),
    ],
    ids=['out_dir', 'filename_tmpl', 'by steps'],
)
def test_checkpoints_are_found_where_the_hook_puts_them(make_world, tmp_path, hook, first, last):
    settings = f'max_keep_ckpts=9, {hook}'
    world = make_world(f'default_hooks = dict(checkpoint=dict({settings}))')
    world.run('train')
    result = world.result()
    first, last = tmp_path / first, tmp_path / last
    assert result['checkpoint'] == str(last)
    assert newest_readable(world.work_dir) == last
    assert result['top1'] == pytest.approx(world.accuracy_of(str(last)), abs=1e-4)
    assert write_adapter(str(last), tmp_path / 'a.safetensors').accuracy == result['top1']
    world.run('test')
    assert world.result() == result
    for path in set(first.parent.glob('*.pth')) - {first}:
        path.unlink()
    assert f'Loaded {first}' in world.run('train', '--resume')
    assert (world.result()['checkpoint'], world.result()['top1']) == (str(last), result['top1'])
    world.run('train')
    (earlier,) = first.parent.glob('earlier_*')
    assert (earlier / last.name).is_file()


def test_a_resumption_that_finds_nothing_says_so(make_world):
    world = make_world('')
    console = world.run('train', '--resume')
    assert f'--resume: no checkpoint to go on from in {world.work_dir}' in console
    assert 'no checkpoint to go on from' not in world.run('train', '--resume')


def test_two_runs_do_not_share_a_folder_of_checkpoints(make_world, tmp_path):
    world = make_world("default_hooks = dict(checkpoint=dict(out_dir='{folder}/files'))")
    world.run('train')
    before = sorted(os.listdir(tmp_path / 'files/one'))
    namesake = ['--work-dir', tmp_path / 'other' / 'one', *world.options]
    for arguments in ([], ['--resume'], ['--resume', tmp_path / 'files/one/epoch_3.pth']):
        error = run_tool('train', world.config, *arguments, *namesake).error()
        assert f'holds the checkpoints of the run in {world.work_dir}' in error
    assert sorted(os.listdir(tmp_path / 'files/one')) == before
