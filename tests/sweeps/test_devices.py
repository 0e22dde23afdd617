"""Sharing out GPUs and cores, and what a sweep will take."""

import pytest
import torch
from helpers import DEMO, tiny_options
from script_jobs import arguments

from memba_vision.errors import UserError
from memba_vision.sweeps import devices
from memba_vision.sweeps.calibration import Speed, cost, measure, measure_all, model_key
from memba_vision.sweeps.devices import Slot, cpu_slots, gpu_slots
from memba_vision.sweeps.executors.local import local_slots
from memba_vision.sweeps.jobs import Options, make_jobs
from memba_vision.sweeps.plan import make_plan, makespan, size
from memba_vision.sweeps.supervise import write_status


@pytest.fixture(autouse=True)
def _no_limit(monkeypatch):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)


def test_gpus_are_taken_in_turns_and_cores_shared_out():
    assert gpu_slots(['0', '3'], jobs_per_gpu=2, gpus_per_run=1, cores=10) == [
        Slot(('0',), 2),
        Slot(('3',), 2),
        Slot(('0',), 2),
        Slot(('3',), 2),
    ]


def test_several_gpus_for_a_run():
    slots = gpu_slots(list('01234'), jobs_per_gpu=1, gpus_per_run=2, cores=16)
    assert slots == [Slot(('0', '1'), 8), Slot(('2', '3'), 8)]
    assert slots[1].environment() == {'CUDA_VISIBLE_DEVICES': '2,3', 'OMP_NUM_THREADS': '8'}


@pytest.mark.parametrize(
    ('jobs', 'cores', 'slots', 'threads'),
    [(None, 8, 4, 2), (None, 1, 1, 1), (2, 2, 2, 1), (3, 8, 3, 2), (4, 2, 4, 1), (1, 6, 1, 6)],
)
def test_cores_are_shared_out(jobs, cores, slots, threads):
    assert cpu_slots(jobs, cores) == [Slot((), threads)] * slots


def test_omp_num_threads_is_an_upper_bound(monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '3')
    assert [devices.threads_of(16, jobs) for jobs in (1, 4, 8)] == [3, 3, 2]


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        ({'gpus': '0,1'}, 'torch sees none'),
        ({'gpus_per_run': 2}, 'torch sees none'),
    ],
)
def test_options_that_do_not_fit_a_machine_without_a_gpu(monkeypatch, given, expected):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(UserError, match=expected):
        local_slots(arguments(**{'gpus_per_run': None, **given}))


@pytest.mark.parametrize(
    ('gpus', 'expected'),
    [(None, ['4', '6']), ('6', ['6'])],
)
def test_gpus_by_the_names_that_they_have_here(monkeypatch, gpus, expected):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,6')
    slots = local_slots(arguments(gpus=gpus, jobs=None, gpus_per_run=None))
    assert [slot.gpus[0] for slot in slots] == expected
    assert local_slots(arguments(gpus=gpus, jobs=1, gpus_per_run=0))[0].gpus == ()
    with pytest.raises(UserError, match='--jobs is for the CPU'):
        local_slots(arguments(gpus=gpus, jobs=2, gpus_per_run=None))
    with pytest.raises(UserError, match='--gpus-per-run 3, but there are'):
        local_slots(arguments(gpus=gpus, jobs=None, gpus_per_run=3))


@pytest.mark.parametrize(
    ('here', 'gpus', 'expected'),
    [
        ('2,3', '0', r'no GPU 0 here; torch may use 2, 3 \(CUDA_VISIBLE_DEVICES\)'),
        ('2,3', '3,2,3', 'names a GPU twice'),
        ('', '0,7,8', 'no GPU 7, 8 here; torch may use 0, 1$'),
        ('', ',', 'names a GPU twice'),
    ],
)
def test_gpus_that_are_not_here(monkeypatch, here, gpus, expected):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', here)
    with pytest.raises(UserError, match=expected):
        local_slots(arguments(gpus=gpus, jobs=None, gpus_per_run=None))


# The plan


@pytest.mark.parametrize(
    ('workers', 'expected'), [(1, 12.0), (2, 7.0), (3, 7.0), (4, 5.0), (9, 5.0)]
)
def test_makespan(workers, expected):
    assert makespan([2.0, 2.0, 3.0, 5.0], workers) == expected


def test_sizes():
    assert [size(count) for count in (5, 4_700, 56_600_000, 3e9, 2e12)] == [
        '5 B',
        '5 kB',
        '57 MB',
        '3 GB',
        '2.0 TB',
    ]


@pytest.fixture
def make(base, data_root, tmp_path):
    """Make jobs of methods with a tiny backbone."""
    options = tiny_options(base, data_root)
    del options['model.backbone.rank']
    pairs = tuple(f'{key}={value}' for key, value in options.items())
    return lambda *methods: make_jobs([str(DEMO)], methods, [0, 1], tmp_path, Options(pairs))


@pytest.fixture
def jobs(make):
    return make('memba', 'lora')


def test_what_a_run_costs(jobs):
    # 32 images in batches of 8, 2 epochs; 20 test images in one batch of 128; 3 checkpoints.
    found = cost(jobs[0], Speed(step=1.0, test_batch=0.25, checkpoint=1000), start=10.0)
    assert found.seconds == 10 + 8 * 1.0 + 0.25
    assert found.disk == 3 * 1000 + 500_000


def test_the_speed_of_a_model_is_measured_on_its_batches(jobs):
    found = measure(jobs[0].resolved, torch.device('cpu'))
    assert found.step > 0
    assert found.test_batch > 0
    # Rank 16: in_proj 16 -> 64, out_proj 32 -> 16, in 2 layers; and the head.
    assert found.checkpoint == 12 * (2 * 16 * (16 + 64 + 32 + 16) + 170)


@pytest.mark.parametrize('method', ['eva', 'gps', 'sdt', 'spt_lora'])
def test_the_speed_of_a_method_that_chooses_by_data(make, method):
    assert measure(make(method)[0].resolved, torch.device('cpu')).step > 0


def test_a_method_that_does_not_fit_is_named(make):
    with pytest.raises(UserError, match=r'digits_lora_qv_seed0 cannot train: .*attn\.q'):
        measure_all(make('lora_qv'), torch.device('cpu'))


def test_models_are_told_apart_and_seeds_are_not(jobs):
    keys = [model_key(job) for job in jobs]
    assert keys[0] == keys[2] != keys[1] == keys[3]


@pytest.mark.slow
def test_a_plan(jobs):
    (jobs[0].folder).mkdir()
    write_status(str(jobs[0].folder), {'state': 'finished'})
    (jobs[0].folder / 'result.json').write_text('{"top1": 50.0}')
    text = make_plan(jobs, [Slot((), 1)] * 2, workers=[], start=1.0)
    assert text.startswith('3 runs to do, 1 finished; measured on ')
    assert [line.split('|')[1].strip() for line in text.splitlines() if line.startswith('|')] == [
        *('method', '------', 'lora', 'memba'),
        *('runs at a time', '----------------', '1', '2 (this machine)'),
    ]
    assert 'On the disk: about 2 MB' in text
