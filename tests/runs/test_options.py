import sys

import pytest
from helpers import CONFIGS, DEMO, run_tool

from memba_vision.errors import UserError
from memba_vision.runs.config import load_config, set_seed_and_precision
from memba_vision.runs.known_settings import find_setting
from memba_vision.runs.options import read_value
from memba_vision.runs.tool_options import parse_options
from memba_vision.runs.trial import Trial

RATE = 'optim_wrapper.optimizer.lr'


def load(*options, peft=None):
    return load_config(str(DEMO), parse_options(options), None, peft=peft)


@pytest.mark.parametrize(
    ('option', 'meant'),
    [
        ('lr=1e-4', RATE),
        ('max_epochs=1', 'train_cfg.max_epochs'),
        ('seed=1', 'randomness.seed'),
        ('batch_size=3', 'train_dataloader.batch_size'),
        ('train_cfg.max_epoch=1', 'train_cfg.max_epochs'),
        ('optim_wraper.optimizer.lr=1', RATE),
        ('optim_wrapper.accumulative_count=4', 'optim_wrapper.accumulative_counts'),
        ('train_dataloader.batchsize=3', 'train_dataloader.batch_size'),
        ('train_dataloader.dataset.indicess=3', 'train_dataloader.dataset.indices'),
        ('model.backbone.rnk=3', 'model.backbone.rank'),
        ('model.backbone.with_cp=True', 'model.backbone.module.with_cp'),
        ('model.backbone.module.arch.num_layer=2', 'model.backbone.module.arch.num_layers'),
        ('default_hooks.checkpoint.max_keep_ckpt=2', 'default_hooks.checkpoint.max_keep_ckpts'),
        ('param_scheduler.9.end=1', 'param_scheduler.0.end'),
        ('model.head.num_clases=3', 'model.head.num_classes'),
        # In the config, but variables of the file that nothing reads afterwards.
        ('pipeline.1.scale=3', 'train_dataloader.dataset.pipeline.1.scale'),
        ('adapter_settings.rank=3', 'model.backbone.rank'),
    ],
)
def test_a_setting_that_nothing_reads(option, meant):
    with pytest.raises(UserError, match=r'^--cfg-options: ') as error:
        load(option)
    proposed = str(error.value).split('did you mean ')[1].split('?')[0].split(' or ')
    assert meant in proposed


@pytest.mark.parametrize(
    'option',
    [
        'default_hooks.checkpoint.max_keep_ckpts=2',
        'default_hooks.checkpoint.save_best=accuracy/top1',  # of mmengine's base class
        'default_hooks.checkpoint.max_minutes=1',
        'default_hooks.logger.priority=LOW',
        'train_dataloader.dataset.keep_images_mib=0',
        'train_dataloader.pin_memory=True',
        'train_dataloader.prefetch_factor=4',
        'train_dataloader.collate_fn.type=default_collate',
        'train_cfg.val_interval=2',
        'model.backbone.leak=0.5',
        'model.backbone.module.with_cp=True',
        'model.backbone.module.arch.d_state=8',
        'model.head.topk=(1,5)',
        'model.head.loss.use_soft=True',
        'model.data_preprocessor.num_classes=3',
        'optim_wrapper.accumulative_counts=4',
        'optim_wrapper.clip_grad.norm_type=2',
        'optim_wrapper.optimizer.amsgrad=True',
        'param_scheduler.0.end_factor=1.0',  # passed on to a base class
        'param_scheduler.1.T_max=10',
        'randomness.diff_rank_seed=True',
        'env_cfg.resource_limit=4096',
        'auto_scale_lr.enable=True',
        'find_unused_parameters=True',
        'load_from=x.pth',
        'val_evaluator.type=Accuracy',
        'test_evaluator.prefix=mine',
        'log_processor.window_size=5',
        'visualizer.vis_backends.0.type=TensorboardVisBackend',
    ],
)
def test_a_setting_that_the_config_lacks_and_its_classes_take(option):
    key, _, value = option.partition('=')
    assert find_setting(load(option), key) == read_value(value, None)


def test_a_setting_of_a_class_that_another_option_names():
    with pytest.raises(UserError, match=r'has no optim_wrapper\.loss_scale'):
        load('optim_wrapper.loss_scale=dynamic')
    load('optim_wrapper.loss_scale=dynamic', 'optim_wrapper.type=AmpOptimWrapper')


def test_a_hook_by_a_name_of_its_own():
    hook = 'default_hooks.membrane_report'
    config = load(f'{hook}.type=MembraneReportHook', f'{hook}.interval=20')
    assert config.default_hooks.membrane_report.interval == 20
    with pytest.raises(UserError, match=rf'has no {hook}\.intervall'):
        load(f'{hook}.type=MembraneReportHook', f'{hook}.intervall=20')
    with pytest.raises(UserError, match=rf'has no {hook}\.interval'):
        load(f'{hook}.interval=20')


def test_a_preset_takes_the_settings_of_its_adapters():
    with pytest.raises(UserError, match=r'did you mean model\.backbone\.adapters\.0\.rank\?'):
        load('model.backbone.rank=8', peft='lora')
    load('model.backbone.adapters.0.rank=8', peft='lora')


def test_adding_on_purpose():
    config = load('mine.rank+=3', 'model.backbone.rnk+=4', f'{RATE}+=5')
    assert (config.mine.rank, config.model.backbone.rnk, find_setting(config, RATE)) == (3, 4, 5)


def test_adding_to_a_list():
    config = load("custom_hooks+={'type': 'EMAHook'}", 'param_scheduler+={"type": "ConstantLR"}')
    assert [hook.type for hook in config.custom_hooks] == ['EMAHook']
    assert [s.type for s in config.param_scheduler[1:]] == ['CosineAnnealingLR', 'ConstantLR']


@pytest.mark.parametrize(
    ('text', 'present', 'value'),
    [
        ('1', 3, 1),
        ('1e-3', 3, 1e-3),
        ('true', False, True),
        ('None', 'x', None),
        ('1,5', (1,), [1, 5]),
        ('(1, 5)', (1,), (1, 5)),
        ('[in_proj, out proj]', None, ['in_proj', 'out proj']),
        ('[(1,2),[a,"b,c"]]', None, [(1, 2), ['a', 'b,c']]),
        ('[]', [1], []),
        ('a,b', None, ['a', 'b']),
        ('/data/a,b=c/own', 'data/own', '/data/a,b=c/own'),
        ('/data/a,b=c.pth', None, '/data/a,b=c.pth'),
        ('two words, and more', 'data', 'two words, and more'),
        ('"[a,b]"', 'data', '[a,b]'),
        ("'1'", 'data', '1'),
        ("{'type': 'Mixup', 'alpha': 0.8}", None, {'type': 'Mixup', 'alpha': 0.8}),
        ('', 'data', ''),
    ],
)
def test_values(text, present, value):
    found = read_value(text, present)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['lr'], "expected KEY=VALUE, found 'lr'"),
        (['lr', '=', '1'], "expected KEY=VALUE, found 'lr'"),
        (['=1'], "expected KEY=VALUE, found '=1'"),
        ([f'{RATE}=1 train_cfg.max_epochs=2'], 'without quotes around several'),
        (['train_dataloader.persistent_workers=no'], "is True or False, found 'no'"),
        (['test_evaluator.topk=(1,5'], r'has no closing \)'),
        (["custom_hooks={'a':"], 'has no closing }'),
        (['custom_hooks={a}'], 'is no dict'),
        ([f'{RATE}.x=1'], f'{RATE}'),
    ],
)
def test_what_cannot_be_read(options, message):
    with pytest.raises(UserError, match=f'^--cfg-options: .*{message}'):
        load(*options)


@pytest.mark.parametrize(
    'arguments',
    [
        ('train', DEMO),
        ('test', DEMO),
        ('sweep', DEMO),
        ('search', CONFIGS / 'search' / 'memba_small.py', '--config', DEMO),
        ('export', 'x.pth', 'x.safetensors', '--as', 'merged', '--config', DEMO),
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_tool_refuses_it(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = run_tool(*arguments, '--cfg-options', 'lr=1e-4', 'max_epochs=1').error()
    assert 'did you mean optim_wrapper.optimizer.lr?' in error
    assert 'expected KEY=VALUE' in run_tool(*arguments, '--cfg-options', 'lr').error()


@pytest.mark.parametrize(
    ('option', 'instead'),
    [
        ('peft=lora', '--peft'),
        ('peft+=lora', '--peft'),
        ('backbone=vmamba-mini', '--backbone'),
        ('launcher=pytorch', '--launcher'),
    ],
)
def test_a_setting_that_only_an_option_decides(option, instead):
    with pytest.raises(UserError, match=rf'^--cfg-options: \w+ is what {instead} says: give that'):
        load(option)


def test_a_run_is_named_after_the_task_of_its_data():
    with pytest.raises(UserError, match='give the config of the task, or the same task in both'):
        load('task=letters')
    places = ('task', 'train_dataloader.dataset.task', 'test_dataloader.dataset.task')
    config = load(*(f'{place}=letters' for place in places))
    assert config.task == config.test_dataloader.dataset.task == 'letters'


@pytest.mark.parametrize(
    ('option', 'kind'),
    [
        ('task=None', 'a name'),
        ('task=5', 'a name'),
        ('model=None', 'a dict'),
        ('optim_wrapper=None', 'a dict'),
        ('randomness=5', 'a dict'),
        ('test_dataloader.dataset=None', 'a dict'),
        ('model.backbone.adapters=5', 'a list'),
    ],
)
def test_a_value_of_another_kind(option, kind):
    key, _, value = option.partition('=')
    trial = Trial(parse_options(['scale=2']), validate=True)
    with pytest.raises(UserError, match=f'^--cfg-options: {key} is {kind}, found {value}$'):
        set_seed_and_precision(
            load_config(str(DEMO), parse_options([option]), None, peft='lora', trial=trial), 3, True
        )


def test_a_method_that_is_nearly_one():
    with pytest.raises(UserError, match=r'--peft lora_inproj: .*\(did you mean lora_in_proj'):
        load(peft='lora_inproj')


def test_a_type_is_no_module_to_import():
    """A misspelt type may be called as a module is, which would run when it was looked for."""
    with pytest.raises(UserError):
        load('model.head.type=this', 'model.head.num_clases=3')
    assert 'this' not in sys.modules
