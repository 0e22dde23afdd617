"""The table of all methods, and what adapters do before any training."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import DEMO, run_tool
from made_runs import make_result
from PIL import Image

import memba_vision
from memba_vision.errors import UserError
from memba_vision.models import Vim
from memba_vision.reports import method_table
from memba_vision.reports.step0 import Step0
from memba_vision.runs.backbone import Backbone
from memba_vision.runs.config import load_config
from memba_vision.runs.result import Result
from memba_vision.zoo.methods import all_methods

VIM_MINI = Path(memba_vision.__file__).parent / 'pretrained' / 'vim-mini.safetensors'
LORA = dict(type='LoRA', rank=3)


@pytest.fixture(scope='module')
def table(tmp_path_factory):
    """The table for Vim-S, by the method's name, with a few results at hand."""
    folder = tmp_path_factory.mktemp('table')
    for task, seed, top1 in [('dtd', 0, 70.0), ('dtd', 1, 72.0), ('kitti', 0, 81.0)]:
        result = Result(task, 'd_tuning', top1, 10, 1, 1, seed, 'config.py', 'epoch.pth')
        result = replace(result, backbone=Backbone('vim', 'vim_small'))
        result.save(folder / 'runs' / f'{task}{seed}' / 'result.json')
    other = Result('dtd', 'd_tuning', 10.0, 10, 1, 1, 2, 'config.py', 'epoch.pth')
    for number, arch in enumerate(('vim_tiny', None)):
        other = replace(other, backbone=Backbone('vim', arch))
        other.save(folder / 'runs' / f'other{number}' / 'result.json')
    Result('digits', 'd_tuning', 99.0, 10, 1, 1, 0, 'a.py', 'b.pth').save(folder / 'result.json')
    outcome = run_tool('methods', '--runs', folder, '--out', folder / 'table.csv')
    assert outcome.status == 0, outcome
    rows = list(csv.DictReader((folder / 'table.csv').open()))
    assert sum(line.startswith('| ') for line in outcome.out.splitlines()) == len(rows) + 2
    assert '* SSMLoRA: on out_proj of every second block.\n' in outcome.out
    return {row['method']: row for row in rows}


def test_every_method_has_a_row(table):
    assert list(table) == [method.name for method in all_methods()]


def test_a_row_holds_what_is_known(table):
    assert table['D-tuning'] == {
        'method': 'D-tuning',
        'preset': 'd_tuning',
        'adapters': 'PartialTuning',
        'trained parameters': '36,864',
        'share (%)': '0.15',
        'published for Vim-S (K)': '45',
        'published top-1 (%)': '58.16',
        'published for ViT-B/16 (ImageNet-21k) (%)': '',
        'measured top-1 (%)': '76.00 (2 of 19 tasks)',
    }
    assert table['Memba (in+out proj)']['adapters'] == 'LoRA, LIM'


def test_figures_for_a_transformer_have_a_column_of_their_own(table):
    row = table['SSF']
    assert row['published for ViT-B/16 (ImageNet-21k) (%)'] == '73.10'
    assert row['published for Vim-S (K)'] == row['published top-1 (%)'] == ''


def test_a_method_that_does_not_fit_a_backbone_leaves_the_others_a_row(monkeypatch):
    measure = method_table.measure_size

    def refuse_prompts(backbone, adapters):
        if adapters[0]['type'] == 'PromptTuning':
            raise UserError('the backbone takes no prompts')
        return measure(backbone, adapters)

    chosen = [m for m in all_methods() if m.preset in ('prompt_tuning', 'lora')]
    monkeypatch.setattr(method_table, 'all_methods', lambda: chosen)
    monkeypatch.setattr(method_table, 'measure_size', refuse_prompts)
    rows = method_table.method_table(load_config(str(DEMO), {}, None))
    cells = {row[1]: row[2:5] for row in rows[1:]}
    assert cells['prompt_tuning'] == ('does not fit this backbone', '', '')
    assert cells['lora'][1] == '73,728'


def test_the_demo_is_another_backbone_with_its_own_settings(tmp_path, monkeypatch):
    chosen = [m for m in all_methods() if m.preset in ('memba', 'lora')]
    monkeypatch.setattr(method_table, 'all_methods', lambda: chosen)
    outcome = run_tool('methods', '--config', DEMO, '--out', tmp_path / 'table.md')
    assert outcome.out == (tmp_path / 'table.md').read_text()
    assert outcome.out.count('73,728') == 2, outcome.out
    assert 'published' not in outcome.out, 'what is published is of another architecture'


def test_runs_over_two_base_weights_are_not_averaged(tmp_path):
    config = load_config(str(DEMO), {}, None)
    for seed, base in enumerate('aab'):
        backbone = Backbone('vim', 'vim_mini', base * 64)
        result = Result('digits', 'lora', 70.0 + seed, 10, 1, 1, seed, 'a.py', 'b.pth')
        replace(result, backbone=backbone).save(tmp_path / str(seed) / 'result.json')
    runs, _ = method_table.measured_runs(config, tmp_path)
    assert method_table.measured_accuracies(config, runs) == {
        'lora': '70.50 (1 of 3 tasks, vim_mini (aaaaaaaa)); '
        '72.00 (1 of 3 tasks, vim_mini (bbbbbbbb))'
    }


def test_of_two_runs_of_one_seed_one_counts_and_one_that_goes_on_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(method_table, 'all_methods', lambda: [])
    runs = [('smoke', 20.0, 1, '2026-01-01'), ('whole', 97.0, 20, '2026-01-02')]
    for name, top1, epochs, time in [*runs, ('going_on', 50.0, 20, None)]:
        result = make_result('lora', top1=top1, backbone=Backbone('vim', 'vim_mini', 'a' * 64))
        result.save(tmp_path / name / 'result.json')
        start = {'config': {'train_cfg': {'max_epochs': epochs}}, 'time': time, 'finished': time}
        (tmp_path / name / 'run.json').write_text(json.dumps([start]))
    config = load_config(str(DEMO), {}, None)
    assert method_table.measured_accuracies(config, method_table.measured_runs(config, tmp_path)[0])
    outcome = run_tool('methods', '--config', DEMO, '--runs', tmp_path)
    said = '* smoke is left out: whole has the same method, task and seed, with other settings '
    assert said + '(train_cfg.max_epochs was 1, is 20).\n' in outcome.out
    for name in ('smoke', 'whole'):
        shutil.rmtree(tmp_path / name)
    outcome = run_tool('methods', '--config', DEMO, '--runs', tmp_path)
    assert outcome.status == 0, outcome


@pytest.mark.parametrize('images', [True, False])
def test_step_0_of_real_weights(tmp_path, monkeypatch, images):
    chosen = [m for m in all_methods() if m.preset in ('scratch', 'memba', 'memba_gate')]
    monkeypatch.setattr(method_table, 'all_methods', lambda: chosen)
    Image.new('RGB', (60, 40), 'red').save(tmp_path / 'red.png')
    arguments = ['--config', DEMO, '--step0', VIM_MINI, '--out', tmp_path / 'table.csv']
    outcome = run_tool('methods', *arguments, *(['--images', tmp_path] if images else []))
    assert outcome.status == 0, outcome
    scratch, memba, gate = csv.DictReader((tmp_path / 'table.csv').open())
    assert scratch['cosine at step 0'] == scratch['reset per block (%)'] == ''
    assert memba['cosine at step 0'] == '1.0000'
    assert float(gate['cosine at step 0']) < 0.9
    for row in (memba, gate):
        shares = [float(share) for share in row['reset per block (%)'].split()]
        assert len(shares) == 6
        assert all(0 <= share < 60 for share in shares)
        assert max(shares) > 0


def test_the_share_of_resets_is_that_of_potentials_above_the_threshold():
    torch.manual_seed(0)
    vim = Vim(dict(embed_dims=16, num_layers=2), img_size=32, patch_size=8)
    step0 = Step0(vim, torch.randn(2, 3, 32, 32))
    before = vim.state_dict()

    def shares(threshold):
        lim = dict(type='LIM', site='gate', num_chunks=1, threshold=threshold)
        return [float(share) for share in step0.describe([LORA, lim])[1].split()]

    assert shares(None) == [0.0, 0.0]
    assert shares(-100.0) == [100.0, 100.0]
    # One chunk: a potential of the first block is its input, z.
    z = vim.layers[0].mixer.in_proj(vim.layers[0].norm(vim._embed(step0.images)))[..., 32:]
    expected = 100 * (z > 0.1).float().mean().item()
    assert shares(0.1)[0] == pytest.approx(expected, abs=0.051)
    assert step0.describe([LORA])[1] == ''
    assert list(vim.state_dict()) == list(before)


ERRORS = {
    'images_alone': (['--images', '.'], '--images goes with --step0'),
    'no_runs': (['--runs', '/nothing'], 'no folder of runs at /nothing'),
    'runs_of_backbones': (['--backbones', 'vim-tiny', '--runs', '.'], 'leave --config and --runs'),
    'config_and_backbones': (['--backbones', 'vim-tiny', '--config', DEMO], 'leave --config and'),
    'ending': (['--out', 'table.txt'], r'must end in .md or .csv'),
    'no_config': (['--config', 'nothing.py'], 'no config at nothing.py'),
    'no_checkpoint': (['--step0', 'nothing.pth'], 'no checkpoint at nothing.pth'),
    'no_images': (
        ['--config', DEMO, '--step0', VIM_MINI, '--images', '/nothing'],
        'there is no image',
    ),
}


@pytest.mark.parametrize(('arguments', 'message'), ERRORS.values(), ids=ERRORS)
def test_bad_arguments(arguments, message):
    assert message in run_tool('methods', *arguments).error()
