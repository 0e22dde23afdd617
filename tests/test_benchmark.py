"""tools/benchmark.py: what its figures mean, and that it runs wherever the package does."""

import json
import re
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarking import passes, peers, timing
from benchmarking import published_loop as published_loop_module
from benchmarking.classifier import CLASSES, Classifier, random_images
from benchmarking.contest import Contest, hold
from benchmarking.memory import available_memory, peak_memory, peak_memory_of_its_own
from benchmarking.methods import LORA, MEMBA, MEMBA_GATE, freeze_and_adapt
from benchmarking.mixer_passes import MixerInModel, random_hidden
from benchmarking.parts import PARTS
from benchmarking.parts.growth import load_groups
from benchmarking.parts.peers import GRAPHS, MODELS, VIT, Entry, _summary, entry_pass, fold_peer
from benchmarking.parts.scan import make_inputs
from benchmarking.parts.vmamba import loop_step, swin_step, vmamba_step
from benchmarking.published_loop import published_cross_scan, published_loop
from benchmarking.setting import QUICK, Sizes, Workload
from benchmarking.table import as_factor, as_percent, three_digits
from benchmarking.timing import Spread, Timing, measure, ratio, seconds_of
from benchmarking.traffic import copy_of
from helpers import run_tool

from memba_vision.models.modules.mixer import BidirectionalMixer
from memba_vision.ops import ScanInputs, cross_scan, selective_scan

REFERENCE = re.compile('(against|times) (LoRA alone|backend .*|VMamba-T|Swin-T .*|ViT-S .*)')
CPU = torch.device('cpu')
WORKLOAD = Workload(CPU, 2, torch.float32)


class FakeMachine:
    """A clock, and calls that take known times on a machine that slows down by and by."""

    def __init__(self, slowing: float = 0.0) -> None:
        self.now = 0.0
        self.slowing = slowing
        self.called = []

    def clock(self) -> float:
        return self.now

    def call(self, name: str, seconds: float):
        def run() -> None:
            self.called.append(name)
            self.now += seconds * (1 + self.slowing * self.now)

        return run

    def measure(self, costs: dict[str, float], seconds: float) -> dict[str, Timing]:
        calls = {name: self.call(name, cost) for name, cost in costs.items()}
        rounds = measure(calls, seconds, clock=self.clock)
        return {name: Timing(0.0, rounds[name]) for name in calls}


# Timing


def test_ratio_of_known_times():
    timings = FakeMachine().measure({'a': 0.5, 'b': 0.25}, seconds=30)
    spread = ratio(timings['a'], timings['b'])
    assert spread == Spread(pytest.approx(2), pytest.approx(2), pytest.approx(2), 33)
    assert timings['a'].median() == pytest.approx(0.5)


def test_ratio_is_that_of_a_machine_that_slows_down():
    timings = FakeMachine(slowing=0.02).measure({'a': 2.0, 'b': 1.0}, seconds=30)
    assert max(timings['b'].rounds.values()) > 1.5 * min(timings['b'].rounds.values())
    spread = ratio(timings['a'], timings['b'])
    assert 1.9 < spread.low <= spread.high < 2.1


def test_ratio_takes_the_rounds_that_measured_both():
    spread = ratio(Timing(0, {0: 6.0, 4: 9.0, 5: 1.0}), Timing(0, {0: 2.0, 1: 50.0, 4: 3.0}))
    assert spread == Spread(3, 3, 3, 2)


def test_slow_contestants_skip_rounds_and_meet_the_others_in_those_they_take():
    timings = FakeMachine().measure({'fast': 0.05, 'slow': 3, 'slower': 5}, seconds=40)
    rounds = {name: set(timing.rounds) for name, timing in timings.items()}
    assert len(rounds['fast']) == 33
    assert rounds['fast'] > rounds['slow'] >= rounds['slower']
    assert len(rounds['slower']) >= 3


def test_equally_slow_ones_share_all_rounds():
    timings = FakeMachine().measure({'a': 1.0, 'b': 1.02, 'c': 0.98}, seconds=30)
    assert len({tuple(timing.rounds) for timing in timings.values()}) == 1
    assert len(timings['a'].rounds) >= 8


@pytest.mark.parametrize(
    'costs', [(0.001, 0.02, 1, 9), (0.5, 0.6), (0.003,), (2, 2.1, 2.2)], ids=str
)
def test_time_that_was_given_is_kept(costs):
    machine = FakeMachine()
    seconds = 30
    machine.measure({str(cost): cost for cost in costs}, seconds)
    assert machine.now <= 1.5 * seconds + timing.MIN_ROUNDS * sum(costs)


@pytest.mark.parametrize('seconds', [0.1, 0, -3])
def test_three_rounds_of_each_even_where_there_is_no_time(seconds):
    timings = FakeMachine().measure({'a': 5.0, 'b': 7.0}, seconds)
    assert [list(timing.rounds) for timing in timings.values()] == [[0, 1, 2]] * 2


def test_three_rounds_of_the_slowest():
    timings = FakeMachine().measure({'fast': 0.01, 'slow': 1000.0}, seconds=1)
    assert list(timings['slow'].rounds) == [0, 16, 32]


def test_order_changes_from_round_to_round():
    machine = FakeMachine()
    machine.measure({name: 1.0 for name in 'abc'}, seconds=96)
    orders = {tuple(machine.called[at : at + 3]) for at in range(0, len(machine.called), 3)}
    assert all(sorted(order) == ['a', 'b', 'c'] for order in orders)
    assert {order[0] for order in orders} == {'a', 'b', 'c'}


def test_short_calls_are_repeated_within_a_measurement():
    machine = FakeMachine()
    timings = machine.measure({'short': 0.001, 'long': 1.0}, seconds=10)
    repeats = (machine.called.count('short') - 1) / (len(timings['short'].rounds) - 1)
    assert repeats == pytest.approx(timing.SHORTEST / 0.001, abs=1)
    assert timings['short'].median() == pytest.approx(0.001)


def test_first_call_is_kept_apart():
    machine = FakeMachine()
    durations = iter([30.0, 1.0, 2.0, 1.0])

    def compile_then_run() -> None:
        machine.now += next(durations)

    assert seconds_of(compile_then_run, clock=machine.clock) == 30
    assert measure({'a': compile_then_run}, 3, clock=machine.clock) == {
        'a': {0: 1.0, 1: 2.0, 2: 1.0}
    }


def test_spread():
    assert Spread.of([5.0]) == Spread(5, 5, 5, 1)
    assert Spread.of([1, 2, 3, 4, 100]) == Spread(3, 2, 4, 5)


# How figures are written


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (0, '0'),
        (0.01234, '0.0123'),
        (0.9996, '1.000'),
        (1.234, '1.23'),
        (12.34, '12.3'),
        (123.4, '123'),
        (39512.3, '39,512'),
    ],
)
def test_three_digits(value, text):
    assert three_digits(value) == text


def test_ratios_are_written_with_their_quartiles():
    assert as_factor(Spread(5.612, 5.4, 5.9, 7)) == '5.61 (5.40 to 5.90)'
    assert as_factor(Spread(201.4, 201.4, 201.4, 1)) == '201'
    assert as_percent(Spread(1.021, 0.985, 1.029, 7)) == '+2.1 % (-1.5 to +2.9)'
    assert as_percent(Spread(0.9, 0.9, 0.9, 1)) == '-10.0 %'


# What is timed


def test_published_loop_is_the_selective_scan():
    inputs = make_inputs(Sizes(width=3, state=4, image=64), WORKLOAD)
    results = []
    for function in (published_loop, selective_scan):
        options = {} if function is published_loop else dict(backend='naive', delta_softplus=True)
        tensors = {n: t.detach().double().requires_grad_() for n, t in inputs.items()}
        out = function(**tensors, **options)
        results.append([out, *torch.autograd.grad(out.square().sum(), tensors.values())])
    torch.testing.assert_close(*results)


def test_published_loop_in_four_directions_is_the_cross_scan():
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    u, length = random(2, 3, 20), 20
    ways = [
        ScanInputs(
            *(u, random(2, 3, length), -random(3, 2).exp(), random(2, 2, length)),
            *(random(2, 2, length), random(3), random(3)),
        )
        for _ in range(4)
    ]
    leaves = list(dict.fromkeys(tensor for way in ways for tensor in way))
    options = dict(delta_softplus=True, grid=(4, 5))
    outs = cross_scan(*ways, **options, backend='torch'), published_cross_scan(*ways, **options)
    results = ([out, *torch.autograd.grad(out.square().sum(), leaves)] for out in outs)
    torch.testing.assert_close(*results)


def test_the_loop_over_tokens_runs_where_it_is_asked_for_alone(monkeypatch):
    calls, loop = [], published_loop_module.published_loop
    monkeypatch.setattr(
        published_loop_module, 'published_loop', lambda *a, **k: calls.append(a) or loop(*a, **k)
    )
    vmamba_step(QUICK, WORKLOAD)()
    assert not calls
    loop_step(QUICK, WORKLOAD)()
    assert len(calls) == len(QUICK.vmamba_depths)
    assert calls[0][0].shape == (WORKLOAD.batch, 4 * QUICK.pyramid_dims, (QUICK.image // 4) ** 2)
    vmamba_step(QUICK, WORKLOAD)()
    assert len(calls) == len(QUICK.vmamba_depths)


def test_step_sizes_are_those_of_a_trained_model():
    delta = torch.nn.functional.softplus(make_inputs(QUICK, WORKLOAD)['delta'])
    assert 0.005 < delta.median() < 0.02


def test_step_computes_the_gradients_that_are_owed():
    """Also in the first run, where a mixer gets no state yet."""
    mixer = BidirectionalMixer(QUICK.width, d_state=QUICK.state).requires_grad_(False)
    freeze_and_adapt(mixer, MEMBA, QUICK)
    run = MixerInModel(mixer, random_hidden(QUICK.width, QUICK, WORKLOAD), WORKLOAD)
    step = passes.make_pass(passes.STEP, run, run.leaves)
    step()
    assert len(run.leaves()) == 1 + len(passes.trained(mixer))
    step()
    assert len(run.leaves()) > 1 + len(passes.trained(mixer))


@pytest.mark.parametrize('method', [LORA, MEMBA, MEMBA_GATE])
def test_methods_train_as_many_parameters(method):
    model = Classifier(method, QUICK, depth=1, image=QUICK.image)
    adapters = sum(p.numel() for p in passes.trained(model.backbone))
    width, rank = QUICK.width, QUICK.rank
    assert adapters == rank * (width + 4 * width) + rank * (2 * width + width)


def test_swin_trains_as_many_parameters_as_lora_and_a_head():
    pytest.importorskip('peft')
    model = peers.swin(QUICK, classes=10, targets=['qkv'])
    width, rank = QUICK.pyramid_dims, QUICK.rank
    widths = [width, 2 * width]  # of the two blocks, of which each has a stage
    expected = sum(rank * (each + 3 * each) for each in widths) + widths[-1] * 10 + 10
    assert sum(p.numel() for p in passes.trained(model)) == expected
    step = swin_step(QUICK, WORKLOAD)
    step()


def test_copy_moves_as_many_bytes():
    copied = copy_of(10, QUICK, WORKLOAD)()
    assert 2 * copied.nbytes == 10 * 4 * WORKLOAD.batch * QUICK.length


def test_growth_measures_equal_numbers_of_patches_together():
    groups = load_groups(Sizes())
    assert groups[0] == [(224, 1)]
    assert groups[2] == [(224, 16), (448, 4), (896, 1)]
    assert groups[-1] == [(896, 64)]
    assert sum(map(len, groups)) == 12


@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='Linux counts it')
def test_peak_memory_counts_what_a_call_takes_and_gives_back():
    size = 64_000_000

    def take() -> None:
        torch.ones(size // 4)
        torch.ones(size // 4)

    peak = peak_memory(take, CPU)
    assert size * 0.9 < peak < size * 1.5
    assert peak_memory(lambda: None, CPU) < size * 0.1
    assert available_memory(CPU) > 0


# Peers


@pytest.fixture
def no_peers(monkeypatch):
    for package in ('mambapy', 'transformers', 'mamba_ssm'):
        monkeypatch.setitem(sys.modules, package, None)


def test_missing_peer_says_how_to_get_it(no_peers):
    with pytest.raises(peers.MissingPeerError, match='not installed: pip install mambapy'):
        peers.mambapy_blocks(QUICK)


def test_broken_peer_says_what_is_wrong(tmp_path, monkeypatch):
    (tmp_path / 'broken_peer.py').write_text("raise ImportError('libcudart.so: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(peers.MissingPeerError, match='cannot be imported: libcudart'):
        peers.import_peer('broken_peer', 'broken-peer')


def test_absent_contestants_have_a_reason():
    def build():
        raise peers.MissingPeerError('not installed: pip install it')

    contest = hold({'here': lambda: lambda: None, 'away': build}, CPU, seconds=0.1)
    assert list(contest.timings) == ['here']
    assert contest.absent == {'away': 'not installed: pip install it'}


# The tool


SLOW = ('scan', 'peers')


@pytest.mark.parametrize(
    'part', [pytest.param(p, marks=[pytest.mark.slow] if p in SLOW else []) for p in PARTS]
)
def test_quick(part, no_peers, tmp_path):
    out = tmp_path / 'report.json'
    outcome = run_tool('benchmark', '--quick', '--device', 'cpu', '--parts', part, '--out', out)
    assert outcome.status == 0, outcome
    assert '## Machine' in outcome.out
    assert f'torch {torch.__version__.partition("+")[0]}' in outcome.out
    report = json.loads(out.read_text())
    assert report['sections']
    for section in report['sections']:
        assert f'## {section["title"]}' in outcome.out
        if 'ms' in section['columns']:
            check_section(section)


def check_section(section: dict) -> None:
    """Every row has its raw times, and shows their median and the median of their ratios."""
    measured = {n: m for n, m in section['measurements'].items() if 'rounds' in m}
    assert len(section['rows']) == len(measured) > 0
    at_ms = section['columns'].index('ms')
    reference = REFERENCE.match(section['columns'][at_ms + 1])
    for row, (name, figures) in zip(section['rows'], measured.items(), strict=True):
        times = figures['rounds']
        assert all(seconds > 0 for seconds in times.values())
        assert row[at_ms] == three_digits(statistics.median(times.values()) * 1e3)
        if reference and reference[2] not in measured:
            assert row[at_ms + 1] == ''
        elif reference and name != reference[2]:
            base = measured[reference[2]]['rounds']
            median = statistics.median(times[n] / base[n] for n in times.keys() & base.keys())
            show = as_percent if reference[1] == 'against' else as_factor
            assert row[at_ms + 1].startswith(show(Spread(median, median, median, 1)))
    for name, figures in section['measurements'].items():
        if 'absent' in figures:
            assert f'not measured: {name}: {figures["absent"]}' in section['notes']


@pytest.mark.slow
def test_peers_are_compared_in_one_table(tmp_path):
    pytest.importorskip('peft')
    out = tmp_path / 'report.json'
    words = ('vit', 'vim-memba', 'step', 'memory')
    arguments = ('--quick', '--device', 'cpu', '--parts', 'peers', '--only', *words, '--out', out)
    outcome = run_tool('benchmark', *arguments)
    assert outcome.status == 0, outcome
    table, *details = json.loads(out.read_text())['sections']
    assert table['columns'][1:] == [
        *('float32 step, ms', 'bfloat16 step, ms', 'bfloat16 step against float32', 'peak MB')
    ]
    assert [row[0] for row in table['rows']] == [VIT, "Vim-S, Memba, site 'lora'"]
    assert [section['title'] for section in details] == [
        'Beside transformers: step, batch 2, float32',
        'Beside transformers: step, batch 2, bfloat16',
    ]
    for column, section in enumerate(details, start=1):
        check_section(section)
        (_, time, _, *_), (_, ours, factor, *_) = section['rows']
        assert table['rows'][0][column] == time
        assert table['rows'][1][column] == f'{ours} ({factor.partition(" ")[0]})'
    names = [row[0] for row in table['rows']]
    halves, fulls = (details[at]['measurements'][names[0]]['rounds'] for at in (1, 0))
    gains = [halves[n] / fulls[n] for n in halves.keys() & fulls.keys()]
    assert table['rows'][0][3] == three_digits(statistics.median(gains))
    if Path('/proc/self/clear_refs').exists():
        assert all(0 < table['measurements'][name]['peak_bytes'] < 1e8 for name in names)


def test_peak_memory_has_a_column_for_each_precision():
    peaks = {'float32': {'vit': 2_000_000, 'vmamba': 4_000_000}, 'bfloat16': {'vit': 1_000_000}}
    section = _summary('title', 'about', Contest({}, {}, {}), [], peaks)
    assert section.columns == ['what', 'float32 peak MB', 'bfloat16 peak MB']
    assert section.rows == [[VIT, '2', '1'], ['VMamba-T, LoRA', '4 (2.00)', '']]
    assert section.measurements[VIT] == {
        'peak_bytes_float32': 2_000_000,
        'peak_bytes_bfloat16': 1_000_000,
    }


@pytest.mark.parametrize('kind', GRAPHS)
def test_graphs_need_a_gpu(kind):
    with pytest.raises(peers.MissingPeerError, match='needs a GPU'):
        entry_pass(Entry('vim-lora', 'bfloat16', kind), QUICK, WORKLOAD)


@pytest.mark.parametrize(
    ('model', 'widths', 'per_rank'),
    [
        ('vit', [16], (1 + 3) + (1 + 1)),
        ('swin', [32, 64], (1 + 3) + (1 + 1)),
        ('vim-lora', [16], (1 + 4) + (2 + 1)),
        ('vim-memba', [16], (1 + 4) + (2 + 1)),
        ('vmamba', [32, 64], (1 + 1) + (1 + 1)),
    ],
)
def test_peers_train_lora_on_both_projections_and_a_head(model, widths, per_rank):
    """The blocks have these widths; their projections are so many times as wide in all."""
    pytest.importorskip('peft')
    trained = passes.trained(MODELS[model][1](replace(QUICK, depth=1)))
    expected = QUICK.rank * sum(widths) * per_rank + (widths[-1] + 1) * CLASSES
    assert sum(p.numel() for p in trained) == expected


@pytest.mark.parametrize('model', MODELS)
@torch.no_grad()
def test_peers_compute_the_same_with_their_adapters_folded(model):
    pytest.importorskip('peft')
    torch.manual_seed(0)
    peer = MODELS[model][1](QUICK).eval()
    for parameter in passes.trained(peer):
        parameter.normal_(std=0.1)
    images = random_images(WORKLOAD, QUICK.image)
    expected = peer(images)
    folded = fold_peer(peer)
    torch.testing.assert_close(folded(images), expected, rtol=1e-5, atol=1e-5)
    names = {name for name, _ in folded.named_parameters() if 'lora' in name or '.down.' in name}
    assert len(names) == (QUICK.depth if model == 'vim-memba' else 0)


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='Linux counts it')
def test_peak_memory_in_a_fresh_process():
    peak = peak_memory_of_its_own(take_memory)
    assert 0.9 * 64e6 < peak < 1.5 * 64e6


def take_memory():
    """Return a call that takes 64 MB, and whose first run takes twice as much."""
    megabytes = iter([128, 64])
    return lambda: torch.ones(next(megabytes) * 250_000)


def test_peers_that_are_missing_are_named_in_the_report(no_peers, tmp_path):
    out = tmp_path / 'report.md'
    arguments = ('--quick', '--device', 'cpu', '--parts', 'mixer', '--out', out)
    assert run_tool('benchmark', *arguments).status == 0
    text = out.read_text()
    assert '- not measured: two mambapy blocks: not installed: pip install mambapy' in text
    assert 'two Hugging Face mixers: not installed: pip install transformers' in text
    assert 'two mamba-ssm mixers: needs a GPU' in text
    assert '`python tools/benchmark.py --quick --device cpu --parts mixer --out' in text


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['--parts', 'scan', 'mixers'], "unknown part 'mixers'; known are scan, mixer, model"),
        (['--out', 'table.csv'], '--out table.csv: the name must end in .md or .json'),
        (['--out', 'nowhere/table.md'], 'there is no folder nowhere; make it first'),
        (['--only', 'vit'], '--only selects within part peers: add --parts peers'),
        (['--parts', 'peers', '--only', 'vi'], "unknown word 'vi'; known are vit, swin, vim-lora"),
    ],
    ids=' '.join,
)
def test_mistakes(arguments, expected):
    assert expected in run_tool('benchmark', '--quick', *arguments).error()


@pytest.mark.parametrize('seconds', ['0', 'nan', 'inf'])
def test_a_time_that_is_none(seconds):
    outcome = run_tool('benchmark', '--quick', '--seconds', seconds)
    assert outcome.status == 2
    assert f'--seconds: expected more than 0, up to 1e+09, found {seconds}' in outcome.err


def test_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    error = run_tool('benchmark', '--quick', '--device', 'cuda').error()
    assert '--device cuda: torch sees no GPU here; use --device cpu' in error
