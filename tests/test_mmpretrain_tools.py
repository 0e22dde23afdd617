"""mmpretrain's own tools on our configs and checkpoints."""

import re
import runpy
import sys
from pathlib import Path

import mmpretrain
import pytest
from helpers import DEMO, as_arguments, forget_runs, run_tool, tiny_options
from PIL import Image
from sklearn.manifold import TSNE

TOOLS = Path(mmpretrain.__file__).parent / '.mim' / 'tools'


@pytest.fixture(scope='module')
def run(tmp_path_factory, base, data_root):
    """A finished run of two epochs: its folder."""
    folder = tmp_path_factory.mktemp('run')
    options = as_arguments(tiny_options(base, data_root))
    done = run_tool('train', DEMO, '--work-dir', folder, *options)
    assert done.status == 0, done.err
    return folder


@pytest.fixture
def call(tmp_path, monkeypatch, run, capsys):
    """Call a tool of mmpretrain; CONFIG and CHECKPOINT stand for those of the run."""
    monkeypatch.chdir(tmp_path)
    stand_for = {'CONFIG': run / 'digits_memba.py', 'CHECKPOINT': run / 'epoch_2.pth'}

    def tool(name: str, *arguments: object) -> str:
        forget_runs()
        path = TOOLS / f'{name}.py'
        words = [str(stand_for.get(word, word)) for word in arguments]
        monkeypatch.setattr(sys, 'argv', [str(path), *words])
        monkeypatch.syspath_prepend(path.parent)
        runpy.run_path(str(path), run_name='__main__')
        return capsys.readouterr().out

    return tool


def test_a_test_and_what_analyses_it(call):
    call('test', 'CONFIG', 'CHECKPOINT', '--out', 'results.pkl', '--work-dir', 'tested')
    metrics = call('analysis_tools/eval_metric', 'results.pkl', '--metric', 'type=Accuracy')
    assert 'accuracy/top1' in metrics
    call('analysis_tools/analyze_results', 'CONFIG', 'results.pkl', '--out-dir', 'best_and_worst')
    assert list(Path('best_and_worst').rglob('*.png'))
    call('analysis_tools/confusion_matrix', 'CONFIG', 'results.pkl', '--show-path', 'matrix.png')
    Image.open('matrix.png').verify()


def test_a_test_that_shows_its_images(call):
    call('test', 'CONFIG', 'CHECKPOINT', '--show-dir', 'shown', '--work-dir', 'tested')
    assert len(list(Path('shown').iterdir())) == 20


def test_the_curve_of_the_learning_rate(call):
    call('visualization/vis_scheduler', 'CONFIG', '-p', 'lr', '-s', 'lr.jpg', '--not-show')
    Image.open('lr.jpg').verify()


def test_features_in_two_dimensions(call, monkeypatch):
    # The tool calls an argument as scikit-learn did before version 1.7.
    monkeypatch.setattr(
        'sklearn.manifold.TSNE', lambda n_iter, **options: TSNE(max_iter=n_iter, **options)
    )
    few = ('--max-num-class', 2, '--max-num-samples', 4, '--perplexity', 2)
    call(
        'visualization/vis_tsne',
        'CONFIG',
        *('--checkpoint', 'CHECKPOINT', '--work-dir', 'tsne', '--vis-stage', 'backbone', *few),
    )
    assert list(Path('tsne').rglob('*.png'))


def test_loss_curves(call, run):
    log = next(run.glob('*/vis_data/scalars.json'))
    call('analysis_tools/analyze_logs', 'plot_curve', log, '--keys', 'loss', '--out', 'loss.png')
    Image.open('loss.png').verify()


def test_a_published_checkpoint_is_loaded(call):
    call('model_converters/publish_model', 'CHECKPOINT', 'published.pth')
    (published,) = Path().glob('published*.pth')
    call('test', 'CONFIG', published, '--out', 'results.pkl', '--work-dir', 'tested')
    assert Path('results.pkl').is_file()


OPTIONS = {
    '--amp': 'Without a GPU, mixed precision is bfloat16 autocast',
    '--auto-scale-lr': 'Scaling the original LR by 0.25',  # 8 images for 32
}


@pytest.mark.parametrize('option', OPTIONS)
def test_a_training(call, option, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    call('train', 'CONFIG', '--work-dir', 'trained', option)
    assert Path('trained', 'epoch_2.pth').is_file()
    log = ''.join(path.read_text() for path in Path('trained').rglob('*.log'))
    assert OPTIONS[option] in log


def test_cross_validation(call):
    # Each by itself: mmengine takes two runs that begin within one second for one.
    for fold in (0, 1):
        options = ('--work-dir', 'folds', '--cfg-options', 'val_dataloader=None')
        call('kfold-cross-valid', 'CONFIG', '--num-splits', 2, '--fold', fold, *options)
        assert Path('folds', f'fold{fold}', 'epoch_2.pth').is_file()


def test_multiplications_are_counted(call):
    found = call('analysis_tools/get_flops', 'CONFIG', '--shape', 48)
    assert re.search(r'Flops: [\d.]+[KMG]', found), found
