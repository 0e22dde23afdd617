"""Forked runs on a GPU: of a server that has imported everything, and has not begun CUDA."""

import json

import pytest
import torch
from helpers import DEMO, as_arguments, run_tool, tiny_options
from script_jobs import FINISH, ScriptExecutor, arguments, script_job, status, sweep_with
from test_fork_server import A, B, fork, serving

from memba_vision.sweeps.devices import Slot
from memba_vision.sweeps.forks import TRAINING

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU'),
]
#: Works on the GPU, and says on which.
WORK = f"""
import json, os, torch
x = torch.arange(4.0, device='cuda', requires_grad=True)
x.square().sum().backward()
facts = [x.grad.tolist(), torch.cuda.device_count(), os.environ['CUDA_VISIBLE_DEVICES']]
json.dump(facts, open('facts.json', 'w'))
{FINISH}
"""


#: Said where a library of this machine starts threads as soon as it sees a GPU.
THREADS = 'imports everything anew, which takes longer: an import has started threads'


def test_what_a_training_imports_does_not_begin_cuda(tmp_path, capfd):
    with serving(TRAINING, **Slot(('0',), 1).environment()) as server:
        if server.process is None:
            said = capfd.readouterr().err
            assert THREADS in said
            pytest.skip(said)
        runs = [fork(server, tmp_path, name, WORK) for name in (A, B)]
        assert [process.wait() for process, _ in runs] == [0, 0]
    for _, folder in runs:
        assert json.loads((folder / 'facts.json').read_text()) == [[0, 2, 4, 6], 1, '0']


def test_where_cuda_has_begun_runs_start_anew(tmp_path, capfd):
    executor = ScriptExecutor(arguments(jobs=None, jobs_per_gpu=2, gpus_per_run=1), tmp_path)
    executor.imports = 'import torch; torch.zeros(1, device="cuda")'
    rows, _ = sweep_with(executor, [script_job(tmp_path, name, WORK) for name in (A, B)])
    assert executor.server.process is None
    assert [row.status.state for row in rows.values()] == ['finished'] * 2
    assert capfd.readouterr().err.endswith(': CUDA has begun\n')


@pytest.mark.parametrize('how', [[], ['--fresh-processes']], ids=['forked', 'fresh'])
def test_a_sweep(base, data_root, tmp_path, how):
    options = tiny_options(base, data_root, **{'train_cfg.max_epochs': 2})
    del options['model.backbone.rank']
    methods = ['--methods', 'memba', 'lora', '--jobs-per-gpu', 2]
    command = [DEMO, *methods, '--work-dir', tmp_path, *how, *as_arguments(options)]
    outcome = run_tool('sweep', *command)
    assert outcome.status == 0, outcome
    assert 'imports everything anew' not in outcome.err or THREADS in outcome.err
    for method in ('memba', 'lora'):
        folder = tmp_path / f'digits_{method}_seed0'
        assert status(folder)['state'] == 'finished'
        assert 'Kernels on cuda' in (folder / 'log.txt').read_text()
