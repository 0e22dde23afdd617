"""The grammar of search spaces, and how values get into a config."""

import pytest
from helpers import CONFIGS, DEMO

from memba_vision.errors import UserError
from memba_vision.models.parameter_counts import count_parameters
from memba_vision.registry import MODELS
from memba_vision.runs.config import load_config
from memba_vision.search.space import Choices, Range, Space, read_space
from memba_vision.search.steps import check_fits, first_step, second_step

SPACES = sorted((CONFIGS / 'search').glob('*.py'))
RATE = 'optim_wrapper.optimizer.lr'


@pytest.fixture
def config():
    return load_config(str(DEMO), {}, None)


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize('path', SPACES, ids=lambda path: path.stem)
def test_the_spaces_that_come_along_fit(path, config):
    space = read_space(path)
    check_fits(space, config)
    assert first_step(space).parameters


def test_lists_are_choices_and_dicts_are_ranges(tmp_path):
    text = "_half = 0.5\nsettings = {'a.b': [1, None, 'x'], 'c': dict(low=_half, high=2, log=True)}"
    space = read_space(write(tmp_path / 's.py', text))
    assert space.settings == {'a.b': Choices((1, None, 'x')), 'c': Range(0.5, 2, log=True)}


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('', 'found nothing'),
        ('setings = {}', 'found setings'),
        ("settings = {'a': []}", 'settings: a: expected a list of values'),
        ("settings = {'a': 3}", 'expected a list of values'),
        ("settings = {'a': dict(low=2, high=1)}", 'low must be below high'),
        ("settings = {'a': dict(low=0, high=1, log=True)}", 'above 0'),
        ("settings = {'a': dict(low=0, high=1, steps=2)}", 'found'),
        ("settings = {'a': dict(low='a', high='b')}", 'must be finite numbers'),
        ("settings = {'a': dict(low=0.1, high=float('inf'))}", 'must be finite numbers'),
        ("settings = {'a': dict(low=False, high=True)}", 'must be finite numbers'),
        ("settings = {'a': dict(low=1, high=4, step='x')}", 'must be finite numbers'),
        ("settings = {'a': dict(low=1, high=4, log='no')}", 'log True or False'),
        ("settings = {'a': dict(low=1, high=8, step=0.5)}", r'whole where .* \(low=1.0 lets'),
        ("settings = {'a': dict(low=0.0, high=1.0, step=-0.1)}", 'step must be above 0'),
        ("settings = {'a': dict(low=0, high=1, step=0)}", 'step must be above 0'),
        ("settings = ['a']", 'expected a dict'),
        ('settings = {5: [1, 2]}', 'names of settings, found 5'),
        ('adapters = {}', 'found nothing'),
        ("adapters = [dict(adapter=dict(type='LoRA'))]", 'a dict of candidates by name'),
        ('adapters = dict(a=dict(adapter=5))', r'adapters\.a: expected dict\(adapter='),
        ('adapters = dict(a=dict(adapter=dict(rank=4)))', r'adapters\.a: expected dict\(adapter='),
        ("adapters = dict(a=dict(type='LoRA'))", r'adapters\.a: expected dict\(adapter='),
        (
            "adapters = dict(a=dict(adapter=dict(type='LoRA', rank=3), sizes=dict(rank=[1, 2])))",
            'its own rank is 3',
        ),
    ],
)
def test_mistakes_are_told(tmp_path, text, expected):
    with pytest.raises(UserError, match=expected):
        read_space(write(tmp_path / 's.py', text))


def test_a_missing_space():
    with pytest.raises(UserError, match='no search space at nothing'):
        read_space('nothing.py')


@pytest.mark.parametrize(
    ('parameter', 'inside', 'outside'),
    [
        (Choices((8, None)), [8, None], [9, 'x']),
        (Range(0.1, 1.0), [0.1, 0.55, 1], [0.05, 2, None, 'x', True]),
        (Range(1, 9, step=4), [1, 5, 9], [2, 4.5]),
        (Range(0.5, 1.0, step=0.05), [0.5, 0.9, 0.95], [0.92]),
    ],
    ids=str,
)
def test_contains(parameter, inside, outside):
    assert all(map(parameter.contains, inside))
    assert not any(map(parameter.contains, outside))


def test_a_setting_without_a_place_in_the_config(tmp_path, config):
    space = read_space(write(tmp_path / 's.py', "settings = {'model.spine.rank': [1]}"))
    with pytest.raises(UserError, match=r'varies model\.spine\.rank, but the config has no'):
        check_fits(space, config)


def test_a_space_of_memba_with_the_adapters_of_a_preset(tmp_path):
    config = load_config(str(DEMO), {}, None, peft='lorap_x')
    with pytest.raises(UserError, match=r'with --peft .* model\.backbone\.adapters\.0\.rank'):
        check_fits(read_space(CONFIGS / 'search' / 'memba_small.py'), config)
    space = write(tmp_path / 's.py', "settings = {'model.backbone.adapters.0.rank': [2, 4]}")
    check_fits(read_space(space), config)


def test_settings(config):
    step = first_step(read_space(CONFIGS / 'search' / 'memba_small.py'))
    # What the config does not state has no value of its own: its class has.
    own = step.own_values(config)
    rate = config.optim_wrapper.optimizer.lr
    assert own == {RATE: rate, 'model.backbone.rank': 16, 'model.backbone.scale': 1.0}
    step.apply(config, {RATE: 2e-3, 'model.backbone.leak': 0.5})
    assert config.optim_wrapper.optimizer.lr == 2e-3
    assert config.model.backbone.leak == 0.5


def test_the_pipelines_follow_a_size_that_is_searched(tmp_path, config):
    text = "settings = {'model.backbone.module.img_size': [48, 64]}"
    space = read_space(write(tmp_path / 's.py', text))
    check_fits(space, config)
    first_step(space).apply(config, {'model.backbone.module.img_size': 64})
    assert config.model.backbone.module.img_size == 64
    assert tuple(config.test_dataloader.dataset.pipeline[1].scale) == (64, 64)


def test_the_two_steps_of_a_hybrid(config):
    space = read_space(CONFIGS / 'search' / 'hybrid.py')
    step = first_step(space)
    assert step.own_values(config) == {}
    step.apply(config, {'lora_x': True, 'affixes': True, 'lora_b': False})
    assert config.model.backbone.type == 'PEFTModel'
    assert [a.type for a in config.model.backbone.adapters] == ['PartialLoRA', 'AffixTuning']
    assert config.model.backbone.module.type == 'Vim'

    sizes = second_step(space, {'lora_x': True, 'affixes': True, 'lora_b': False})
    own = sizes.own_values(config)
    assert own.pop(RATE) == config.optim_wrapper.optimizer.lr
    assert own == {'lora_x.rank': 8, 'lora_x.scale': 1.0, 'affixes.num_tokens': 3}
    sizes.apply(config, {**own, 'lora_x.rank': 32, RATE: 5e-4})
    assert [a.get('rank') for a in config.model.backbone.adapters] == [32, None]
    assert config.optim_wrapper.optimizer.lr == 5e-4
    # The space is as it was.
    assert space.adapters['lora_x'].adapter['rank'] == 8


def test_all_candidates_fit_onto_one_backbone(config):
    space = read_space(CONFIGS / 'search' / 'hybrid.py')
    first_step(space).apply(config, dict.fromkeys(space.adapters, True))
    config.model.backbone.module.init_cfg = None
    adapted = MODELS.build(config.model.backbone)
    assert count_parameters(adapted)[0] > 10_000


def test_no_second_step_without_anything_to_vary(tmp_path):
    text = "adapters = dict(a=dict(adapter=dict(type='PartialTuning', patterns=['D'])))"
    space = read_space(write(tmp_path / 's.py', text))
    assert second_step(space, {'a': True}) is None


EPOCHS = 'train_cfg.max_epochs'


def test_the_schedule_follows_epochs_that_are_searched(config):
    step = first_step(Space({EPOCHS: Choices((10, 40))}, {}))
    step.apply(config, {EPOCHS: 40})
    assert flat(config) == flat(load_config(str(DEMO), {EPOCHS: 40}, None))


def flat(config) -> dict:
    return {key: config[key] for key in ('train_cfg', 'param_scheduler')}


@pytest.mark.parametrize(
    ('key', 'values', 'expected'),
    [
        ('peft', ('lora', 'dora'), 'peft is what --peft says'),
        ('work_dir', ('a', 'b'), 'work_dir is what --work-dir says'),
        ('randomness.seed', (1, 2), 'randomness.seed is what --cfg-options says'),
        ('task', ('digits', 'letters'), 'task is what --config says'),
        (EPOCHS, (1.5, 2), 'which has whole numbers of 1 or more'),
    ],
)
def test_what_no_search_varies(config, key, values, expected):
    with pytest.raises(UserError, match=expected):
        check_fits(Space({key: Choices(values)}, {}), config)


def test_a_config_that_counts_no_epochs(config):
    config.train_cfg = dict(by_epoch=False, max_iters=100, val_interval=50)
    with pytest.raises(UserError, match=r'each epoch, and .* has no train_cfg'):
        check_fits(Space({RATE: Choices((0.1, 0.2))}, {}), config)
